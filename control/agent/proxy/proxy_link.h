// SPDX-License-Identifier: Apache-2.0
//
// The agent's ends of one proxy process's sockets: the control socket, and one socket for the
// signatures of each worker (tabard/v1/dataplane.proto). The proxy is believed no further than its
// messages parse: what it sends is capped in bytes and in memory once unpacked, and a socket takes
// only the messages that belong to it. supervise makes a link when it has started a process, and
// closes it when that ends; the last close callback frees it. It judges no snapshot (see rollout).
#ifndef TABARD_CONTROL_AGENT_PROXY_PROXY_LINK_H
#define TABARD_CONTROL_AGENT_PROXY_PROXY_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/proxy/keyring.h"
#include "proto/contract.h"
#include "tabard/v1/dataplane.pb-c.h"

#define PROXY_LINK_INSPECT_MS_MAX 1000

struct proxy_link; // opaque

struct proxy_link_hooks {
    void *ctx;
    // The proxy is of this agent's build (CONTRACT_DIGEST), and may be sent something. Once, before
    // any other hook but on_broken. false sets err: the Hello is no good after all.
    bool (*on_hello)(void *ctx, const Tabard__V1__Hello *hello, struct err *err);
    // The proxy's answer to a generation; error is empty when it is in force. false: nobody asked.
    bool (*on_snapshot_result)(void *ctx, uint64_t generation, const char *error);
    // A socket ended (is_eof) or what came over it is no message of ours. At most once; the link is
    // unusable after it.
    void (*on_broken)(void *ctx, bool is_eof, const char *why);
};

// An answer, borrowed until the call returns, or NULL: none came in time.
typedef void proxy_link_on_inspected(void *ctx, const Tabard__V1__InspectResult *result);

// proxy_link_new takes over the descriptors, also on failure. `keyring` and the hooks' ctx must
// outlive the link. NULL sets err.
struct proxy_link *proxy_link_new(uv_loop_t *loop, int control_fd, const int *worker_fds,
                                  size_t num_workers, struct keyring *keyring,
                                  const struct proxy_link_hooks *hooks, struct err *err);

// proxy_link_close ends every inspection with NULL, closes the sockets (the proxy takes that as a
// drain) and frees the link later. No hook is called any more. NULL is allowed.
void proxy_link_close(struct proxy_link *link);

// Each of these sends a message. false sets err: it is too large, the proxy hasn't read what was
// sent before, or the link is broken.
bool proxy_link_send_snapshot(struct proxy_link *link, const Tabard__V1__Snapshot *snapshot,
                              struct err *err);
bool proxy_link_send_drain(struct proxy_link *link, uint32_t seconds, struct err *err);

// proxy_link_ping asks for a sign of life of the proxy's main thread and every worker, unless one
// is still awaited, or the proxy hasn't said hello. proxy_link_is_awaited: no answer has come yet.
void proxy_link_ping(struct proxy_link *link);
bool proxy_link_is_awaited(const struct proxy_link *link);

// proxy_link_inspect asks for figures, and for what else is `wanted`, whose id it chooses.
// on_inspected is called once, later, within about PROXY_LINK_INSPECT_MS_MAX. false sets err: the
// proxy can't be asked, and on_inspected won't be called.
bool proxy_link_inspect(struct proxy_link *link, const Tabard__V1__Inspect *wanted,
                        proxy_link_on_inspected *on_inspected, void *ctx, struct err *err);

#endif
