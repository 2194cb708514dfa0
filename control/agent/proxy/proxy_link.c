// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/proxy_link.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/log.h"
#include "base/pb/pb_budget.h"

// Unsent bytes at which a socket counts as not read. Two snapshots may be on their way: one in
// force again after a restart and the next.
#define CONTROL_QUEUE_BYTES_MAX (2 * (size_t)CONTRACT_TO_PROXY_BYTES_MAX + (1u << 20))
#define WORKER_QUEUE_BYTES_MAX  (1u << 20)
// What a message may take once unpacked: 2 bytes of an empty submessage become 100 and more.
#define CONTROL_UNPACKED_BYTES_MAX (128u << 20)
#define WORKER_UNPACKED_BYTES_MAX  (1u << 20)
#define SCRATCH_LEN                65536

struct link_socket {
    uv_pipe_t pipe;
    struct proxy_link *link; // borrowed
    struct frame_reader reader;
    bool is_control;
    bool is_paused; // a worker that doesn't take its signatures
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
    unsigned handles_open;
    bool is_closing;
    bool is_broken;
    size_t num_sockets;
    uint8_t scratch[SCRATCH_LEN]; // what libuv reads into: its callbacks never nest
    struct link_socket sockets[]; // the control socket first
};

// One frame on its way.
struct write {
    uv_write_t req;
    uint8_t *bytes; // owned
};

