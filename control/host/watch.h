// SPDX-License-Identifier: Apache-2.0
//
// Files, read again whenever they change. A change is read after a short quiet, off the loop, so
// that the loop serves meanwhile. Files that are still being written are held (files.h) and read
// again when they are whole; one that is held for long is logged. A failure is looked at twice
// before it counts, because files that belong together are written one after another. Its owner
// calls watch_new with a job, which reads at once, and at the end watch_close; the job's `release`
// then frees the owner's memory. The loop's thread, and one libuv worker while it reads, one
// reading at a time. At most WATCH_FOLDERS_MAX folders are watched; files in others are only
// polled.
#ifndef TABARD_CONTROL_HOST_WATCH_H
#define TABARD_CONTROL_HOST_WATCH_H

#include <uv.h>

#include "control/host/files.h"

#define WATCH_FOLDERS_MAX  64
#define WATCH_QUIET_MS     10  // without an event, before a change is read
#define WATCH_QUIET_MS_MAX 200 // that a change waits at most, while events go on
#define WATCH_POLL_MS      2000 // stat(2) of every file: for lost events and file systems without any
#define WATCH_RETRY_MS     100   // after a first failure, and after files that changed a moment ago
#define WATCH_RETRY_MS_MAX 2000  // files that fail and keep changing are reported after this
#define WATCH_HELD_MS      10000 // that a file is held before that is logged and counts as failure
#define WATCH_FAILED_MS    10000 // between readings while failing: time alone can end a failure

struct watch; // opaque

// The owner's part: it reads, and takes what was read. Everything but `read` is called on the loop.
struct watch_job {
    void *ctx;
    // Reads, on a worker, with nothing else of the job called meanwhile. Returns the files that it
    // looked at, which stay as they are until the next call, and whether all is usable.
    const struct files *(*read)(void *ctx, bool *out_is_usable);
    // Passes on what was read and is usable. began_ns is when the change was first seen
    // (uv_hrtime).
    void (*take)(void *ctx, uint64_t began_ns);
    // Reports a failure that counts: the files stood still over two readings, or have gone on
    // changing or been held for too long. Called after each such reading; the owner says each text
    // once.
    void (*report)(void *ctx);
    // Frees the job's memory: the last call.
    void (*release)(void *ctx);
};

// watch_new copies the job and begins to watch.
struct watch *watch_new(uv_loop_t *loop, const struct watch_job *job);

// watch_read_now reads whether or not anything changed.
void watch_read_now(struct watch *watch);

// watch_num_held returns how many files are held.
size_t watch_num_held(const struct watch *watch);

// watch_close ends watching: take and report are called no more. NULL is allowed.
void watch_close(struct watch *watch);

#endif
