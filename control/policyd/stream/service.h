// SPDX-License-Identifier: Apache-2.0
//
// The policy agent itself: the streams of its sidecars over one world, with the deadlines of
// each. policyd.c calls service_init, serves service_method, calls service_set_* whenever
// the folder's content changed, and at the end service_finish, service_stop and service_cleanup.
// The loop's thread only; bounded by SERVICE_*. It listens nowhere and watches no file.
#ifndef TABARD_CONTROL_POLICYD_STREAM_SERVICE_H
#define TABARD_CONTROL_POLICYD_STREAM_SERVICE_H

#include <uv.h>

#include "net/grpc/server.h"
#include "base/data/list.h"
#include "base/log.h"
#include "control/policyd/stream/admit.h"
#include "control/policyd/stream/share.h"
#include "control/policyd/ca/issue.h"
#include "control/policyd/review/pods.h"
#include "control/policyd/review/reviews.h"
#include "control/policyd/world/registry_dir.h"
#include "control/policyd/stream/version.h"
#include "control/policyd/world/world.h"

#define SERVICE_PATH             "/tabard.v1.PolicyAgent/Subscribe"
#define SERVICE_STREAMS_MAX      20000
#define SERVICE_STREAMS_OVER     1000  // that are ending, beside these
#define SERVICE_STREAMS_OF_ONE   10000 // of one identity
#define SERVICE_MESSAGE_MAX      65536 // bytes of one request
#define SERVICE_FIRST_REQUEST_MS 10000
#define SERVICE_RESULT_MS        30000 // from a response to its result
#define SERVICE_ISSUE_MS         10000 // that a first response waits for the certificate
#define SERVICE_LINGER_MS        15000 // that a lost sidecar's addresses stay
#define SERVICE_COALESCE_MS      3     // changes that come together are sent together
#define SERVICE_TICK_MS          500
#define SERVICE_CSR_BURST        3 // signing requests of one stream at once
#define SERVICE_CSR_PER_SECOND   0.1
#define SERVICE_CSR_REFUSED_MAX  20 // after that the stream ends
#define SERVICE_CSR_PATIENCE_MS                                                                    \
    1000 // a request that comes sooner after a wait was told counts as refused
#define SERVICE_POD_WAIT_MS  5000  // that a pod may be unknown whose token is good: the watch lags
#define SERVICE_AGAIN_MS_MIN 10000 // from a refusal to the same once more: time too makes right
#define SERVICE_AGAIN_MS_MAX 60000
#define SERVICE_LOG_MS       10000 // between two lines on connections that ended
#define SERVICE_SWEEP_MS     60000 // between looks at the shares
#define SERVICE_PUSHES       16    // that are timed at once

// Why we ended a stream. The texts are metric labels.
#define SERVICE_ENDS(X)                                                                            \
    X(SERVICE_END_MALFORMED, "malformed")                                                          \
    X(SERVICE_END_NOT_ADMITTED, "not_admitted")                                                    \
    X(SERVICE_END_ADDRESS, "address")                                                              \
    X(SERVICE_END_NO_LONGER_GRANTED, "no_longer_granted")                                          \
    X(SERVICE_END_REVOKED, "revoked")                                                              \
    X(SERVICE_END_POD_GONE, "pod_gone")                                                            \
    X(SERVICE_END_SILENT, "silent")                                                                \
    X(SERVICE_END_CSR_FLOOD, "csr_flood")                                                          \
    X(SERVICE_END_LIMIT, "streams_max")                                                            \
    X(SERVICE_END_OURS, "internal")

enum service_end {
#define X(name, text) name,
    SERVICE_ENDS(X)
#undef X
        SERVICE_NUM_ENDS
};
const char *service_end_text(enum service_end end);

// One batch of changes, from when it was seen to the last sidecar's result.
struct push {
    uint64_t began_ns;
    uint32_t num_waiting;
    bool is_open; // world_flush is still sending it
};

struct service_stats {
    uint64_t num_streams;
    uint64_t num_started;
    uint64_t num_states;
    uint64_t num_deltas;
    uint64_t num_certificates;
    uint64_t num_bytes;
    uint64_t num_acks;
    uint64_t num_nacks;
    uint64_t num_fleets_refused; // updates that can't be used, counted by policyd.c
    uint64_t num_trusts_refused;
    uint64_t num_csr_limited;             // by a stream's own limit
    uint64_t num_csr_unproved;            // without a good token of the pod
    uint64_t admitted[ADMIT_NUM_RESULTS]; // decisions, by result
    uint64_t ends[SERVICE_NUM_ENDS];
    uint64_t num_pushes; // those that every sidecar has answered
    uint64_t push_ns_sum;
    uint64_t push_ns_last;
    uint64_t push_ns_max;
};

