// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/link.h"

#include "base/log.h"
#include "proto/contract.h"

static void on_pipe_gone(void *ctx, bool is_eof, const char *why)
{
    struct link *link = ctx;
    (void)is_eof;
    log_info("msg=\"link to the agent is gone\" cause=\"%s\"", why);
    link->on_gone(link->ctx);
}

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct link *link = ctx;
    Tabard__V1__ToProxy *message = tabard__v1__to_proxy__unpack(NULL, body_len, body);
    if (message == NULL) {
        return err_set(err, "a frame of %zu bytes is no ToProxy message", body_len);
    }
    link->on_message(link->ctx, message);
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    return true;
}

bool link_init(struct link *link, uv_loop_t *loop, int fd, enum link_kind kind,
               void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message),
               void (*on_gone)(void *ctx), void *ctx, struct err *err)
{
    bool is_control = kind == LINK_CONTROL;
    struct frame_pipe_spec spec = {
        .in_bytes_max = is_control ? CONTRACT_TO_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX,
        .out_bytes_max = is_control ? CONTRACT_FROM_PROXY_BYTES_MAX : CONTRACT_SIGN_BYTES_MAX,
        .unsent_bytes_max = LINK_UNSENT_BYTES_MAX,
        .on_frame = on_frame,
        .on_gone = on_pipe_gone,
        .ctx = link};
    link->on_message = on_message;
    link->on_gone = on_gone;
    link->ctx = ctx;
    return frame_pipe_init(&link->pipe, loop, fd, &spec, err);
}

void link_close(struct link *link)
{
    frame_pipe_close(&link->pipe);
}

bool link_send(struct link *link, const Tabard__V1__FromProxy *message)
{
    struct err err = {0};
    size_t len = tabard__v1__from_proxy__get_packed_size(message);
    uint8_t *body = frame_pipe_push(&link->pipe, len, &err);
    if (body != NULL) {
        tabard__v1__from_proxy__pack(message, body);
        return true;
    }
    if (len > link->pipe.spec.out_bytes_max) {
        log_warn("msg=\"a message to the agent is left out\" cause=\"%s\"", err.text);
    } else if (link->pipe.is_open) {
        link_close(link);
        on_pipe_gone(link, false, err.text);
    }
    return false;
}
