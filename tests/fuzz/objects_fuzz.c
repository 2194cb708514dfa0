// SPDX-License-Identifier: Apache-2.0
//
// Any story of Kubernetes' objects, one a line: the number of a kind, then "+" and an object in
// JSON, or "-" and "NS/NAME" of one that is gone; an empty line takes what has changed. The model
// holds, frees all of it, and what it makes is taken by the fleet and by each sidecar.
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/policyd/kubernetes/model/kube_model.h"
#include "tests/support/fleet_states.h"

#define PLACES_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What was taken so far.
struct taken {
    Tabard__V1__FleetConfig *config;
    char *domain;
    struct fleet_states_place places[PLACES_MAX];
    size_t num_places;
};

static void take_place(struct taken *taken, const struct kube_place *place)
{
    size_t at = 0;
    while (at < taken->num_places && !ip_equal(&taken->places[at].ip, &place->ip)) {
        at++;
    }
    if (at < taken->num_places) {
        free((char *)taken->places[at].owner);
        taken->places[at] = taken->places[--taken->num_places];
    }
    if (place->owner != NULL && taken->num_places < PLACES_MAX) {
        taken->places[taken->num_places++] =
            (struct fleet_states_place){place->ip, strdup(place->owner)};
    }
}

static void take(struct kube_model *model, struct taken *taken)
{
    struct kube_update update;
    struct kube_verdict verdict;
    struct err err = {{0}, {0}};
    kube_model_take(model, &update);
    if (update.config != NULL) {
        if (taken->config != NULL) {
            tabard__v1__fleet_config__free_unpacked(taken->config, NULL);
        }
        taken->config = update.config;
        free(taken->domain);
        taken->domain = strdup(update.trust_domain);
    }
    for (size_t i = 0; i < update.num_places; i++) {
        take_place(taken, &update.places[i]);
    }
    if (taken->config != NULL &&
        !fleet_states_check(taken->config, taken->domain, taken->places, taken->num_places, &err)) {
        fprintf(stderr, "%s: %s\n", err.where, err.text);
        invariant(false);
    }
    while (kube_model_take_verdict(model, &verdict)) {
        invariant(verdict.is_accepted || verdict.message[0] != '\0');
        kube_model_num_concerned(model, verdict.kind, verdict.ns, verdict.name);
    }
}

static void tell(struct kube_model *model, char *line)
{
    unsigned kind = (unsigned)(line[0] - '0');
    struct err err = {{0}, {0}};
    char *slash = strchr(line, '/');
    if (kind >= KUBE_NUM_KINDS) {
        return;
    }
    if (line[1] == '-' && slash != NULL) {
        *slash = '\0';
        kube_model_delete(model, (enum kube_kind)kind, line + 2, slash + 1);
    } else if (line[1] == '+') {
        json_t *object = json_loads(line + 2, 0, NULL);
        if (object != NULL && !kube_model_put(model, (enum kube_kind)kind, object, &err)) {
            invariant(err.text[0] != '\0');
        }
        json_decref(object);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_model *model = kube_model_new("tabard-system");
    struct taken taken = {.config = NULL};
    char *text = malloc(size + 1);
    invariant(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL) {
            *end++ = '\0';
        }
        if (line[0] == '\0') {
            take(model, &taken);
        } else {
            tell(model, line);
        }
    }
    take(model, &taken);
    kube_model_free(model);
    if (taken.config != NULL) {
        tabard__v1__fleet_config__free_unpacked(taken.config, NULL);
    }
    while (taken.num_places > 0) {
        free((char *)taken.places[--taken.num_places].owner);
    }
    free(taken.domain);
    free(text);
    return 0;
}
