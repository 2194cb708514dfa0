// SPDX-License-Identifier: Apache-2.0
//
// The `file` source: mesh.yaml and the files it names, watched. A change is read after a short
// quiet, off the loop, so that handshakes are signed meanwhile; a failure is looked at twice before
// it counts, because files are written in pieces. Heap, freed by its last close callback after
// source_file_close; the loop thread, and one libuv worker while it loads; bounded by
// SOURCE_FOLDERS_MAX watched folders (the slow poll sees to the rest) and one load at a time. It
// decides nothing about what it read.
#ifndef TABARD_CONTROL_AGENT_SOURCES_FILES_SOURCE_FILE_H
#define TABARD_CONTROL_AGENT_SOURCES_FILES_SOURCE_FILE_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/sources/files/mesh.h"

#define SOURCE_FOLDERS_MAX  64
#define SOURCE_QUIET_MS     20  // without an event, before a change is read
#define SOURCE_QUIET_MS_MAX 200 // ... however many events there are
#define SOURCE_POLL_MS      2000 // stat(2) of every file: for lost events and file systems without any
#define SOURCE_RETRY_MS     100  // after a first failure, and after files that changed a moment ago
#define SOURCE_RETRY_MS_MAX 2000 // files that fail and keep changing are reported after this
#define SOURCE_FAILED_MS    10000 // while failing: tried again, because time too makes things right

struct source_file; // opaque

struct source_file_hooks {
    void *ctx;
    void (*on_loaded)(void *ctx, struct mesh *mesh); // to be taken over, or is cleaned up
    // Nothing usable; once for each text in a row.
    void (*on_failed)(void *ctx, const char *text);
};

// source_file_new begins with a first load, at once. `path` is copied; `fields` is the table of the
// other sources, which ends with NULL.
struct source_file *source_file_new(uv_loop_t *loop, const char *path,
                                    const struct source_field *const *fields,
                                    const struct source_file_hooks *hooks);

// source_file_reload loads now, whether or not anything changed, and reports a failure again.
void source_file_reload(struct source_file *source);

// source_file_close ends watching; no hook is called any more. NULL is allowed.
void source_file_close(struct source_file *source);

#endif
