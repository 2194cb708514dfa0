// SPDX-License-Identifier: Apache-2.0
//
// Brings one snapshot after another into force: numbers what the sources made, has it sent, keeps
// the last that came into force, and knows whether the sidecar is ready. A refused update changes
// nothing. The agent calls it for every offer, every answer and every start and end of the proxy,
// and rollout_tick once a second. Owned by the agent; its one thread; bounded by four snapshots:
// in force, sent, the newest of those that wait, and one set aside. It does no I/O and reads no
// clock.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_ROLLOUT_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_ROLLOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "base/now.h"
#include "control/agent/snapshot/assemble.h"
#include "control/agent/proxy/keyring.h"

#define ROLLOUT_ANSWER_MS_MAX 30000 // a proxy that takes longer over a snapshot is taken as hung
#define ROLLOUT_DEATHS_MAX    2     // proxies that died over one snapshot, before it is given up

// A snapshot that the proxy refused is tried again after the first wait, then after twice that, ...
#define ROLLOUT_RETRY_MS_MIN 2000
#define ROLLOUT_RETRY_MS_MAX 60000

struct rollout_hooks {
    void *ctx;
    // Sends a snapshot to the running proxy. false sets err.
    bool (*send)(void *ctx, const Tabard__V1__Snapshot *snapshot, struct err *err);
    // Takes what only one agent of a host may have, before `assembly` is sent. false sets err.
    bool (*claim)(void *ctx, const struct assembly *assembly, struct err *err);
    // What became of a source's try, once for each ticket: in force on every worker (error empty),
    // or refused and dropped; it is then not tried again, as an update without a ticket would be. A
    // try that newer offers hold too is in force with the first of them, and refused with the last.
    // The callee must not call the rollout. May be NULL.
    void (*settled)(void *ctx, size_t source, uint64_t ticket, const char *error);
};

struct rollout_item {
    bool is_set;
    bool is_held; // it was offered without a ticket, maybe with one too: it is tried until it works
    struct assembly what; // owned; its snapshot carries the generation once it was sent
    struct now_end ends;  // its certificate, counted from when that came first
    uint64_t sent_ms;
    unsigned num_deaths; // proxies that died between taking it and answering
};

struct rollout {
    struct rollout_hooks hooks;
    struct keyring *keyring;      // borrowed
    struct rollout_item in_force; // the last that the proxy answered with "applied"
    struct rollout_item sent;     // no answer yet
    struct rollout_item waiting;  // newer than both, or refused and to be tried again
    struct rollout_item aside;    // the held one that a try took the place of
    uint64_t generation_last;     // the last number given
    bool has_proxy;
    bool is_applied;        // in_force is in force in the proxy that runs now
    bool is_resent;         // in_force was sent to a new proxy, and no answer yet
    bool is_resend_refused; // the new proxy refused it
    bool is_draining;
    uint64_t resent_ms;
    uint64_t retry_at_ms;       // when waiting, or in_force in a new proxy, may be sent
    uint32_t failures_in_a_row; // since the last offer: they say how long to wait
    int64_t applied_unix_ms;
    uint64_t num_rejected; // by the proxy
    uint64_t num_source_errors;
    char last_error[1024]; // why the newest update was refused; empty when it was not
    int64_t last_error_unix_ms;
    bool is_error_of_source; // last_error is a source's, not the proxy's
    bool has_expired;        // the certificate in force; already logged
    struct log_limit expiry_warned;
    struct log_limit crl_warned;
};

// rollout_init takes the zero state. `keyring` and the hooks' ctx must outlive it.
void rollout_init(struct rollout *rollout, struct keyring *keyring,
                  const struct rollout_hooks *hooks);
void rollout_cleanup(struct rollout *rollout);

// rollout_offer takes over a checked update (*assembly becomes the zero state). One that changes
// nothing is dropped.
void rollout_offer(struct rollout *rollout, struct assembly *assembly, struct now now);

// rollout_source_failed notes and logs why a source could make no update.
void rollout_source_failed(struct rollout *rollout, const char *text, struct now now);

void rollout_proxy_up(struct rollout *rollout, struct now now);
void rollout_proxy_down(struct rollout *rollout, struct now now);

// rollout_answer takes the proxy's answer to a generation: in force (error empty) or refused.
// false: this generation waits for no answer.
bool rollout_answer(struct rollout *rollout, uint64_t generation, const char *error,
                    struct now now);

// rollout_drain: from now on nothing is sent, and the sidecar is not ready.
void rollout_drain(struct rollout *rollout);

// rollout_tick does what time alone brings, to be called about once a second: it tries again, drops
// replaced keys, warns of certificates and CRLs that end. false: the proxy has hung over a
// snapshot.
bool rollout_tick(struct rollout *rollout, struct now now);

// rollout_not_ready_because returns why the sidecar must get no traffic, or NULL when it may. The
// text lives in buf.
const char *rollout_not_ready_because(const struct rollout *rollout, struct now now, char *buf,
                                      size_t buf_len);

// rollout_warn_of_ends logs, once in a while, that the certificate in force or a CRL ends or has
// ended. rollout_tick calls it.
void rollout_warn_of_ends(struct rollout *rollout, struct now now);

// rollout_generation returns the generation in force in the proxy that runs now, or 0.
uint64_t rollout_generation(const struct rollout *rollout);

#endif
