// SPDX-License-Identifier: Apache-2.0
//
// The registry on disk, by which several policyds that share a folder see each other's sidecars:
// DIR/registry/INSTANCE/ for each running policyd, in it one small file for each sidecar (its id,
// since when, its addresses) and the file `alive`, whose time is the instance's heartbeat. A folder
// whose heartbeat stops is believed for REGISTRY_STALE_MS more, so that a policyd that restarts
// doesn't take its sidecars' addresses away meanwhile, and is then removed by whoever sees it.
// Heap, freed by its last close callback; the loop's thread only; bounded by REGISTRY_INSTANCES_MAX
// and the registry's own limits. What it reads becomes foreign claims of the registry.
#ifndef TABARD_CONTROL_POLICYD_WORLD_REGISTRY_DIR_H
#define TABARD_CONTROL_POLICYD_WORLD_REGISTRY_DIR_H

#include <uv.h>

#include "control/policyd/fleet/fleet.h"
#include "control/policyd/world/registry.h"

#define REGISTRY_HEARTBEAT_MS  2000
#define REGISTRY_STALE_MS      20000
#define REGISTRY_INSTANCES_MAX 16
#define REGISTRY_FILE_MAX      4096

struct registry_dir; // opaque

// registry_dir_new makes our own folder and reads the others'. `permits` says whether an identity
// may be at an address; an address that others wrote is taken only if it may. NULL sets err.
struct registry_dir *registry_dir_new(uv_loop_t *loop, const char *dir, struct registry *registry,
                                      bool (*permits)(void *ctx, const char *id,
                                                      const struct ip *ip),
                                      void *ctx, struct err *err);

// registry_dir_close leaves our own folder behind, which others believe for REGISTRY_STALE_MS more.
void registry_dir_close(struct registry_dir *dir);

// registry_dir_write says where a sidecar of ours is; registry_dir_erase that it is there no more.
// `number` is its own in this process.
void registry_dir_write(struct registry_dir *dir, uint64_t number, const struct claim *claim);
void registry_dir_erase(struct registry_dir *dir, uint64_t number);

// registry_dir_refresh reads everything anew, since a new fleet permits other addresses. NULL is
// allowed: there is no folder that policyds share.
void registry_dir_refresh(struct registry_dir *dir);

#endif
