// SPDX-License-Identifier: Apache-2.0
//
// Frames to and from the agent over an inherited Unix socket (proto/tabard/v1/dataplane.proto).
// Owned by the main thread (control) or by a worker (signing); one loop; bounded by the frame sizes
// and LINK_QUEUE_BYTES_MAX. It carries messages and interprets none.
#ifndef TABARD_PROXY_LINK_LINK_H
#define TABARD_PROXY_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/frame.h"
#include "tabard/v1/dataplane.pb-c.h"

#define LINK_QUEUE_BYTES_MAX                                                                       \
    (32u << 20) // not yet taken by the agent: beyond this it counts as gone

struct link {
    uv_pipe_t pipe;
    uv_prepare_t flush; // messages of one loop turn leave as one write
    uv_write_t write;
    struct frame_reader reader;
    uint8_t *queue; // owned, malloc
    size_t queue_len;
    size_t queue_cap;
    uint8_t *writing; // owned: the queue that libuv is writing
    bool is_open;
    // The message is borrowed until the call returns.
    void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message);
    void (*on_gone)(void *ctx); // once: the agent closed it, or broke the protocol
    void *ctx;
};

// link_init takes over `fd`. 0 or libuv's error code.
int link_init(struct link *link, uv_loop_t *loop, int fd, size_t frame_bytes_max,
              void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message),
              void (*on_gone)(void *ctx), void *ctx);

// link_close closes the handles; the link's memory must stay until the loop has run their
// callbacks.
void link_close(struct link *link);

// link_send queues one message. false: the link is gone, or out of memory.
bool link_send(struct link *link, const Tabard__V1__FromProxy *message);

#endif
