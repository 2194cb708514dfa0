// SPDX-License-Identifier: Apache-2.0
//
// Decides which identity a sidecar gets by what it proves: an existing certificate, the user at the
// other end of a Unix socket, or a join token, in this order, so that a token is needed only where
// nothing else admits. session_first.c calls admit once for each stream, and spends the token when
// nothing else is left to check; service.c calls admit_still for each admitted stream when there is
// a new fleet. It keeps no state.
#ifndef TABARD_CONTROL_POLICYD_STREAM_ADMIT_H
#define TABARD_CONTROL_POLICYD_STREAM_ADMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "certs/identity.h"
#include "control/policyd/fleet/fleet.h"
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
    X(ADMIT_TOKEN_EXPIRED, "token_expired")                                                        \
    X(ADMIT_TOKEN_BROKEN, "token_broken")                                                          \
    X(ADMIT_TOKEN_OTHER, "token_for_another")

enum admit_result {
#define X(name, text) name,
    ADMIT_RESULTS(X)
#undef X
        ADMIT_NUM_RESULTS
};
const char *admit_result_text(enum admit_result result);

enum admit_proof { ADMIT_BY_CERTIFICATE, ADMIT_BY_UNIX_UID, ADMIT_BY_JOIN_TOKEN };
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
    time_t now;
};

// The identity that was granted, and the proof that it was granted for.
struct admission {
    char id[SPIFFE_ID_LEN_MAX + 1];
    enum admit_proof proof;
    struct token_name token; // ADMIT_BY_JOIN_TOKEN: to be spent
};

// admit_token_result says what became of a token.
enum admit_result admit_token_result(enum token_result result);

// admit decides. Anything but ADMIT_OK sets err to words for the sidecar.
enum admit_result admit(struct admission *out, const struct fleet *fleet,
                        const struct admit_request *request, struct err *err);

// admit_still says whether a fleet still grants what was granted by this proof.
bool admit_still(const struct fleet *fleet, const char *id, enum admit_proof proof, uid_t uid);

#endif
