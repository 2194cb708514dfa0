// SPDX-License-Identifier: Apache-2.0
//
// The `policy agent` source (control/agent/snapshot/source.h): what comes over a stream fills
// identity, bundles and rules. Heap, freed by its last close callback after pa_source_close; the
// loop thread, and one libuv worker while it stores; bounded by subscription.h, pa_response.h and
// gRPC's limits. subscription decides; this does its I/O.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_SOURCE_H

#include <uv.h>

#include "control/agent/snapshot/source.h"
#include "control/agent/sources/policy_agent/pa_access.h"

#define PA_SOURCE_TICK_MS 500

struct pa_source; // opaque

struct pa_source *pa_source_new(uv_loop_t *loop, const struct source_hooks *hooks);

// pa_source_configure takes over the access; `identity` (NULL: none) admits the sidecar until one
// was issued. The first time it puts what is stored, and connects; later it connects anew if
// anything has changed.
void pa_source_configure(struct pa_source *source, struct pa_access *access, struct part *identity);

// pa_source_settled says what became of the offer at hand; not from within a hook.
void pa_source_settled(struct pa_source *source, const char *error);

// pa_source_facts: the texts are borrowed until the next call of anything here.
void pa_source_facts(const struct pa_source *source, struct source_facts *out);

// pa_source_close stores what isn't stored yet and ends the stream; no hook is called any more.
// NULL is allowed.
void pa_source_close(struct pa_source *source);

extern const struct source_kind pa_kind; // see control/agent/sources/sources.h

#endif
