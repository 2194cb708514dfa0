// SPDX-License-Identifier: Apache-2.0
//
// What a resource of ours should say in its status, and what is to be written so that it does.
// Server-side apply, so that nobody overwrites what he doesn't know: each replica of policyd owns
// an entry of status.replicas, with the sidecars that it steers itself, under a field manager of
// its own; the conditions belong to all of them together and are written by whoever finds them
// other than they should be. Replicas that see the same write the same. Pure.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_STATUS_WRITE_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_STATUS_WRITE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STATUS_MANAGER       "tabard-policyd" // of the conditions; an entry's has "-REPLICA" behind
#define STATUS_MANAGER_BYTES 320
#define STATUS_MESSAGE_BYTES 1024 // of a condition
#define STATUS_REPLICAS_MAX  32   // entries that are counted

struct status_facts {
    const char *kind;
    const char *ns; // "": cluster-wide
    const char *name;
    const char *uid;
    int64_t generation;
    // Whether it is taken as it is written.
    bool is_accepted;
    const char *reason; // in one word
    const char *message;
    // Of the sidecars that it concerns: all, and those that this replica steers.
    uint32_t num_concerned;
    uint32_t num_in_force;
    uint32_t num_refused;
    const char *refusal; // what one of these says; NULL: none refuses
    const char *replica; // this one's name
    // Whether another replica runs.
    bool (*is_alive)(void *ctx, const char *replica);
    void *ctx;
};

// One write: an object to apply to the status, and the field manager that it is of.
struct status_write {
    json_t *object; // owned; NULL: all is as it should be
    char manager[STATUS_MANAGER_BYTES];
};

// status_write_next compares what should be with what the object has (its `status`; NULL: none) and
// returns what to write next. `now` is in seconds since 1970.
struct status_write status_write_next(const struct status_facts *facts, const json_t *status,
                                      int64_t now);

#endif