struct metrics_page;
struct session;

struct service {
    uv_loop_t *loop;
    const char *dir; // borrowed
    struct world world;
    struct issuer *issuer;         // borrowed
    struct registry_dir *registry; // borrowed
    struct reviews *reviews;       // borrowed; NULL: there is no API server to ask
    struct pods pods;              // with it
    struct version version;
    uint64_t drawn_at; // world.num_changes when a version was last drawn
    uv_timer_t coalesce;
    uv_timer_t tick;
    uint64_t change_began_ns; // when the oldest change not yet sent was seen; 0: none
    struct push pushes[SERVICE_PUSHES];
    struct push *push;     // of the flush under way, or NULL
    struct list sessions;  // of session
    struct list strangers; // those not admitted yet, oldest first
    struct shares shares;
    uint64_t swept_ms;
    struct log_limit disconnect_log;
    struct list lost_claims; // of lost_claim, oldest first
    uint64_t num_sessions_made;
    struct service_stats stats;
    bool is_stopping;
};

// service_init needs the folder's first fleet and trust, which it takes over.
void service_init(struct service *service, uv_loop_t *loop, const char *dir, struct fleet *fleet,
                  struct ca_trust *trust);
// service_set_cluster has service accounts admitted by their tokens. The addresses of sidecars are
// then not theirs to say: whoever knows the pods puts them into world.registry. Before the first
// stream; the pods' ctx and the reviews must outlive the streams.
void service_set_cluster(struct service *service, struct reviews *reviews, const struct pods *pods);

// service_check_pods ends the streams whose pod is gone, and moves those whose pod is another
// workload now. To be called when pods have changed, after the fleet and the addresses that belong
// to it were set; each tick does so, too.
void service_check_pods(struct service *service);

// What the sidecar of a pod has, for service_each_sidecar. Borrowed for the call.
struct service_sidecar {
    const struct account_pod *pod;
    bool is_settled;     // it has all in force that it is to have, and nothing is on its way to it
    const char *refusal; // what it said when it refused the last of it; NULL: it did not
};

// service_each_sidecar calls `each` for every sidecar that a token has said the pod of.
// service_num_changes grows whenever what it would tell changes.
void service_each_sidecar(const struct service *service,
                          void (*each)(void *ctx, const struct service_sidecar *sidecar),
                          void *ctx);
uint64_t service_num_changes(const struct service *service);

// service_finish ends every stream as UNAVAILABLE, since policyd stops.
void service_finish(struct service *service);
// service_stop drops the addresses of lost sidecars and closes the timers; every call must have
// ended.
void service_stop(struct service *service);
void service_cleanup(struct service *service); // after its timers are closed

// The one method; ctx is the service.
extern const struct grpc_method service_method;

// service_set_fleet and service_set_trust take over a new one, and end the streams whose identity,
// addresses or certificate it no longer permits.
void service_set_fleet(struct service *service, struct fleet *fleet, uint64_t began_ns);
void service_set_trust(struct service *service, struct ca_trust *trust, uint64_t began_ns);

// service_permits says whether an identity may be at an address.
bool service_permits(void *ctx, const char *id, const struct ip *ip);

// service_disconnected is the server's on_disconnect: it logs why connections end, one line in a
// while.
void service_disconnected(void *ctx, const struct h2_peer *peer, const char *why);

uint64_t service_now_us(void); // since 1970

// Connections to a page for operators that were ended (http_num_late, http_num_room).
struct service_page {
    uint64_t num_late;
    uint64_t num_room;
};

// What the page of metrics shows of the folder (source_folder_num_held) and of the pages.
struct service_beside {
    size_t num_files_held;
    struct service_page metrics;
    struct service_page health;
    void (*more)(const void *ctx, struct metrics_page *page); // adds families; NULL: none
    const void *ctx;
};

// service_metrics prints Prometheus text, malloc'd; NULL: out of memory.
char *service_metrics(const struct service *service, const struct grpc_server_stats *server,
                      const struct service_beside *beside);

#endif
