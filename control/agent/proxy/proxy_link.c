// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/proxy_link.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_budget.h"
#include "base/version.h"
#include "net/pipe/frame_pipe.h"
#include "proto/contract_digest.h"

// Unsent bytes at which a socket counts as not read. Two snapshots may be on their way: one in
// force again after a restart and the next.
#define CONTROL_UNSENT_BYTES_MAX (2 * (size_t)CONTRACT_TO_PROXY_BYTES_MAX + (1u << 20))
#define WORKER_UNSENT_BYTES_MAX  (1u << 20)
// What a message may take once unpacked: 2 bytes of an empty submessage become 100 and more.
#define CONTROL_UNPACKED_BYTES_MAX (128u << 20)
#define WORKER_UNPACKED_BYTES_MAX  (1u << 20)

struct link_socket {
    struct frame_pipe pipe;
    struct proxy_link *link; // borrowed
    bool is_control;
};

struct inspect {
    uint64_t id; // 0: free
    uint64_t asked_ms;
    proxy_link_on_inspected *on_inspected;
    void *ctx;
};

struct proxy_link {
    struct proxy_link_hooks hooks;
    struct keyring *keyring; // borrowed
    uv_loop_t *loop;         // borrowed
    uv_timer_t deadline;     // of the inspections
    struct inspect inspects[CONTRACT_INSPECTS_MAX];
    uint64_t inspect_id_last;
    uint64_t ping_last;
    uint64_t pong_last;
    unsigned handles_open;
    bool has_greeted;
    bool is_closing;
    bool is_broken;
    size_t num_sockets;
    struct link_socket sockets[]; // the control socket first
};

static bool send_message(struct link_socket *socket, const Tabard__V1__ToProxy *message,
                         struct err *err)
{
    size_t len = tabard__v1__to_proxy__get_packed_size(message);
    if (socket->link->is_broken || socket->link->is_closing) {
        return err_set(err, "the proxy is gone");
    }
    uint8_t *body = frame_pipe_push(&socket->pipe, len, err);
    if (body == NULL) {
        return err_prefix(err, "the proxy's socket");
    }
    tabard__v1__to_proxy__pack(message, body);
    frame_pipe_flush(&socket->pipe);
    return true;
}

static bool answer_sign_request(struct link_socket *socket, const Tabard__V1__SignRequest *request,
                                struct err *err)
{
    uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
    size_t signature_len = 0;
    enum keyring_result outcome = keyring_sign(
        socket->link->keyring, request->key_id.data, request->key_id.len, request->algorithm,
        request->input.data, request->input.len, signature, &signature_len);
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    result.id = request->id;
    if (outcome == KEYRING_SIGNED) {
        result.signature = (ProtobufCBinaryData){.len = signature_len, .data = signature};
    } else {
        static struct log_limit limit;
        uint64_t passed_over = 0;
        if (log_allowed(&limit, uv_now(socket->link->loop), 1000, &passed_over)) {
            log_warn("msg=\"signature refused\" result=%s algorithm=0x%04x input_bytes=%zu "
                     "passed_over=%llu",
                     keyring_result_text(outcome), request->algorithm, request->input.len,
                     (unsigned long long)passed_over);
        }
        result.error = (char *)keyring_result_text(outcome);
    }
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SIGN_RESULT;
    message.sign_result = &result;
    return send_message(socket, &message, err);
}

static void end_inspect(struct inspect *inspect, const Tabard__V1__InspectResult *result)
{
    struct inspect ended = *inspect;
    *inspect = (struct inspect){0};
    ended.on_inspected(ended.ctx, result);
}

// A result that nobody waits for came after its deadline, and is passed over.
static void take_inspect_result(struct proxy_link *link, const Tabard__V1__InspectResult *result)
{
    for (size_t i = 0; i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id == result->id && result->id != 0) {
            end_inspect(&link->inspects[i], result);
            return;
        }
    }
}

