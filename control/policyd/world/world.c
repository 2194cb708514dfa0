// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/world/world.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/world/world_impl.h"

static void on_moved(void *ctx, const struct ip *ip, const char *from_id, const char *to_id);

void world_init(struct world *world, const struct world_hooks *hooks)
{
    *world = (struct world){.hooks = *hooks};
    registry_init(&world->registry, world, on_moved);
}

void view_free(struct view *view)
{
    if (view == NULL) {
        return;
    }
    fleet_sight_cleanup(&view->sight);
    bytes_cleanup(&view->body);
    for (size_t i = 0; i < WORLD_LOG_MAX && view->log != NULL; i++) {
        free(view->log[i].service);
    }
    free(view->log);
    free(view);
}

void member_free(struct member *member)
{
    view_free(member->view);
    array_cleanup(&member->addresses);
    array_cleanup(&member->callers);
    free(member->key);
    free(member->id);
    free(member);
}

void world_cleanup(struct world *world)
{
    for (uint32_t i = 0; i < world->members.cap; i++) {
        struct member *member = (struct member *)world->members.heads[i];
        while (member != NULL) {
            struct member *next = (struct member *)member->link.next;
            member_free(member);
            member = next;
        }
    }
    table_cleanup(&world->members);
    registry_cleanup(&world->registry);
    fleet_free(world->fleet);
    ca_trust_free(world->trust);
}

struct member *world_member(struct world *world, const char *key, size_t key_len)
{
    uint64_t hash = table_hash(&world->members, key, key_len);
    struct table_link *link = table_first(&world->members, hash);
    for (; link != NULL; link = table_next(link)) {
        struct member *member = (struct member *)link;
        if (member->key_len == key_len && memcmp(member->key, key, key_len) == 0) {
            return member;
        }
    }
    struct member *member = must_alloc(1, sizeof *member);
    table_put(&world->members, &member->link, hash);
    member->key = must_have(strndup(key, key_len));
    member->key_len = key_len;
    member->id_len = fleet_key_id_len(member->key);
    member->id = must_have(strndup(key, member->id_len));
    member->number = world->fleet == NULL ? FLEET_NONE : fleet_find_key(world->fleet, key, key_len);
    return member;
}

void view_mark(struct world *world, struct view *view)
{
    if (view->is_dirty || list_is_empty(&view->viewers)) {
        return;
    }
    view->is_dirty = true;
    view->next_dirty = world->dirty;
    world->dirty = view;
    if (view->next_dirty == NULL) {
        world->hooks.on_change(world->hooks.ctx);
    }
}

void view_note_all(struct world *world, struct view *view)
{
    world->num_changes++;
    view->state_seq = ++view->seq;
    view_mark(world, view);
}

// Returns where the view's next change is noted, or NULL where nobody needs it.
static struct change *next_change(struct world *world, struct view *view)
{
    world->num_changes++;
    if (list_is_empty(&view->viewers)) {
        // Nobody holds a state of this view, so the next viewer gets a whole one anyhow.
        view->state_seq = ++view->seq;
        return NULL;
    }
    if (view->log == NULL) {
        view->log = must_alloc(WORLD_LOG_MAX, sizeof *view->log);
    }
    struct change *change = &view->log[++view->seq % WORLD_LOG_MAX];
    free(change->service);
    view_mark(world, view);
    return change;
}

void view_note(struct world *world, struct view *view, const struct member *member,
               const struct ip *ip)
{
    struct change *change = next_change(world, view);
    if (change != NULL) {
        *change = (struct change){.member = member, .ip = *ip};
    }
}

void view_note_service(struct world *world, struct view *view, const char *service)
{
    struct change *change = next_change(world, view);
    if (change != NULL) {
        *change = (struct change){.service = must_strdup(service)};
    }
}

static void tell_callers(struct world *world, const struct member *member, const struct ip *ip)
{
    struct view *const *callers = member->callers.items;
    for (uint32_t i = 0; i < member->callers.num; i++) {
        view_note(world, callers[i], member, ip);
    }
}

static void on_moved(void *ctx, const struct ip *ip, const char *from_id, const char *to_id)
{
    struct world *world = ctx;
    struct member *from = from_id == NULL ? NULL : world_member(world, from_id, strlen(from_id));
    struct member *to = to_id == NULL ? NULL : world_member(world, to_id, strlen(to_id));
    if (from != NULL) {
        struct ip *items = from->addresses.items;
        for (uint32_t i = 0; i < from->addresses.num; i++) {
            if (ip_equal(&items[i], ip)) {
                items[i] = items[--from->addresses.num];
                break;
            }
        }
        tell_callers(world, from, ip);
    }
    if (to != NULL) {
        struct ip *added = array_add(&to->addresses, sizeof *added);
        *added = *ip;
        tell_callers(world, to, ip);
    }
}

const struct fleet_callee *view_callee(const struct view *view, const struct member *member)
{
    const struct fleet_callee *all = view->sight.callees.items;
    uint32_t low = 0;
    uint32_t high = view->sight.callees.num;
    while (low < high && member->number != FLEET_NONE) {
        uint32_t middle = low + (high - low) / 2;
        if (all[middle].workload == member->number) {
            return &all[middle];
        }
        low = all[middle].workload < member->number ? middle + 1 : low;
        high = all[middle].workload > member->number ? middle : high;
    }
    return NULL;
}

void world_leave(struct viewer *viewer)
{
    if (viewer->view == NULL) {
        return;
    }
    list_remove(&viewer->link);
    *viewer = (struct viewer){.view = NULL};
}

void world_flush(struct world *world)
{
    while (world->dirty != NULL) {
        struct view *view = world->dirty;
        world->dirty = view->next_dirty;
        view->is_dirty = false;
        LIST_EACH_SAFE(link, &view->viewers) {
            struct viewer *viewer = LIST_OF(link, struct viewer, link);
            world->hooks.on_behind(world->hooks.ctx, viewer);
        }
    }
}

bool viewer_is_behind(const struct viewer *viewer)
{
    return viewer->view != NULL && (viewer->seq != viewer->view->seq || viewer->seq == 0);
}
