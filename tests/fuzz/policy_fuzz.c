// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a policy agent's response, with a state before it: what is taken holds nothing that
// isn't understood, and packs and unpacks into itself.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/pb/pb_text.h"
#include "control/agent/sources/subscription/pa_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_state(const Tabard__V1__State *state)
{
    size_t len = tabard__v1__state__get_packed_size(state);
    uint8_t *packed = malloc(len + 1);
    invariant(packed != NULL);
    invariant(tabard__v1__state__pack(state, packed) == len);
    invariant(pa_response_check_text(&tabard__v1__state__descriptor, packed, len, NULL));
    Tabard__V1__State *again = tabard__v1__state__unpack(NULL, len, packed);
    invariant(again != NULL && !pb_text_has_unknown(&again->base, NULL));
    invariant(again->n_destinations == state->n_destinations);
    for (size_t i = 0; i < state->n_destinations; i++) {
        invariant(state->destinations[i] != NULL);
    }
    tabard__v1__state__free_unpacked(again, NULL);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Destination a = TABARD__V1__DESTINATION__INIT;
    Tabard__V1__Destination b = TABARD__V1__DESTINATION__INIT;
    Tabard__V1__Destination *destinations[] = {&a, &b};
    Tabard__V1__State base = TABARD__V1__STATE__INIT;
    a.name = (char *)"a";
    b.name = (char *)"b";
    base.n_destinations = 2;
    base.destinations = destinations;
    Tabard__V1__SubscribeResponse *response = pa_response_parse(data, size, &err);
    if (response == NULL) {
        invariant(err.text[0] != '\0');
        return 0;
    }
    const struct pa_expectation expected = {
        .version_in_force = 2, .has_base = true, .has_request = true};
    if (!pa_response_check(response, &expected, &err)) {
        invariant(err.text[0] != '\0');
    } else if (response->state != NULL || response->destinations != NULL) {
        invariant(response->version >= 2);
        Tabard__V1__State *state = pa_response_apply(response, &base, &err);
        invariant(state != NULL || err.text[0] != '\0');
        if (state != NULL) {
            check_state(state);
            tabard__v1__state__free_unpacked(state, NULL);
        }
    }
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    return 0;
}
