// SPDX-License-Identifier: Apache-2.0
//
// Writes states to the disk off the loop, always the newest and at most one in STORE_WRITER_MS. A
// disk that is full or read-only is logged and counted, never fatal. Heap, freed by its last close
// callback after store_writer_close; the loop thread, and one libuv worker while it writes; bounded
// by two packed states: being written, and next.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_STORE_WRITER_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_STORE_WRITER_H

#include <stdint.h>
#include <uv.h>

#include "control/agent/sources/policy_agent/store.h"

#define STORE_WRITER_MS     1000
#define STORE_WRITER_LOG_MS 60000

struct store_writer; // opaque

struct store_writer *store_writer_new(uv_loop_t *loop);

// store_writer_put has a state written soon; `what` is packed at once.
void store_writer_put(struct store_writer *writer, const char *folder, const char *owner,
                      const struct stored_state *what);
uint64_t store_writer_num_failures(const struct store_writer *writer);

// store_writer_close writes the state that waits before it returns or, while another is being
// written, right after that one. NULL is allowed.
void store_writer_close(struct store_writer *writer);

#endif
