// SPDX-License-Identifier: Apache-2.0
//
// Asks the API server which pod a service account's token belongs to, by a TokenReview. A reviewer
// (review/account.h) that reviews.h bounds. It needs the right to create tokenreviews
// (authentication.k8s.io). Opaque, owned by policyd; the loop's thread only. A question has
// TOKEN_REVIEW_MS; the client must outlive this.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_TOKEN_REVIEW_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_TOKEN_REVIEW_H

#include <uv.h>

#include "control/kube/api/kube_client.h"
#include "control/policyd/review/account.h"

#define TOKEN_REVIEW_MS        5000
#define TOKEN_REVIEW_BYTES_MAX 65536 // of an answer

struct token_review; // opaque

struct token_review *token_review_new(uv_loop_t *loop, struct kube_client *client);

// token_review_free: no question may be open. NULL is allowed.
void token_review_free(struct token_review *review);

// token_review_reviewer is what reviews_new takes.
struct reviewer token_review_reviewer(struct token_review *review);

#endif
