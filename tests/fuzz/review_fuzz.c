// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what an API server asks the webhook: what is answered with an AdmissionReview is
// JSON with the uid of the request; a patch can be applied, and a pod that got one gets none again.
#include <jansson.h>
#include <openssl/base64.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/kube/inject/json_patch.h"
#include "control/kube/webhook/review.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct inject_context context = {.trust_domain = "mesh.example", .roots = "PEM\n"};
static Tabard__V1__InjectConfig *config;

static void read_config(void)
{
    static const char text[] =
        "image: localhost/tabard:dev\npolicy_agent: policyd.mesh.svc:15012\n";
    if (config == NULL) {
        config = inject_config_parse(text, strlen(text), "inject.yaml", NULL);
        invariant(config != NULL);
    }
}

// Applies the patch of a response to what was asked.
static void apply(json_t *asked, const json_t *response)
{
    const json_t *encoded = json_object_get(response, "patch");
    size_t len = json_string_length(encoded);
    uint8_t *text = malloc(len + 1);
    invariant(text != NULL &&
              EVP_DecodeBase64(text, &len, len, (const uint8_t *)json_string_value(encoded), len) ==
                  1);
    json_t *patch = json_loadb((char *)text, len, 0, NULL);
    invariant(patch != NULL && json_patch_apply(json_object_get(asked, "object"), patch, NULL));
    json_decref(patch);
    free(text);
}

static void check_again(const json_t *request)
{
    struct review again;
    char *text = json_dumps(request, 0);
    invariant(text != NULL);
    review_decide(&again, (const uint8_t *)text, strlen(text), &context, config);
    invariant(again.result == REVIEW_NOTHING);
    review_cleanup(&again);
    free(text);
}

static void check_answer(const struct review *review, const uint8_t *data, size_t size)
{
    json_t *request = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_t *root = json_loads(review->body, JSON_REJECT_DUPLICATES, NULL);
    json_t *asked = json_object_get(request, "request");
    const json_t *response = json_object_get(root, "response");
    const json_t *allowed = json_object_get(response, "allowed");
    invariant(asked != NULL && response != NULL && json_is_boolean(allowed));
    invariant(json_equal(json_object_get(response, "uid"), json_object_get(asked, "uid")));
    invariant(json_is_true(allowed) == (review->result != REVIEW_REFUSED));
    invariant((json_object_get(response, "patch") != NULL) == (review->result == REVIEW_PATCHED));
    if (review->result == REVIEW_PATCHED) {
        apply(asked, response);
        check_again(request);
    }
    json_decref(request);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct review review;
    read_config();
    review_decide(&review, data, size, &context, config);
    invariant(review.body != NULL);
    if (review.status == 200) {
        check_answer(&review, data, size);
    } else {
        invariant(review.status == 400 && review.result == REVIEW_MALFORMED);
        invariant(review.why.text[0] != '\0');
    }
    review_cleanup(&review);
    return 0;
}
