// SPDX-License-Identifier: Apache-2.0
//
// Fleet, trust and registry together: what each workload is shown, and what of that has changed.
// All sidecars of one workload share one view: of one SPIFFE id and, where the fleet has them, one
// variant. A change is noted once in the log of each view that it comes to, so a sidecar needs no
// queue, only the number of the last change that it was sent. The service calls world_set_* when
// something was read, world_join for each sidecar, and world_flush after changes. Owned by the
// service; the loop's thread only. Bounded by the fleet, by WORLD_LOG_MAX changes a view (a sidecar
// that is further behind is sent the whole state), and by what is in use of earlier fleets, or not
// forgotten yet: twice the fleet, and WORLD_IDLE_MAX. It sends nothing; see stream/session.h.
//
// An address that comes or goes costs as much as there are views that may call it, and a delta as
// much as there are changes in it, however large the fleet.
#ifndef TABARD_CONTROL_POLICYD_WORLD_WORLD_H
#define TABARD_CONTROL_POLICYD_WORLD_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/data/list.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/world/registry.h"
#include "control/policyd/ca/ca_trust.h"
#include "base/pb/pb_wire.h"

#define WORLD_LOG_MAX  64
#define WORLD_IDLE_MAX 1000 // workloads of earlier fleets, before those not in use are forgotten

struct member; // opaque: one workload that a fleet names or named
struct view;   // opaque: what one workload is shown

// One sidecar that is shown a view. Embedded by its owner. Zero state: {0}.
struct viewer {
    struct view *view;
    struct list link;  // in the view's viewers
    uint64_t seq;      // of the view's last change that it was sent
    bool wants_all;    // its next update must be a whole state
    bool wants_deltas; // it understands them
};

struct world_hooks {
    void *ctx;
    void (*on_change)(void *ctx);                        // world_flush has something to do
    void (*on_behind)(void *ctx, struct viewer *viewer); // from world_flush
};

struct world {
    struct fleet *fleet;    // owned; NULL: none yet
    struct ca_trust *trust; // owned; NULL: none yet
    struct registry registry;
    struct table members;
    struct view *dirty; // views with changes that no viewer was told of
    struct world_hooks hooks;
    struct view *packed;  // the one view whose body is kept: the last that was packed
    uint64_t num_changes; // in any view, since the start
    uint64_t num_views;
    uint64_t num_sights; // how often a view's sight was worked out, since the start
    uint64_t num_bodies; // states and deltas that were packed
};

void world_init(struct world *world, const struct world_hooks *hooks);
// world_cleanup needs viewers and claims to be gone.
void world_cleanup(struct world *world);

// world_set_fleet and world_set_trust take over a new one. A fleet changes the views in which
// something differs, a trust changes all.
void world_set_fleet(struct world *world, struct fleet *fleet);
void world_set_trust(struct world *world, struct ca_trust *trust);

// world_join shows a viewer the view of a workload that the fleet names, by its key; world_move
// that of another one instead, beginning with its whole state. false sets err, and nothing changed.
bool world_join(struct world *world, struct viewer *viewer, const char *key, struct err *err);
bool world_move(struct world *world, struct viewer *viewer, const char *key, struct err *err);
void world_leave(struct viewer *viewer);

// world_flush calls on_behind for every viewer of every view that has changed.
void world_flush(struct world *world);

bool viewer_is_behind(const struct viewer *viewer);

// viewer_take_update returns what brings a viewer up to date, and counts it as sent: a field of a
// SubscribeResponse, `state` or `destinations`, borrowed until the next call.
const struct bytes *viewer_take_update(struct world *world, struct viewer *viewer,
                                       bool *out_is_state);

#endif
