// SPDX-License-Identifier: Apache-2.0
//
// One AdmissionReview (admission.k8s.io/v1): from the bytes of a request to the answer. The webhook
// calls review_decide, on a worker; the fuzz target and the tests call it too. Pure. Bounded by the
// length of the request, which its caller bounds, and by REVIEW_VALUES_MAX. The API server's own
// contract:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers
#ifndef TABARD_CONTROL_KUBE_WEBHOOK_REVIEW_H
#define TABARD_CONTROL_KUBE_WEBHOOK_REVIEW_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/kube/inject/inject.h"

#define REVIEW_VALUES_MAX 200000 // of a request's JSON; each takes up to some 400 bytes of memory
#define REVIEW_UID_MAX    128
#define REVIEW_NAME_MAX   330 // "NAMESPACE/NAME" as a line of the log has it

// What became of a review. The texts are metric labels.
#define REVIEW_RESULTS(X)                                                                          \
    X(REVIEW_PATCHED, "patched")     /* the pod gets a sidecar */                                  \
    X(REVIEW_NOTHING, "nothing")     /* the pod is allowed as it is */                             \
    X(REVIEW_REFUSED, "refused")     /* the pod isn't allowed */                                   \
    X(REVIEW_MALFORMED, "malformed") /* the request is no review of ours: an HTTP status */

enum review_result {
#define X(name, text) name,
    REVIEW_RESULTS(X)
#undef X
        REVIEW_NUM_RESULTS
};
const char *review_result_text(enum review_result result);

// Zero state: {0}.
struct review {
    enum review_result result;
    unsigned status; // of HTTP: 200 with an AdmissionReview, else 400 with a line of text
    char *body;      // owned; NULL: no memory for it
    char name[REVIEW_NAME_MAX];
    struct err why; // of everything but REVIEW_PATCHED
};

// review_decide answers a request. What can be answered with the review's own uid is answered so,
// because `allowed: false` holds whatever failurePolicy says: a pod that can't be in the mesh, an
// object that is no pod. Only CREATE of a pod is decided; other operations and subresources change
// no pod, and pass as they are with a warning. Nothing is done but answering, so a dry run is like
// any other.
void review_decide(struct review *out, const uint8_t *text, size_t len,
                   const struct inject_context *context, const Tabard__V1__InjectConfig *config);
void review_cleanup(struct review *review);

#endif
