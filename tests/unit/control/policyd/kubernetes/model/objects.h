// SPDX-License-Identifier: Apache-2.0
//
// Objects as an API server gives them, for the tests of the model, and what the model says of them
// so far: its last fleet and whose each address is.
#ifndef TABARD_TESTS_UNIT_CONTROL_POLICYD_KUBERNETES_MODEL_OBJECTS_H
#define TABARD_TESTS_UNIT_CONTROL_POLICYD_KUBERNETES_MODEL_OBJECTS_H

#include "control/policyd/kubernetes/model/kube_model.h"

#define TD "spiffe://demo.example"

// One model and what was taken of it. Zero state; objects_start and objects_end.
struct objects {
    struct kube_model *model;
    Tabard__V1__FleetConfig *config; // owned: the last one
    unsigned num_configs;
    struct {
        struct ip ip;
        char owner[256]; // "": nobody's
    } places[512];
    unsigned num_places;
    char moved[4096]; // "NS/POD>KEY ..." of the last take
};

// objects_start makes a model with MeshSettings for demo.example.
void objects_start(struct objects *objects);
void objects_end(struct objects *objects);

// objects_put puts an object of a text in JSON, whose quotes may be written as '. objects_take
// takes what has changed.
void objects_put(struct objects *objects, enum kube_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void objects_take(struct objects *objects);

// A pod in the mesh; `more` is put into its metadata, with a comma before it.
void objects_pod(struct objects *objects, const char *ns, const char *name, const char *account,
                 const char *ip, const char *more);

// objects_owner returns whose an address is, "" for nobody's.
const char *objects_owner(const struct objects *objects, const char *ip);

// Texts of parts of the last fleet as JSON without blanks, borrowed until the next call; "" if
// there is no such part.
const char *objects_workload(const struct objects *objects, const char *id, const char *variant);
const char *objects_policy(const struct objects *objects, const char *name);
const char *objects_service(const struct objects *objects, const char *name);
const char *objects_destination(const struct objects *objects, const char *name);

// objects_verdict returns the last verdict on an object that the model gave, as "REASON: MESSAGE".
const char *objects_verdict(struct objects *objects, enum kube_kind kind, const char *name);

#endif
