// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an API server's answer to a TokenReview: only what says in every field that it is
// good admits anybody, and the names in it are such as an identity is made of.
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "certs/identity.h"
#include "control/kube/api/kube_status.h"
#include "control/policyd/kubernetes/token_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {{0}, {0}};
    struct account_answer answer;
    struct spiffe_id id;
    char text[SPIFFE_ID_LEN_MAX + 1];
    json_t *body = kube_json_read((const char *)data, size, &err);
    token_answer_read(&answer, body);
    invariant((unsigned)answer.result < ACCOUNT_NUM_RESULTS);
    invariant((answer.words[0] == '\0') == (answer.result == ACCOUNT_OK));
    if (answer.result == ACCOUNT_OK) {
        const json_t *status = json_object_get(body, "status");
        invariant(json_is_true(json_object_get(status, "authenticated")));
        invariant(json_string_length(json_object_get(status, "error")) == 0);
        invariant(json_array_size(json_object_get(status, "audiences")) > 0);
        invariant(answer.pod.name[0] != '\0' && answer.pod.uid[0] != '\0');
        int len = snprintf(text, sizeof text, "spiffe://demo.example/ns/%s/sa/%s", answer.pod.ns,
                           answer.pod.account);
        invariant(spiffe_workload_parse(&id, text, (size_t)len, NULL));
    }
    json_decref(body);
    return 0;
}
