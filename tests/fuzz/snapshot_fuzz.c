// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a packed Snapshot, as a frame from the wire brings them: what unpacks prints, and
// the indexes take it or say why not.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/pb/pb_text.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = tabard__v1__snapshot__unpack(NULL, size, data);
    if (snapshot == NULL) {
        return 0;
    }
    char *json = pb_text_to_json(&snapshot->base);
    invariant(json != NULL);
    free(json);
    char where[160];
    bool has_unknown = pb_text_has_unknown(&snapshot->base, where);
    struct policy_index *policies =
        policy_index_new(snapshot->policies, snapshot->n_policies, &err);
    invariant(policies != NULL || err.text[0] != '\0');
    policy_index_free(policies);
    struct route_index *routes = route_index_new(snapshot, &err);
    invariant(routes == NULL || !has_unknown);
    route_index_free(routes);
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    return 0;
}
