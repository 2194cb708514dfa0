// SPDX-License-Identifier: Apache-2.0
//
// The `file` source: mesh.yaml and the files it names, watched (control/host/watch.h). Heap, freed
// by its last callback after source_file_close; the loop's thread. It decides nothing about what it
// read.
#ifndef TABARD_CONTROL_AGENT_SOURCES_FILES_SOURCE_FILE_H
#define TABARD_CONTROL_AGENT_SOURCES_FILES_SOURCE_FILE_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/sources/files/mesh.h"

struct source_file; // opaque

struct source_file_hooks {
    void *ctx;
    // The callee may take parts of it over; what it leaves is cleaned up.
    void (*on_loaded)(void *ctx, struct mesh *mesh);
    // Nothing usable was read. Not called again for the same text in a row.
    void (*on_failed)(void *ctx, const char *text);
};

// source_file_new begins with a first load, at once. `path` is copied; `fields` is the table of the
// other sources, which ends with NULL.
struct source_file *source_file_new(uv_loop_t *loop, const char *path,
                                    const struct source_field *const *fields,
                                    const struct source_file_hooks *hooks);

// source_file_reload loads now, whether or not anything changed, and reports a failure again.
void source_file_reload(struct source_file *source);

// source_file_num_held returns how many files are still being written, so that what they held
// before counts.
size_t source_file_num_held(const struct source_file *source);

// source_file_close ends watching; no hook is called any more. NULL is allowed.
void source_file_close(struct source_file *source);

#endif