static bool take_hello(struct proxy_link *link, const Tabard__V1__Hello *hello, struct err *err)
{
    if (strcmp(hello->contract, CONTRACT_DIGEST) != 0) {
        return err_set(
            err,
            "it is a tabard-proxy of another build: %.40s with contract %.16s, where this "
            "agent is %s with contract %s; install both from one build",
            hello->version, hello->contract, TABARD_VERSION, CONTRACT_DIGEST);
    }
    if (link->has_greeted) {
        return err_set(err, "a second Hello");
    }
    link->has_greeted = true;
    return link->hooks.on_hello(link->hooks.ctx, hello, err);
}

static bool dispatch(struct link_socket *socket, const Tabard__V1__FromProxy *message,
                     struct err *err)
{
    struct proxy_link *link = socket->link;
    if (!socket->is_control) {
        return message->kind_case == TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST
                   ? answer_sign_request(socket, message->sign_request, err)
                   : err_set(err, "a worker sent a message other than SignRequest");
    }
    if (!link->has_greeted && message->kind_case != TABARD__V1__FROM_PROXY__KIND_HELLO) {
        return err_set(err, "its first message is no Hello: it is a tabard-proxy of another build");
    }
    switch (message->kind_case) {
    case TABARD__V1__FROM_PROXY__KIND_HELLO:
        return take_hello(link, message->hello, err);
    case TABARD__V1__FROM_PROXY__KIND_PONG:
        if (message->pong->id != link->ping_last) {
            return err_set(err, "a Pong to no Ping");
        }
        link->pong_last = message->pong->id;
        return true;
    case TABARD__V1__FROM_PROXY__KIND_SNAPSHOT_RESULT:
        return link->hooks.on_snapshot_result(link->hooks.ctx, message->snapshot_result->generation,
                                              message->snapshot_result->error) ||
               err_set(err, "an answer to generation %llu, which is not under way",
                       (unsigned long long)message->snapshot_result->generation);
    case TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT:
        take_inspect_result(link, message->inspect_result);
        return true;
    default:
        return err_set(err, "a message on the control socket that is no result");
    }
}

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct link_socket *socket = ctx;
    struct pb_budget budget = {.bytes_left = socket->is_control ? CONTROL_UNPACKED_BYTES_MAX
                                                                : WORKER_UNPACKED_BYTES_MAX};
    ProtobufCAllocator allocator = pb_budget_allocator(&budget);
    Tabard__V1__FromProxy *message = tabard__v1__from_proxy__unpack(&allocator, body_len, body);
    if (message == NULL) {
        return err_set(err, "a frame of %zu bytes that is no FromProxy, or too large unpacked",
                       body_len);
    }
    bool ok = dispatch(socket, message, err);
    tabard__v1__from_proxy__free_unpacked(message, &allocator);
    return ok;
}

static void on_gone(void *ctx, bool is_eof, const char *why)
{
    struct proxy_link *link = ((struct link_socket *)ctx)->link;
    if (!link->is_broken && !link->is_closing) {
        link->is_broken = true;
        link->hooks.on_broken(link->hooks.ctx, is_eof, why);
    }
}

static void on_deadline(uv_timer_t *timer)
{
    struct proxy_link *link = timer->data;
    uint64_t now = uv_now(link->loop);
    bool has_more = false;
    for (size_t i = 0; i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id == 0) {
            continue;
        }
        if (now - link->inspects[i].asked_ms >= PROXY_LINK_INSPECT_MS_MAX) {
            end_inspect(&link->inspects[i], NULL);
        } else {
            has_more = true;
        }
    }
    if (!has_more) {
        uv_timer_stop(timer);
    }
}

bool proxy_link_inspect(struct proxy_link *link, const Tabard__V1__Inspect *wanted,
                        proxy_link_on_inspected *on_inspected, void *ctx, struct err *err)
{
    struct inspect *inspect = NULL;
    for (size_t i = 0; inspect == NULL && i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id == 0) {
            inspect = &link->inspects[i];
        }
    }
    if (!link->has_greeted) {
        return err_set(err, "the proxy has not said hello yet");
    }
    if (inspect == NULL) {
        return err_set(err, "%d questions to the proxy are under way", CONTRACT_INSPECTS_MAX);
    }
    Tabard__V1__Inspect body = *wanted;
    body.id = link->inspect_id_last + 1;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_INSPECT;
    message.inspect = &body;
    if (!send_message(&link->sockets[0], &message, err)) {
        return false;
    }
    *inspect = (struct inspect){.id = ++link->inspect_id_last,
                                .asked_ms = uv_now(link->loop),
                                .on_inspected = on_inspected,
                                .ctx = ctx};
    if (!uv_is_active((uv_handle_t *)&link->deadline)) {
        uv_timer_start(&link->deadline, on_deadline, 100, 100);
    }
    return true;
}

