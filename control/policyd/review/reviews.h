// SPDX-License-Identifier: Apache-2.0
//
// The tokens that wait for a reviewer: how many are asked about at once and how often, and whose
// turn it is. A known peer, which has proved an identity already, goes before every stranger. Among
// peers of the same standing different sources (an IPv4 address, an IPv6 /64, a Unix user) take
// turns, each with a rate of its own, so that whoever brings junk holds up himself; what was
// refused is not asked about again for a while. A token that waits for REVIEWS_WAIT_MS, or finds
// too many waiting, is answered by ACCOUNT_UNAVAILABLE: its sidecar comes again. Opaque, owned by
// policyd; the loop's thread only. Copies of tokens are wiped.
#ifndef TABARD_CONTROL_POLICYD_REVIEW_REVIEWS_H
#define TABARD_CONTROL_POLICYD_REVIEW_REVIEWS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "control/policyd/review/account.h"
#include "net/http2/transport.h"

#define REVIEWS_TOKEN_LEN_MAX   8192
#define REVIEWS_RUNNING_MAX     32    // asked about at once,
#define REVIEWS_STRANGERS_MAX   24    // of which strangers'
#define REVIEWS_WAITING_MAX     2048  // that wait, of either standing
#define REVIEWS_OF_SOURCE_MAX   256   // and of one source
#define REVIEWS_WAIT_MS         10000 // from the question to the answer
#define REVIEWS_BURST           500   // strangers' at once, of all sources
#define REVIEWS_PER_SECOND      200   // and in the long run
#define REVIEWS_OF_SOURCE_BURST 64
#define REVIEWS_OF_SOURCE_PER_S 10
#define REVIEWS_OF_KNOWN_BURST  256 // of known peers at one address, as behind a translation
#define REVIEWS_OF_KNOWN_PER_S  40
#define REVIEWS_REFUSALS_MAX    1024 // that are remembered
#define REVIEWS_REFUSED_MS      5000 // for so long

struct reviews;      // opaque
struct reviews_item; // opaque: one token, until its answer

struct reviews_stats {
    uint64_t num[ACCOUNT_NUM_RESULTS]; // answers, by result
    uint64_t num_asked;                // of the reviewer
    uint64_t num_remembered;           // refusals that were not asked about again
    uint64_t num_late;                 // unavailable: they waited too long
    uint64_t num_crowded;              // unavailable: too many waited
    uint32_t num_waiting;              // now
    uint32_t num_running;              // now
};

// reviews_new: the reviewer is copied, and its ctx must outlive this.
struct reviews *reviews_new(uv_loop_t *loop, const struct reviewer *reviewer);
void reviews_close(struct reviews *reviews); // no answer comes any more; NULL is allowed
const struct reviews_stats *reviews_stats(const struct reviews *reviews);

// reviews_ask asks about a token, which is copied. is_known: the peer has proved an identity.
// Returns NULL and fills *out_answer if the answer is known at once; else on_answer comes later,
// from the loop, unless reviews_forget comes first.
struct reviews_item *reviews_ask(struct reviews *reviews, const char *token,
                                 const struct h2_peer *peer, bool is_known,
                                 struct account_answer *out_answer, account_on_answer *on_answer,
                                 void *asker);
void reviews_forget(struct reviews_item *review); // NULL is allowed

#endif
