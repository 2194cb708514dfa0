// SPDX-License-Identifier: Apache-2.0
//
// Tells the service manager how a program is, as systemd wants to hear it: ready, reloading,
// stopping, in words, and, if it wants that, that the loop still turns. The socket is that of
// NOTIFY_SOCKET, which the program's children don't inherit; without it nothing happens at all. The
// program calls notify_new once its loop can say how it is, notify_tell as things happen, and
// notify_free. Nothing is waited for: a message that the socket has no room for is lost, and the
// next one of the watchdog comes in time.
#ifndef TABARD_CONTROL_NOTIFY_NOTIFY_H
#define TABARD_CONTROL_NOTIFY_NOTIFY_H

#include <stdbool.h>
#include <uv.h>

#define NOTIFY_STATUS_MAX 400 // bytes of a status, with the NUL

enum notify_event { NOTIFY_RELOADING, NOTIFY_STOPPING };

// Says whether the program is ready, and writes what it is doing in one line, NOTIFY_STATUS_MAX
// bytes at most.
typedef bool notify_state(void *ctx, char *out);

struct notify; // opaque

// notify_new begins to look at `state` and to tell of it. NULL: there is no service manager to be
// told, which the others take.
struct notify *notify_new(uv_loop_t *loop, notify_state *state, void *ctx);
void notify_tell(struct notify *notify, enum notify_event event);

// notify_free closes it; `state` is not asked any more.
void notify_free(struct notify *notify);

#endif
