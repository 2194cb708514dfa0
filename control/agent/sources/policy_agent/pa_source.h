// SPDX-License-Identifier: Apache-2.0
//
// The `policy agent` source: mesh.yaml's own part, and what comes over a stream, joined into one
// update after another. Heap, freed by its last close callback after pa_source_close; the loop
// thread, and one libuv worker while it stores; bounded by subscription.h, pa_response.h and
// gRPC's limits. What is decided is decided in subscription; this does its I/O.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/snapshot/assemble.h"
#include "control/agent/operator/report.h"

#define PA_SOURCE_TICK_MS 500

struct pa_source; // opaque

struct pa_source_hooks {
    void *ctx;
    // To be taken over, or is cleaned up. Its ticket wants an answer: pa_source_settled.
    void (*on_update)(void *ctx, struct assembled *assembled);
    void (*on_refused)(void *ctx, const char *text); // an update that never became one
};

// pa_source_new: NULL when out of memory.
struct pa_source *pa_source_new(uv_loop_t *loop, const struct pa_source_hooks *hooks);

// pa_source_configure takes over what mesh.yaml says (local->access is set). The first time it
// restores the stored state, and connects.
void pa_source_configure(struct pa_source *source, struct assembled *local);

// pa_source_settled says what became of an update (rollout.h). May be called from on_update.
void pa_source_settled(struct pa_source *source, uint64_t ticket, const char *error);

// pa_source_facts: the texts are borrowed until the next call of anything here.
void pa_source_facts(const struct pa_source *source, struct report_policy *out);

// pa_source_close stores what isn't stored yet and ends the stream; no hook is called any more.
// NULL is allowed.
void pa_source_close(struct pa_source *source);

#endif
