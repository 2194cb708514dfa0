// SPDX-License-Identifier: Apache-2.0
//
// One lookup of a host's addresses, by the system's resolver in a thread of its own, which nothing
// waits for: neither libuv's pool, whose threads others need, nor the end of the process. Heap; the
// loop's thread calls it. How long a lookup may take is its user's to say.
#ifndef TABARD_NET_HTTP2_LOOKUP_H
#define TABARD_NET_HTTP2_LOOKUP_H

#include <netdb.h>
#include <uv.h>

#include "base/addr.h"
#include "base/err.h"

#define LOOKUPS_MAX 2 // under way in this process, also those that nobody waits for any more

struct lookup; // opaque

// lookup_new begins to look up. on_done comes once, from the loop: *found is the caller's, for
// freeaddrinfo; NULL, and error is why there is none. NULL sets err.
struct lookup *lookup_new(uv_loop_t *loop, const struct host_port *host,
                          void (*on_done)(void *ctx, struct addrinfo *found, const char *error),
                          void *ctx, struct err *err);

// lookup_forget keeps on_done from being called. NULL is allowed; not once it was called.
void lookup_forget(struct lookup *lookup);

#endif
