// SPDX-License-Identifier: Apache-2.0
#include "control/host/watch.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"

struct folder {
    uv_fs_event_t event;
    struct watch *watch; // borrowed
    char *path;          // owned
    dev_t dev;           // which folder of this name is watched
    ino_t ino;
    bool is_wanted;
    bool is_doubtful; // something was deleted or moved: maybe the folder, whose watch then is over
};

struct watch {
    struct watch_job job;
    uv_loop_t *loop; // borrowed
    uv_timer_t quiet;
    uv_timer_t poll;
    uv_work_t work;
    unsigned handles_open; // and the work under way
    bool is_closing;
    struct folder *folders[WATCH_FOLDERS_MAX]; // owned; NULL where free
    bool is_reading;
    bool is_again;           // something happened while it read
    bool is_hint;            // only events set the quiet timer: maybe of files that aren't ours
    uint64_t first_event_ns; // of the events that the quiet timer waits on; 0: none
    uint64_t began_ns;       // of the reading under way

    // The worker's while is_reading.
    const struct files *files; // the job's
    bool is_usable;

    struct files last;         // stamps of the last reading
    struct files failed;       // of the one before, if it failed
    uint64_t failing_since_ms; // 0: not failing
    uint64_t read_ms;
};

static void read_after(struct watch *watch, uint64_t wait_ms);

