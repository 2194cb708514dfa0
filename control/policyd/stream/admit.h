// SPDX-License-Identifier: Apache-2.0
//
// Decides which identity a sidecar gets by what it proves. The token of a service account, where
// there is an API server to ask about it, says alone who it is: whoever shows one is admitted by it
// or not at all. Without one it is an existing certificate, the user at the other end of a Unix
// socket, or a join token, in this order, so that a join token is needed only where nothing else
// admits. session_first.c calls admit once for each stream, and holds the join token when nothing
// else is left to check (session_token.c); service.c calls admit_still for each admitted stream
// when there is a new fleet. It keeps no state.
#ifndef TABARD_CONTROL_POLICYD_STREAM_ADMIT_H
#define TABARD_CONTROL_POLICYD_STREAM_ADMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "certs/identity.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/review/account.h"
#include "control/policyd/stream/token.h"

// The decisions of admit. The texts are metric labels and log values.
#define ADMIT_RESULTS(X)                                                                           \
    X(ADMIT_OK, "ok")                                                                              \
    X(ADMIT_NO_PROOF, "no_proof")                                                                  \
    X(ADMIT_CERTIFICATE, "certificate")                                                            \
    X(ADMIT_NOT_NAMED, "not_named")                                                                \
    X(ADMIT_AMBIGUOUS, "ambiguous")                                                                \
    X(ADMIT_TOKEN_UNKNOWN, "token_unknown")                                                        \
    X(ADMIT_TOKEN_USED, "token_used")                                                              \
    X(ADMIT_TOKEN_HELD, "token_held")                                                              \
    X(ADMIT_TOKEN_EXPIRED, "token_expired")                                                        \
    X(ADMIT_TOKEN_BROKEN, "token_broken")                                                          \
    X(ADMIT_TOKEN_OTHER, "token_for_another")                                                      \
    X(ADMIT_ACCOUNT_MALFORMED, "account_malformed")                                                \
    X(ADMIT_ACCOUNT_EXPIRED, "account_expired")                                                    \
    X(ADMIT_ACCOUNT_AUDIENCE, "account_audience")                                                  \
    X(ADMIT_ACCOUNT_GONE, "account_gone")                                                          \
    X(ADMIT_ACCOUNT_REFUSED, "account_refused")                                                    \
    X(ADMIT_NO_ACCOUNT, "no_account")                                                              \
    X(ADMIT_NO_POD, "no_pod")                                                                      \
    X(ADMIT_POD_GONE, "pod_gone")                                                                  \
    X(ADMIT_ACCOUNT_OTHER, "account_of_another")                                                   \
    X(ADMIT_UNREVIEWED, "unreviewed")

enum admit_result {
#define X(name, text) name,
    ADMIT_RESULTS(X)
#undef X
        ADMIT_NUM_RESULTS
};
const char *admit_result_text(enum admit_result result);

enum admit_proof {
    ADMIT_BY_CERTIFICATE,
    ADMIT_BY_UNIX_UID,
    ADMIT_BY_JOIN_TOKEN,
    ADMIT_BY_SERVICE_ACCOUNT
};
const char *admit_proof_text(enum admit_proof proof);

// The facts about the sidecar that asks. Everything is borrowed.
struct admit_request {
    const char *dir;               // where the tokens are
    const char *certificate_id;    // that its certificate proves; NULL: none
    const char *certificate_error; // why its certificate proves nothing; "": it showed none
    bool is_unix;
    uid_t uid;             // of a Unix peer
    const char *token;     // "": it presents none
    const char *wanted_id; // "": whatever is granted
    // What the API server says of the service account's token; NULL: none is shown, or there is
    // nobody to ask.
    const struct account_answer *review;
    bool has_vain_token;      // one is shown, and there is nobody to ask
    const char *trust_domain; // of a service account's id
    time_t now;
};

// The identity that was granted, and the proof that it was granted for.
struct admission {
    char id[SPIFFE_ID_LEN_MAX + 1];
    enum admit_proof proof;
    struct token_name token; // ADMIT_BY_JOIN_TOKEN: to be spent
};

// admit_token_result says what became of a join token, admit_review_result of a service account's.
enum admit_result admit_token_result(enum token_result result);
enum admit_result admit_review_result(enum account_result result);

// admit_account_id writes the identity of a service account. false sets err: it can't be one.
bool admit_account_id(char out[SPIFFE_ID_LEN_MAX + 1], const char *trust_domain,
                      const struct account_pod *pod, struct err *err);

// admit decides. Anything but ADMIT_OK sets err to words for the sidecar.
enum admit_result admit(struct admission *out, const struct fleet *fleet,
                        const struct admit_request *request, struct err *err);

// admit_still says whether a fleet still grants what was granted by this proof.
bool admit_still(const struct fleet *fleet, const char *id, enum admit_proof proof, uid_t uid);

#endif