static void break_link(struct proxy_link *link, bool is_eof, const char *why)
{
    if (!link->is_broken && !link->is_closing) {
        link->is_broken = true;
        link->hooks.on_broken(link->hooks.ctx, is_eof, why);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct link_socket *socket = handle->data;
    *buf = uv_buf_init((char *)socket->link->scratch, SCRATCH_LEN);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf);

static void on_written(uv_write_t *req, int status)
{
    struct write *write = (struct write *)req;
    uv_stream_t *stream = req->handle;
    struct link_socket *socket = stream->data;
    free(write->bytes);
    free(write);
    if (status == UV_ECANCELED || socket->link->is_closing) {
        return;
    }
    if (status != 0) {
        break_link(socket->link, status == UV_EPIPE || status == UV_ECONNRESET,
                   uv_strerror(status));
        return;
    }
    if (socket->is_paused && uv_stream_get_write_queue_size(stream) == 0) {
        socket->is_paused = false;
        uv_read_start(stream, on_alloc, on_read);
    }
}

static bool send_message(struct link_socket *socket, const Tabard__V1__ToProxy *message,
                         struct err *err)
{
    size_t bytes_max = socket->is_control ? CONTRACT_TO_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX;
    size_t queue_max = socket->is_control ? CONTROL_QUEUE_BYTES_MAX : WORKER_QUEUE_BYTES_MAX;
    size_t len = tabard__v1__to_proxy__get_packed_size(message);
    if (socket->link->is_broken || socket->link->is_closing) {
        return err_set(err, "the proxy is gone");
    }
    if (len > bytes_max) {
        return err_set(err, "a message of %zu bytes is over the limit of %zu", len, bytes_max);
    }
    uv_stream_t *stream = (uv_stream_t *)&socket->pipe;
    if (uv_stream_get_write_queue_size(stream) + len > queue_max) {
        return err_set(err, "the proxy doesn't read what it is sent");
    }
    struct write *write = calloc(1, sizeof *write);
    uint8_t *bytes = malloc(FRAME_PREFIX_LEN + len);
    if (write == NULL || bytes == NULL) {
        free(write);
        free(bytes);
        return err_set(err, "out of memory");
    }
    frame_prefix_write(bytes, (uint32_t)len);
    tabard__v1__to_proxy__pack(message, bytes + FRAME_PREFIX_LEN);
    write->bytes = bytes;
    uv_buf_t buf = uv_buf_init((char *)bytes, (unsigned)(FRAME_PREFIX_LEN + len));
    int rc = uv_write(&write->req, stream, &buf, 1, on_written);
    if (rc != 0) {
        free(bytes);
        free(write);
        return err_set(err, "the proxy's socket: %s", uv_strerror(rc));
    }
    return true;
}

static bool answer_sign_request(struct link_socket *socket, const Tabard__V1__SignRequest *request,
                                struct err *err)
{
    uint8_t signature[KEYRING_SIGNATURE_LEN_MAX];
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
    if (!send_message(socket, &message, err)) {
        return false;
    }
    uv_stream_t *stream = (uv_stream_t *)&socket->pipe;
    if (uv_stream_get_write_queue_size(stream) > WORKER_QUEUE_BYTES_MAX / 2) {
        socket->is_paused = true;
        uv_read_stop(stream);
    }
    return true;
}

static void end_inspect(struct inspect *inspect, const Tabard__V1__InspectResult *result)
{
    struct inspect ended = *inspect;
    *inspect = (struct inspect){0};
    ended.on_inspected(ended.ctx, result);
}

static bool take_inspect_result(struct proxy_link *link, const Tabard__V1__InspectResult *result)
{
    for (size_t i = 0; i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id == result->id && result->id != 0) {
            end_inspect(&link->inspects[i], result);
            return true;
        }
    }
    return true; // it came after its deadline
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
    switch (message->kind_case) {
    case TABARD__V1__FROM_PROXY__KIND_SNAPSHOT_RESULT:
        return link->hooks.on_snapshot_result(link->hooks.ctx, message->snapshot_result->generation,
                                              message->snapshot_result->error) ||
               err_set(err, "an answer to generation %llu, which is not under way",
                       (unsigned long long)message->snapshot_result->generation);
    case TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT:
        return take_inspect_result(link, message->inspect_result);
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
    // A hook may have closed the link: the frames that follow are nobody's.
    return ok && (!socket->link->is_closing || err_set(err, "closed"));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct link_socket *socket = stream->data;
    struct err err = {{0}, {0}};
    if (got < 0) {
        uv_read_stop(stream);
        bool is_eof = got == UV_EOF || got == UV_ECONNRESET;
        break_link(socket->link, is_eof,
                   is_eof ? "the proxy closed its socket" : uv_strerror((int)got));
    } else if (got > 0 && !frame_reader_push(&socket->reader, (const uint8_t *)buf->base,
                                             (size_t)got, on_frame, socket, &err)) {
        if (!socket->link->is_closing) {
            uv_read_stop(stream);
        }
        break_link(socket->link, false, err.text);
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

bool proxy_link_inspect(struct proxy_link *link, uint32_t num_connections_max,
                        proxy_link_on_inspected *on_inspected, void *ctx, struct err *err)
{
    struct inspect *inspect = NULL;
    for (size_t i = 0; inspect == NULL && i < CONTRACT_INSPECTS_MAX; i++) {
        if (link->inspects[i].id == 0) {
            inspect = &link->inspects[i];
        }
    }
    if (inspect == NULL) {
        return err_set(err, "%d questions to the proxy are under way", CONTRACT_INSPECTS_MAX);
    }
    Tabard__V1__Inspect body = TABARD__V1__INSPECT__INIT;
    body.id = link->inspect_id_last + 1;
    body.num_connections_max = num_connections_max;
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

static void on_closed(uv_handle_t *handle)
{
    struct proxy_link *link =
        handle->type == UV_TIMER ? handle->data : ((struct link_socket *)handle->data)->link;
    if (--link->handles_open == 0) {
        for (size_t i = 0; i < link->num_sockets; i++) {
            frame_reader_cleanup(&link->sockets[i].reader);
        }
        free(link);
    }
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
    uv_close((uv_handle_t *)&link->deadline, on_closed);
    for (size_t i = 0; i < link->num_sockets; i++) {
        uv_close((uv_handle_t *)&link->sockets[i].pipe, on_closed);
    }
}

static bool socket_open(struct proxy_link *link, int fd, bool is_control, struct err *err)
{
    struct link_socket *socket = &link->sockets[link->num_sockets];
    socket->link = link;
    socket->is_control = is_control;
    socket->reader.frame_bytes_max =
        is_control ? CONTRACT_FROM_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX;
    int rc = uv_pipe_init(link->loop, &socket->pipe, 0);
    if (rc != 0) {
        close(fd);
        return err_set(err, "a socket to the proxy: %s", uv_strerror(rc));
    }
    socket->pipe.data = socket;
    link->num_sockets++;
    link->handles_open++;
    rc = uv_pipe_open(&socket->pipe, fd);
    if (rc != 0) {
        close(fd);
        return err_set(err, "a socket to the proxy: %s", uv_strerror(rc));
    }
    rc = uv_read_start((uv_stream_t *)&socket->pipe, on_alloc, on_read);
    return rc == 0 || err_set(err, "a socket to the proxy: %s", uv_strerror(rc));
}

struct proxy_link *proxy_link_new(uv_loop_t *loop, int control_fd, const int *worker_fds,
                                  size_t num_workers, struct keyring *keyring,
                                  const struct proxy_link_hooks *hooks, struct err *err)
{
    struct proxy_link *link = calloc(1, sizeof *link + (num_workers + 1) * sizeof link->sockets[0]);
    if (link == NULL) {
        close(control_fd);
        for (size_t i = 0; i < num_workers; i++) {
            close(worker_fds[i]);
        }
        err_set(err, "out of memory");
        return NULL;
    }
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