static void release(struct watch *watch)
{
    if (--watch->handles_open == 0) {
        watch->job.release(watch->job.ctx);
        files_cleanup(&watch->last);
        files_cleanup(&watch->failed);
        free(watch);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_folder_closed(uv_handle_t *handle)
{
    struct folder *folder = handle->data;
    struct watch *watch = folder->watch;
    free(folder->path);
    free(folder);
    release(watch);
}

// Waits until the events end, but not for ever.
static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name;
    (void)status; // whatever happened, the files say what there is now
    struct folder *folder = event->data;
    folder->is_doubtful = folder->is_doubtful || (events & UV_RENAME) != 0;
    struct watch *watch = folder->watch;
    uint64_t now = uv_hrtime();
    if (watch->first_event_ns == 0) {
        watch->first_event_ns = now;
    }
    if (now - watch->first_event_ns < (uint64_t)WATCH_QUIET_MS_MAX * 1000000) {
        bool is_hint = watch->is_hint || !uv_is_active((uv_handle_t *)&watch->quiet);
        read_after(watch, WATCH_QUIET_MS);
        watch->is_hint = is_hint;
    }
}

// Watches a folder, or goes on watching it. A folder made anew under the same name may have the
// same number, too. A folder that can't be watched is left to the poll.
static void want_folder(struct watch *watch, const char *path)
{
    struct stat st;
    size_t free_at = WATCH_FOLDERS_MAX;
    if (stat(path, &st) != 0) {
        return;
    }
    for (size_t i = 0; i < WATCH_FOLDERS_MAX; i++) {
        struct folder *folder = watch->folders[i];
        if (folder == NULL) {
            free_at = i;
        } else if (!folder->is_doubtful && folder->dev == st.st_dev && folder->ino == st.st_ino &&
                   strcmp(folder->path, path) == 0) {
            folder->is_wanted = true;
            return;
        }
    }
    if (free_at == WATCH_FOLDERS_MAX) {
        return;
    }
    struct folder *folder = must_alloc(1, sizeof *folder);
    *folder = (struct folder){
        .watch = watch, .path = must_strdup(path), .dev = st.st_dev, .ino = st.st_ino};
    folder->is_wanted = true;
    uv_fs_event_init(watch->loop, &folder->event);
    folder->event.data = folder;
    watch->handles_open++;
    int rc = uv_fs_event_start(&folder->event, on_event, path, 0);
    if (rc != 0) {
        log_debug("msg=\"folder not watched, only polled\" error=\"%s\"", uv_strerror(rc));
        uv_close((uv_handle_t *)&folder->event, on_folder_closed);
        return;
    }
    watch->folders[free_at] = folder;
}

// Watches the folder of each file, and the one in which its symbolic links end. The former shows
// when the link `..data` of a Kubernetes volume is swapped.
static void watch_folders(struct watch *watch)
{
    for (size_t i = 0; i < watch->last.num; i++) {
        const struct files_entry *entry = &watch->last.entries[i];
        char near[PATH_MAX];
        char far[PATH_MAX];
        snprintf(near, sizeof near, "%s", entry->path);
        want_folder(watch, entry->is_folder ? near : dirname(near));
        if (realpath(entry->path, far) != NULL) {
            want_folder(watch, entry->is_folder ? far : dirname(far));
        }
    }
    for (size_t i = 0; i < WATCH_FOLDERS_MAX; i++) {
        struct folder *folder = watch->folders[i];
        if (folder != NULL && !folder->is_wanted) {
            uv_close((uv_handle_t *)&folder->event, on_folder_closed);
            watch->folders[i] = NULL;
        } else if (folder != NULL) {
            folder->is_wanted = false;
        }
    }
}

// Logs, once each, the files that have been held for long.
static void say_held(struct watch *watch)
{
    uint64_t now = now_ms();
    for (size_t i = 0; i < watch->last.num; i++) {
        struct files_entry *entry = &watch->last.entries[i];
        if (entry->hold != FILES_SETTLED && !entry->is_said &&
            now - entry->since_ms >= WATCH_HELD_MS) {
            char quoted[PATH_MAX + 64];
            entry->is_said = true;
            log_warn("msg=\"file not read anew: what it held before counts\" file=%s since_ms=%lu "
                     "because=\"%s\"",
                     log_quote(quoted, sizeof quoted, entry->path),
                     (unsigned long)(now - entry->since_ms), files_hold_text(entry->hold));
        }
    }
}

static bool is_said(const struct files *files, const struct files_entry *entry)
{
    for (size_t i = 0; i < files->num; i++) {
        if (files->entries[i].is_said && files->entries[i].since_ms == entry->since_ms &&
            strcmp(files->entries[i].path, entry->path) == 0) {
            return true;
        }
    }
    return false;
}

// Keeps the stamps of the reading that is over, and which holds were logged.
static void keep_stamps(struct watch *watch)
{
    files_cleanup(&watch->failed);
    watch->failed = watch->last; // looked at only if it failed
    watch->last = files_copy_stamps(watch->files);
    for (size_t i = 0; i < watch->last.num; i++) {
        struct files_entry *entry = &watch->last.entries[i];
        entry->is_said = entry->hold != FILES_SETTLED && is_said(&watch->failed, entry);
    }
}

// Looks soon whether what is held may be read, until it has been held for long: then the poll does.
static void look_soon(struct watch *watch)
{
    uint64_t now = now_ms();
    for (size_t i = 0; i < watch->last.num; i++) {
        const struct files_entry *entry = &watch->last.entries[i];
        if (entry->hold != FILES_SETTLED && now - entry->since_ms < WATCH_HELD_MS) {
            read_after(watch, WATCH_RETRY_MS);
            watch->is_hint = true;
            return;
        }
    }
}

static void take_failure(struct watch *watch)
{
    uint64_t now = uv_now(watch->loop);
    bool is_first = watch->failing_since_ms == 0;
    if (watch->last.num_held > 0 && (is_first || now - watch->failing_since_ms < WATCH_HELD_MS)) {
        watch->failing_since_ms = is_first ? now : watch->failing_since_ms;
        return;
    }
    bool stood_still = !is_first && now - watch->failing_since_ms >= WATCH_RETRY_MS &&
                       files_same_stamps(&watch->last, &watch->failed);
    if (is_first) {
        watch->failing_since_ms = now;
    }
    if (!stood_still && now - watch->failing_since_ms < WATCH_RETRY_MS_MAX) {
        read_after(watch, WATCH_RETRY_MS);
    } else {
        watch->job.report(watch->job.ctx);
    }
}

static void on_work(uv_work_t *work)
{
    struct watch *watch = work->data;
    watch->files = watch->job.read(watch->job.ctx, &watch->is_usable);
}

static void take(struct watch *watch)
{
    keep_stamps(watch);
    watch->read_ms = uv_now(watch->loop);
    watch_folders(watch);
    watch->job.take(watch->job.ctx, watch->began_ns);
    if (watch->is_usable) {
        watch->failing_since_ms = 0;
    } else {
        take_failure(watch);
    }
    // A folder that wasn't watched yet may have changed meanwhile, and a second change may not show
    // in the times.
    if (watch->is_again || files_moved(&watch->last)) {
        read_after(watch, WATCH_QUIET_MS);
    } else if (watch->is_usable && watch->last.is_recent) {
        read_after(watch, WATCH_RETRY_MS);
    } else if (!uv_is_active((uv_handle_t *)&watch->quiet)) {
        look_soon(watch);
    }
}

static void on_work_done(uv_work_t *work, int status)
{
    (void)status;
    struct watch *watch = work->data;
    watch->is_reading = false;
    if (!watch->is_closing) {
        take(watch);
    }
    release(watch);
}

void watch_read_now(struct watch *watch)
{
    watch->is_again = watch->is_reading;
    if (watch->is_reading) {
        return;
    }
    watch->began_ns = watch->first_event_ns != 0 ? watch->first_event_ns : uv_hrtime();
    watch->first_event_ns = 0;
    watch->work.data = watch;
    watch->is_reading = true;
    watch->handles_open++;
    int rc = uv_queue_work(watch->loop, &watch->work, on_work, on_work_done);
    invariant(rc == 0);
}

static void on_quiet(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    // While it reads, what the events are about is left to the next reading.
    bool is_false_alarm = watch->is_hint && !watch->is_reading && !watch->last.is_recent &&
                          !files_moved(&watch->last);
    watch->is_hint = false;
    if (is_false_alarm) {
        watch->first_event_ns = 0;
        look_soon(watch);
    } else {
        watch_read_now(watch);
    }
}

static void read_after(struct watch *watch, uint64_t wait_ms)
{
    watch->is_hint = false;
    uv_timer_start(&watch->quiet, on_quiet, wait_ms, 0);
}

static void on_poll(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    say_held(watch);
    if (watch->is_reading || uv_is_active((uv_handle_t *)&watch->quiet)) {
        return;
    }
    bool is_due =
        watch->failing_since_ms != 0 && uv_now(watch->loop) - watch->read_ms >= WATCH_FAILED_MS;
    if (is_due || files_moved(&watch->last)) {
        watch_read_now(watch);
    }
}

struct watch *watch_new(uv_loop_t *loop, const struct watch_job *job)
{
    struct watch *watch = must_alloc(1, sizeof *watch);
    watch->job = *job;
    watch->loop = loop;
    uv_timer_init(loop, &watch->quiet);
    uv_timer_init(loop, &watch->poll);
    watch->quiet.data = watch->poll.data = watch;
    watch->handles_open = 2;
    uv_timer_start(&watch->poll, on_poll, WATCH_POLL_MS, WATCH_POLL_MS);
    watch_read_now(watch);
    return watch;
}

size_t watch_num_held(const struct watch *watch)
{
    return watch->last.num_held;
}

void watch_close(struct watch *watch)
{
    if (watch == NULL || watch->is_closing) {
        return;
    }
    watch->is_closing = true;
    uv_close((uv_handle_t *)&watch->quiet, on_closed);
    uv_close((uv_handle_t *)&watch->poll, on_closed);
    for (size_t i = 0; i < WATCH_FOLDERS_MAX; i++) {
        if (watch->folders[i] != NULL) {
            uv_close((uv_handle_t *)&watch->folders[i]->event, on_folder_closed);
            watch->folders[i] = NULL;
        }
    }
}
