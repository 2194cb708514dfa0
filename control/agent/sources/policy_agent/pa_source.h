// SPDX-License-Identifier: Apache-2.0
//
// The `policy agent` source: mesh.yaml's own part, and what comes over a stream, joined into one
// update after another. Heap, freed by its last close callback after source_policy_close; the loop
// thread, and one libuv worker while it stores; bounded by subscription.h, policy_response.h and
// gRPC's limits. What is decided is decided in subscription; this does its I/O.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/snapshot/assemble.h"
#include "control/agent/operator/report.h"

#define SOURCE_POLICY_TICK_MS 500

struct source_policy; // opaque

struct source_policy_hooks {
    void *ctx;
    // To be taken over, or is cleaned up. Its ticket wants an answer: source_policy_settled.
    void (*on_update)(void *ctx, struct assembled *assembled);
    void (*on_refused)(void *ctx, const char *text); // an update that never became one
};

// source_policy_new: NULL when out of memory.
struct source_policy *source_policy_new(uv_loop_t *loop, const struct source_policy_hooks *hooks);

// source_policy_configure takes over what mesh.yaml says (local->access is set). The first time it
// restores the stored state, and connects.
void source_policy_configure(struct source_policy *source, struct assembled *local);

// source_policy_settled says what became of an update (rollout.h). May be called from on_update.
void source_policy_settled(struct source_policy *source, uint64_t ticket, const char *error);

// source_policy_facts: the texts are borrowed until the next call of anything here.
void source_policy_facts(const struct source_policy *source, struct report_policy *out);

// source_policy_close stores what isn't stored yet and ends the stream; no hook is called any more.
// NULL is allowed.
void source_policy_close(struct source_policy *source);

#endif
