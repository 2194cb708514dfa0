// SPDX-License-Identifier: Apache-2.0
//
// Decides what an answer to a TokenReview (authentication.k8s.io/v1) says about the token. Pure;
// token_review.h asks.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_TOKEN_ANSWER_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_TOKEN_ANSWER_H

#include <jansson.h>

#include "control/policyd/review/account.h"

// token_answer_read takes the body of an answer of the API server's to a review for
// ACCOUNT_AUDIENCE; NULL: it was no JSON. ACCOUNT_OK only if the API server says of the token that
// it is authenticated, and for our audience; that its user is a service account, by name and by
// groups; and to which pod it is bound, by name and uid. What is no TokenReview at all, or one that
// could not be made, is ACCOUNT_UNAVAILABLE.
void token_answer_read(struct account_answer *out, const json_t *body);

#endif
