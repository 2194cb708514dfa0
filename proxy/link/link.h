// SPDX-License-Identifier: Apache-2.0
//
// The proxy's ends of the sockets that it inherits from the agent (tabard/v1/dataplane.proto): the
// main thread has the control socket, each worker its own for signatures. It carries messages and
// interprets none.
#ifndef TABARD_PROXY_LINK_LINK_H
#define TABARD_PROXY_LINK_LINK_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "net/pipe/frame_pipe.h"
#include "tabard/v1/dataplane.pb-c.h"

#define LINK_UNSENT_BYTES_MAX (32u << 20) // beyond this the agent counts as gone

enum link_kind { LINK_CONTROL, LINK_SIGN };

struct link {
    struct frame_pipe pipe;
    // The message is borrowed until the call returns.
    void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message);
    void (*on_gone)(void *ctx); // once: the agent closed it, broke the protocol or reads nothing
    void *ctx;
};

// link_init takes over `fd`, also on failure. false sets err.
bool link_init(struct link *link, uv_loop_t *loop, int fd, enum link_kind kind,
               void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message),
               void (*on_gone)(void *ctx), void *ctx, struct err *err);

// link_close closes the socket; the link's memory must stay until the loop has run out.
void link_close(struct link *link);

// link_send queues one message. false: the link is gone, perhaps only now (on_gone was called
// then), or the message is longer than the agent takes.
bool link_send(struct link *link, const Tabard__V1__FromProxy *message);

#endif
