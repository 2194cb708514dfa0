// SPDX-License-Identifier: Apache-2.0
//
// One sidecar's stream with its policy agent (tabard/v1/policy_agent.proto), as a state machine: it
// decides when to connect, what to ask and what to answer, and keeps what was accepted. pa_source
// owns it and calls subscription_configure, perhaps subscription_restore, then subscription_start;
// from then on it tells what happens, and calls subscription_tick twice a second. One thread;
// bounded by two states, accepted and tried, and by SUBSCRIPTION_*. It does no I/O and reads no
// clock: everything it does is a hook, and `now` is an argument.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/now.h"
#include "control/agent/sources/subscription/pa_certificate.h"
#include "control/agent/sources/subscription/pa_csr.h"
#include "control/agent/snapshot/source.h"
#include "tabard/v1/policy_agent.pb-c.h"

// A stream is given up so long after
#define SUBSCRIPTION_ANSWER_MS_MAX  30000 // a first request without a response
#define SUBSCRIPTION_EMPTY_MS_MAX   30000 // a refused response, if there is nothing to serve by
#define SUBSCRIPTION_LEAVING_MS_MAX 30000 // the server said that it goes

// The longest wait after a lost stream. The short first one is only for a stream that had lasted.
#define SUBSCRIPTION_LASTED_MS      10000
#define SUBSCRIPTION_FIRST_MS_MAX   250
#define SUBSCRIPTION_BACKOFF_MS_MIN 1000 // the next, doubled with each further lost stream
#define SUBSCRIPTION_BACKOFF_MS_MAX 30000

struct subscription_hooks {
    void *ctx;
    // Starts a stream, on a connection that may still have to be made. At its end
    // subscription_ended is called. false sets err.
    bool (*open)(void *ctx, struct err *err);
    void (*close)(void *ctx); // ends the stream; subscription_ended is not called
    bool (*send)(void *ctx, const Tabard__V1__SubscribeRequest *request, struct err *err);
    void (*fill_node)(void *ctx, Tabard__V1__Node *out); // texts borrowed until the next call
    // Reads the service account's token anew, for token_free. NULL is an error, which it sets; ""
    // says that there is none to be sent.
    char *(*token_read)(void *ctx, struct err *err);
    void (*token_free)(void *ctx, char *token); // wipes it; NULL is allowed
    // Says whether the sidecar has a certificate of its own, beside what the stream brings.
    bool (*has_identity)(void *ctx);
    // Offers what a response brings; subscription_settled says later what became of it. All but
    // OFFER_TRIED set err: it is not good, and subscription_settled won't be called.
    enum offer_result (*offer)(void *ctx, const struct slots *slots, struct err *err);
    void (*accepted)(void *ctx, bool is_new_state); // an offer came into force
    // A response was refused before it became an offer, or the policy agent refused a
    // certificate_request. The answer has been sent already.
    void (*refused)(void *ctx, const char *text);
    void (*failed)(void *ctx, const char *text); // the stream ended or could not be opened
    void (*expired)(void *ctx);                  // the issued certificate expired and is forgotten
    uint32_t (*random)(void *ctx);
};

// A response on its way into force.
struct subscription_try {
    bool is_set;
    char *nonce; // owned; NULL: the stream that it came from has ended
    uint64_t version;
    struct part *state; // counted; a State; NULL: none in it
    struct pa_certificate issued;
    char *certificate_error; // owned; NULL: none in it
};

// What the operator says of it. The text must outlive the subscription, or the next one.
struct subscription_config {
    const char *spiffe_id;  // to ask for; may be empty
    bool accepts_older;     // than the version in force
    bool shows_certificate; // over TLS; else each stream begins with a certificate_request
    bool keeps_identity;    // asks for no certificate
    Tabard__V1__MeshConfig__PolicyAgentAccess__Key key; // of the certificates that it asks for
};

struct subscription {
    struct subscription_hooks hooks;
    struct subscription_config config;
    bool is_started;

    struct part *state;       // counted; a State: the last that was accepted; NULL: none
    uint64_t version;         // of that state
    int64_t confirmed_unix_s; // when a policy agent last stood behind it
    // counted; a newer one, which waits for the first certificate, or for the next one because it
    // makes the one in force useless
    struct part *early;
    uint64_t early_version;
    struct pa_certificate issued;
    struct now_end issued_ends; // since it came into force
    struct pa_csr csr;
    struct subscription_try next;

    bool is_open;      // there is a stream
    bool has_response; // on this stream
    bool has_accepted; // on this stream: the policy agent stands behind what is in force
    bool has_base;     // see pa_response.h
    int64_t silent_s;  // for how long the policy agent's host has not answered; 0: it does
    uint64_t opened_ms;
    uint64_t answer_by_ms; // 0: nothing is waited for
    uint64_t leave_by_ms;  // as above: the server goes
    uint64_t empty_by_ms;  // as above
    uint64_t retry_at_ms;  // without a stream
    uint32_t failures_in_a_row;
    uint64_t num_failures;
    uint64_t num_nacks;
};

// subscription_init takes the zero state. `spiffe_id` and the hooks' ctx must outlive it.
void subscription_init(struct subscription *sub, const struct subscription_hooks *hooks);
void subscription_cleanup(struct subscription *sub);

// subscription_configure says which id to ask for and how; subscription_restore hands over the
// state from the disk, before the start.
void subscription_configure(struct subscription *sub, const struct subscription_config *config);
void subscription_restore(struct subscription *sub, Tabard__V1__State *state, uint64_t version,
                          int64_t confirmed_unix_s);

// subscription_start connects; again after another policy agent was configured.
void subscription_start(struct subscription *sub, struct now now);
void subscription_stop(struct subscription *sub, struct now now);

// subscription_held copies what was accepted or restored into out, which the caller cleans up.
void subscription_held(const struct subscription *sub, struct slots *out);
Tabard__V1__State *subscription_state(const struct subscription *sub); // held; NULL: none

// What has happened: a response came, an offer was settled (error empty: in force), the stream
// ended, the server said GOAWAY. While subscription_is_busy no response may be given to it.
bool subscription_is_busy(const struct subscription *sub);
void subscription_response(struct subscription *sub, const uint8_t *bytes, size_t len,
                           struct now now);
void subscription_settled(struct subscription *sub, const char *error, struct now now);
void subscription_ended(struct subscription *sub, const char *why, struct now now);
void subscription_leaving(struct subscription *sub, struct now now);

// subscription_silent says for how many seconds the policy agent's host has not answered; 0: it
// answers. While it doesn't, nobody stands behind the state.
void subscription_silent(struct subscription *sub, int64_t silent_s);

// subscription_tick connects, gives up and renews when it is time; to be called twice a second.
void subscription_tick(struct subscription *sub, struct now now);

// subscription_age_s returns for how many seconds no policy agent has stood behind the state that
// is held; 0: there is none, or one stands behind it.
int64_t subscription_age_s(const struct subscription *sub, struct now now);

#endif
