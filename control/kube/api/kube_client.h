// SPDX-License-Identifier: Apache-2.0
//
// A client of one Kubernetes API server: HTTP/2 over TLS 1.3, one connection at a time for all
// requests and watches, and older ones whose streams still go on after the server said GOAWAY. It
// connects when the first request wants it to and after each loss; its users wait between tries
// (see kube_request.h, kube_watch.h). Heap, owned by the caller; the loop's thread only. Each
// request and each watch bounds what it receives.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_CLIENT_H
#define TABARD_CONTROL_KUBE_API_KUBE_CLIENT_H

#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/kube/api/kube_config.h"

struct kube_client; // opaque

#define KUBE_WINDOW_BYTES        (1u << 20) // of a stream, that comes before it is looked at
#define KUBE_OPEN_MS             10000      // from connect to the server's SETTINGS
#define KUBE_KEEPALIVE_MS        30000      // silence before a PING
#define KUBE_KEEPALIVE_ANSWER_MS 15000 // from the PING to its answer, or the connection is lost
#define KUBE_TOKEN_BYTES_MAX     16384
#define KUBE_CA_BYTES_MAX        (1u << 20)

struct kube_client_stats {
    uint64_t num_connections; // begun since the start
    uint64_t num_goaways;     // of them, those that the server bade to take no more streams
    uint64_t num_losses;      // and those that ended without that, or never came about
};

// kube_client_new makes a client that doesn't connect yet. The first one has jansson wipe whatever
// it frees, from then on: answers may be secrets. The config is copied. NULL sets err:
// the CA's file can't be used.
struct kube_client *kube_client_new(uv_loop_t *loop, const struct kube_config *config,
                                    struct err *err);

// kube_client_close ends every request (each gets its answer inside, an error, and may start no
// more) and every connection. Watches must have been closed before. NULL is allowed. Memory goes
// with the loop's next turns.
void kube_client_close(struct kube_client *client);

// kube_client_loop returns the loop that a client was made on.
uv_loop_t *kube_client_loop(const struct kube_client *client);

// kube_client_random returns a random number, for jitter.
uint32_t kube_client_random(void);

const struct kube_client_stats *kube_client_stats(const struct kube_client *client);

#endif
