// SPDX-License-Identifier: Apache-2.0
//
// The structs that world*.c share. Nobody else includes it.
#ifndef TABARD_CONTROL_POLICYD_WORLD_WORLD_IMPL_H
#define TABARD_CONTROL_POLICYD_WORLD_WORLD_IMPL_H

#include <openssl/sha.h>

#include "control/policyd/world/world.h"

struct member {
    struct table_link link; // first: a link is its member
    char *key;              // owned
    size_t key_len;
    char *id; // owned: the SPIFFE id, which is the key without its variant
    size_t id_len;
    uint32_t number;        // in the fleet, or FLEET_NONE
    struct array addresses; // of ip: those that the registry gives it
    struct array callers;   // of view *: those that may call it
    struct view *view;      // owned; NULL: no viewer has asked for it
    bool is_noted;          // a view's log has it
};

struct change {
    const struct member *member; // whose address came or went
    struct ip ip;
    char *service; // owned; or it is this service that came, went or has other ports
};

struct view {
    struct member *member;
    struct fleet_sight sight; // of world->fleet
    // Of what a delta can't change: policies, fixed destinations and settings.
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint64_t seq;        // of the last change
    uint64_t state_seq;  // of the last change that only a whole state can tell
    struct change *log;  // owned; a change is at its seq % WORLD_LOG_MAX; NULL until there is one
    struct list viewers; // of viewer
    struct view *next_dirty;
    bool is_dirty;
    struct bytes body;  // the update that was packed last
    uint64_t body_from; // it leads from this change, 0: from nothing, being a whole state,
    uint64_t body_to;   // to this one; 0: there is no body
};

// world_member finds or makes a member by its key.
struct member *world_member(struct world *world, const char *key, size_t key_len);

// member_free frees a member and its view; it must be in no table.
void member_free(struct member *member);

// view_free frees a view without viewers; NULL is allowed.
void view_free(struct view *view);

// view_mark has the view's viewers told by the next world_flush.
void view_mark(struct world *world, struct view *view);

// view_note notes that an address came or went, view_note_service a change of a service, and
// view_note_all one that only a whole state can tell.
void view_note(struct world *world, struct view *view, const struct member *member,
               const struct ip *ip);
void view_note_service(struct world *world, struct view *view, const char *service);
void view_note_all(struct world *world, struct view *view);

// view_callee returns how a view's owner may call a member, or NULL.
const struct fleet_callee *view_callee(const struct view *view, const struct member *member);

#endif