bool proxy_link_is_awaited(const struct proxy_link *link)
{
    return link->pong_last != link->ping_last;
}

void proxy_link_ping(struct proxy_link *link)
{
    if (!link->has_greeted || proxy_link_is_awaited(link)) {
        return;
    }
    Tabard__V1__Ping body = TABARD__V1__PING__INIT;
    body.id = link->ping_last + 1;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_PING;
    message.ping = &body;
    link->ping_last++; // also where it can't be sent: a proxy that reads nothing is silent
    send_message(&link->sockets[0], &message, NULL);
}

bool proxy_link_send_snapshot(struct proxy_link *link, const Tabard__V1__Snapshot *snapshot,
                              struct err *err)
{
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SNAPSHOT;
    message.snapshot = (Tabard__V1__Snapshot *)snapshot; // only read
    return send_message(&link->sockets[0], &message, err);
}

bool proxy_link_send_drain(struct proxy_link *link, uint32_t seconds, struct err *err)
{
    Tabard__V1__Drain body = TABARD__V1__DRAIN__INIT;
    body.seconds = seconds;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_DRAIN;
    message.drain = &body;
    return send_message(&link->sockets[0], &message, err);
}

static void handle_closed(struct proxy_link *link)
{
    if (--link->handles_open == 0) {
        free(link);
    }
}

static void on_socket_closed(void *ctx)
{
    handle_closed(((struct link_socket *)ctx)->link);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void proxy_link_close(struct proxy_link *link)
{
    if (link == NULL || link->is_closing) {
        return;
    }
    link->is_closing = true;
    for (size_t i = 0; i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id != 0) {
            end_inspect(&link->inspects[i], NULL);
        }
    }
    uv_close((uv_handle_t *)&link->deadline, on_timer_closed);
    for (size_t i = 0; i < link->num_sockets; i++) {
        frame_pipe_close(&link->sockets[i].pipe);
    }
}

static bool socket_open(struct proxy_link *link, int fd, bool is_control, struct err *err)
{
    struct link_socket *socket = &link->sockets[link->num_sockets++];
    struct frame_pipe_spec spec = {
        .in_bytes_max = is_control ? CONTRACT_FROM_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX,
        .out_bytes_max = is_control ? CONTRACT_TO_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX,
        .unsent_bytes_max = is_control ? CONTROL_UNSENT_BYTES_MAX : WORKER_UNSENT_BYTES_MAX,
        // While a worker doesn't take its signatures, its requests are not read.
        .unsent_bytes_pause = is_control ? 0 : WORKER_UNSENT_BYTES_MAX / 2,
        .on_frame = on_frame,
        .on_gone = on_gone,
        .on_closed = on_socket_closed,
        .ctx = socket};
    socket->link = link;
    socket->is_control = is_control;
    link->handles_open++;
    return frame_pipe_init(&socket->pipe, link->loop, fd, &spec, err) ||
           err_prefix(err, "a socket to the proxy");
}

struct proxy_link *proxy_link_new(uv_loop_t *loop, int control_fd, const int *worker_fds,
                                  size_t num_workers, struct keyring *keyring,
                                  const struct proxy_link_hooks *hooks, struct err *err)
{
    struct proxy_link *link =
        must_alloc(1, sizeof *link + (num_workers + 1) * sizeof link->sockets[0]);
    link->hooks = *hooks;
    link->keyring = keyring;
    link->loop = loop;
    uv_timer_init(loop, &link->deadline);
    link->deadline.data = link;
    link->handles_open = 1;
    bool ok = socket_open(link, control_fd, true, err);
    for (size_t i = 0; i < num_workers; i++) {
        if (ok) {
            ok = socket_open(link, worker_fds[i], false, err);
        } else {
            close(worker_fds[i]);
        }
    }
    if (!ok) {
        proxy_link_close(link);
        return NULL;
    }
    return link;
}
