// SPDX-License-Identifier: Apache-2.0
//
// The folder as a source: DIR/fleet/*.yaml and *.yml, and DIR's certificates and CRLs, watched
// (control/host/watch.h). The fleet and the trust come apart, so that a revocation isn't held up by
// a slip in a policy. policyd.c calls source_folder_load before anything else, then
// source_folder_watch. Heap, freed by its last callback after source_folder_close; the loop's
// thread.
#ifndef TABARD_CONTROL_POLICYD_FOLDER_SOURCE_FOLDER_H
#define TABARD_CONTROL_POLICYD_FOLDER_SOURCE_FOLDER_H

#include <uv.h>

#include "control/policyd/fleet/fleet.h"
#include "control/policyd/ca/ca_trust.h"

struct source_folder; // opaque

// What is in force, to fall back on. Borrowed until the next on_trust or on_fleet returns; NULL:
// there is none.
struct source_folder_in_force {
    const struct ca_trust *trust;
    const struct fleet *fleet;
};

struct source_folder_hooks {
    void *ctx;
    // Called on the worker that reads. NULL: nothing is ever in force.
    struct source_folder_in_force (*in_force)(void *ctx);
    // Something was read that is usable and isn't what was read before; taken over. began_ns is
    // when the change was first seen (uv_hrtime).
    void (*on_fleet)(void *ctx, struct fleet *fleet, uint64_t began_ns);
    void (*on_trust)(void *ctx, struct ca_trust *trust, uint64_t began_ns);
    // Something of a part, "fleet" or "trust", isn't usable. What else has changed comes into force
    // all the same (fleet_new_apart, ca_trust_new_apart). Called once while all that is refused of
    // the part stays the same, for each file.
    void (*on_failed)(void *ctx, const char *what, const char *text);
};

#define SOURCE_FOLDER_START_MS_MAX 20000 // that a start waits for files that are being written

// source_folder_load loads once, for the start, and waits for files that are being written. Where
// something is bad, what was in force last takes the place of the whole (folder_record.h), is told
// in the log, and the first reading judges each file apart. NULL sets err; out_* are then NULL.
struct source_folder *source_folder_load(const char *dir, struct fleet **out_fleet,
                                         struct ca_trust **out_trust, struct err *err);

// source_folder_watch begins to watch, and passes on what there is. The hooks are copied.
void source_folder_watch(struct source_folder *source, uv_loop_t *loop,
                         const struct source_folder_hooks *hooks);

// source_folder_reload reads now, passes on everything, and reports a failure again.
void source_folder_reload(struct source_folder *source);

// source_folder_num_held returns how many files are still being written, so that what they held
// before counts. NULL: none.
size_t source_folder_num_held(const struct source_folder *source);
void source_folder_close(struct source_folder *source);

#endif
