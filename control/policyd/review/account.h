// SPDX-License-Identifier: Apache-2.0
//
// Whoever can say which pod a token of a Kubernetes service account belongs to, and what it says:
// kubernetes/token_review.h asks the API server. reviews.h asks it, and stream/ believes it.
#ifndef TABARD_CONTROL_POLICYD_REVIEW_ACCOUNT_H
#define TABARD_CONTROL_POLICYD_REVIEW_ACCOUNT_H

#define ACCOUNT_AUDIENCE "tabard.dev"

// What became of a token. The texts are metric labels and log values.
#define ACCOUNT_RESULTS(X)                                                                         \
    X(ACCOUNT_OK, "ok")                                                                            \
    X(ACCOUNT_MALFORMED, "malformed")     /* by its form it is none */                             \
    X(ACCOUNT_EXPIRED, "expired")         /* the API server says so, as in the next three */       \
    X(ACCOUNT_OTHER_AUDIENCE, "audience") /* it is good, but not for us */                         \
    X(ACCOUNT_GONE, "account_gone")       /* its service account was deleted */                    \
    X(ACCOUNT_POD_GONE, "pod_gone")       /* its pod was */                                        \
    X(ACCOUNT_REFUSED, "refused")         /* for another reason */                                 \
    X(ACCOUNT_NO_ACCOUNT, "no_account")   /* it is good, but no service account's */               \
    X(ACCOUNT_NO_POD, "no_pod")           /* it is an account's, but bound to no pod */            \
    X(ACCOUNT_UNAVAILABLE, "unavailable") /* nobody could say: it may be asked again */

enum account_result {
#define X(name, text) name,
    ACCOUNT_RESULTS(X)
#undef X
        ACCOUNT_NUM_RESULTS
};
const char *account_result_text(enum account_result result);

// The longest names that Kubernetes has (RFC 1123: a label, and a subdomain), with their NUL.
#define ACCOUNT_NAMESPACE_BYTES 64
#define ACCOUNT_NAME_BYTES      254
#define ACCOUNT_UID_BYTES       64
#define ACCOUNT_WORDS_BYTES     256

// Which pod a token was given to.
struct account_pod {
    char ns[ACCOUNT_NAMESPACE_BYTES];
    char account[ACCOUNT_NAME_BYTES];
    char name[ACCOUNT_NAME_BYTES];
    char uid[ACCOUNT_UID_BYTES];
};

struct account_answer {
    enum account_result result;
    struct account_pod pod;          // ACCOUNT_OK
    char words[ACCOUNT_WORDS_BYTES]; // any other result; foreign text: log it quoted
};

typedef void account_on_answer(void *ctx, const struct account_answer *answer);

struct reviewer {
    void *ctx;
    // Asks about a token, which is borrowed for the call. on_answer comes once, later, from the
    // loop, unless `forget` comes first. Nothing else is told about the token, and no copy of it
    // outlives the answer.
    void *(*ask)(void *ctx, const char *token, account_on_answer *on_answer, void *asker);
    void (*forget)(void *ctx, void *question);
};

#endif
