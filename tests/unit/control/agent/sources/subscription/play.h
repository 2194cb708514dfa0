// SPDX-License-Identifier: Apache-2.0
//
// A subscription with a played policy agent, a played proxy and played clocks. The test's, which
// calls play_init first and play_cleanup last, and looks at what it likes between; one thread. A
// mistake of the test aborts.
#ifndef TABARD_TESTS_UNIT_CONTROL_AGENT_SOURCES_POLICY_AGENT_PLAY_H
#define TABARD_TESTS_UNIT_CONTROL_AGENT_SOURCES_POLICY_AGENT_PLAY_H

#include "certs/ca/mint.h"
#include "control/agent/sources/subscription/subscription.h"

#define PLAY_ID    "spiffe://demo.example/ns/shop/sa/web"
#define PLAY_START INT64_C(1800000000)

struct play {
    struct subscription sub;
    struct now now;
    struct mint_ca root;
    unsigned num_opened;
    unsigned num_closed;
    unsigned num_sent;
    Tabard__V1__SubscribeRequest *sent; // the last
    unsigned num_offers;
    const char *offer_error;    // NULL: the offer is taken
    const struct part *useless; // borrowed; the certificate for which an offer is refused
    size_t num_destinations;    // of the last offer
    bool lacks_identity;        // but for what the stream brings
    bool has_issued;            // as above
    unsigned num_accepted;
    unsigned num_expired;
    char failed[1200];
    uint32_t random;
    bool is_refusing_to_open;
    const char *token; // NULL: it can't be read
    unsigned num_tokens;
    unsigned num_tokens_held; // read and not given back
};

void play_init(struct play *play);
void play_cleanup(struct play *play);

// play_pass lets milliseconds pass, and ticks.
void play_pass(struct play *play, uint64_t ms);

// play_wait_to_ask passes the wait before the next certificate_request after `num_refused` refusals
// in a row that followed the first, below PLAY_WAITS, and fails the test if one is sent earlier, or
// none then.
#define PLAY_WAITS 7
void play_wait_to_ask(struct play *play, size_t num_refused);

// What the policy agent says; a certificate answers the last certificate_request that was sent.
struct say {
    const char *nonce;
    uint64_t version;
    const char *destination; // of a state
    const char *put;         // of a delta
    const char *removed;
    const char *certificate_for;
    int64_t seconds;
    bool is_of_another_key;
    const char *certificate_error;
};
void play_respond(struct play *play, const struct say *what);
#define PLAY_RESPOND(play, ...) play_respond((play), &(struct say){__VA_ARGS__})

// play_settle_first brings a first state into force, with a certificate for an hour.
void play_settle_first(struct play *play);

// play_error_sent returns the error of the result that was sent last.
const char *play_error_sent(const struct play *play);

#endif
