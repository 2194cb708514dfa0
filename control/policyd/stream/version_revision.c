// SPDX-License-Identifier: Apache-2.0
//
// Versions by the revisions of Kubernetes' objects.
#include "control/policyd/stream/version_impl.h"

static bool draw(struct version *version, uint64_t now_us, struct err *err)
{
    uint64_t at_least = version->revision << VERSION_COUNTER_BITS;
    (void)now_us;
    (void)err;
    version->last = at_least > version->last ? at_least : version->last + 1;
    return true;
}

void version_tick(struct version *version, uint64_t now_us)
{
    bool is_running = version->num_begun > version->num_done;
    bool is_soon = version->num_begun > 0 && now_us >= version->begun_us &&
                   now_us - version->begun_us < VERSION_RELIST_US;
    if (version->num_wanted > version->num_begun && !is_running && !is_soon) {
        version->num_begun++;
        version->begun_us = now_us;
        uint64_t revision = version->wanted;
        version->wanted = 0;
        version->on_relist(version->ctx, revision);
    }
}

static enum version_reach reach(struct version *version, uint64_t held, uint64_t *ticket,
                                uint64_t now_us)
{
    uint64_t revision = held >> VERSION_COUNTER_BITS;
    if (revision <= version->complete) {
        return VERSION_REACHED;
    }
    if (*ticket == 0) {
        version->wanted = revision > version->wanted ? revision : version->wanted;
        // One that runs already may have begun before the sidecar was sent what it holds.
        *ticket = version->num_begun + 1;
        version->num_wanted = *ticket;
        version_tick(version, now_us);
    }
    return version->num_done >= *ticket ? VERSION_FOREIGN : VERSION_LATER;
}

static const struct version_kind by_revision = {.draw = draw, .reach = reach, .is_floored = true};

void version_open_revision(struct version *out, void (*on_relist)(void *ctx, uint64_t revision),
                           void *ctx)
{
    *out = (struct version){.kind = &by_revision, .fd = -1, .ctx = ctx, .on_relist = on_relist};
}

void version_revise(struct version *version, uint64_t revision, uint64_t complete)
{
    version->revision = revision > version->revision ? revision : version->revision;
    version->complete = complete > version->complete ? complete : version->complete;
}

void version_relisted(struct version *version)
{
    version->num_done = version->num_begun;
}
