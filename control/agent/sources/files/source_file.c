// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/source_file.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "control/agent/sources/files/mesh_files.h"

struct folder {
    uv_fs_event_t event;
    struct source_file *source; // borrowed
    char *path;                 // owned
    dev_t dev;                  // which folder of this name is watched
    ino_t ino;
    bool is_wanted;
};

struct source_file {
    struct source_file_hooks hooks;
    uv_loop_t *loop;                          // borrowed
    char *path;                               // owned
    const struct source_field *const *fields; // borrowed, for ever
    uv_timer_t quiet;
    uv_timer_t poll;
    uv_work_t work;
    unsigned handles_open; // and the work under way
    bool is_closing;
    struct folder *folders[SOURCE_FOLDERS_MAX]; // owned; NULL where free
    bool is_loading;
    bool is_again;           // something happened while it loaded
    bool is_hint;            // the quiet timer runs for events alone, maybe of other files
    uint64_t first_event_ms; // of the events that the quiet timer waits on; 0: none

    // The last load; the worker's while is_loading.
    struct mesh_files files;
    struct mesh mesh;
    struct err err;
    bool is_ok;

    struct mesh_files failed_files; // what the load before looked at, when it failed
    uint64_t failing_since_ms;      // 0: not failing
    uint64_t loaded_ms;
    char reported[sizeof(struct err)]; // the failure that was passed on; empty: none
};

static void load_after(struct source_file *source, uint64_t wait_ms);

static void release(struct source_file *source)
{
    if (--source->handles_open == 0) {
        mesh_files_cleanup(&source->files);
        mesh_files_cleanup(&source->failed_files);
        mesh_cleanup(&source->mesh);
        free(source->path);
        free(source);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_folder_closed(uv_handle_t *handle)
{
    struct folder *folder = handle->data;
    struct source_file *source = folder->source;
    free(folder->path);
    free(folder);
    release(source);
}

// Waits until the events end, but not for ever.
static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name;
    (void)events;
    (void)status; // whatever happened, the files say what there is now
    struct folder *folder = event->data;
    struct source_file *source = folder->source;
    uint64_t now = uv_now(source->loop);
    if (source->first_event_ms == 0) {
        source->first_event_ms = now;
    }
    if (now - source->first_event_ms < SOURCE_QUIET_MS_MAX) {
        bool is_hint = source->is_hint || !uv_is_active((uv_handle_t *)&source->quiet);
        load_after(source, SOURCE_QUIET_MS);
        source->is_hint = is_hint;
    }
}

// Watches a folder, or goes on watching it. A folder that can't be watched is left to the poll.
static void want_folder(struct source_file *source, const char *path)
{
    struct stat st;
    size_t free_at = SOURCE_FOLDERS_MAX;
    if (stat(path, &st) != 0) {
        return;
    }
    for (size_t i = 0; i < SOURCE_FOLDERS_MAX; i++) {
        struct folder *folder = source->folders[i];
        if (folder == NULL) {
            free_at = i;
        } else if (folder->dev == st.st_dev && folder->ino == st.st_ino &&
                   strcmp(folder->path, path) == 0) {
            folder->is_wanted = true;
            return;
        }
    }
    struct folder *folder = free_at < SOURCE_FOLDERS_MAX ? calloc(1, sizeof *folder) : NULL;
    if (folder == NULL) {
        return;
    }
    *folder =
        (struct folder){.source = source, .path = strdup(path), .dev = st.st_dev, .ino = st.st_ino};
    folder->is_wanted = true;
    uv_fs_event_init(source->loop, &folder->event);
    folder->event.data = folder;
    source->handles_open++;
    int rc =
        folder->path == NULL ? UV_ENOMEM : uv_fs_event_start(&folder->event, on_event, path, 0);
    if (rc != 0) {
        log_debug("msg=\"folder not watched, only polled\" error=\"%s\"", uv_strerror(rc));
        uv_close((uv_handle_t *)&folder->event, on_folder_closed);
        return;
    }
    source->folders[free_at] = folder;
}

// The folder of each file, and the one where its symbolic links end; a swapped ..data shows in the
// former.
static void watch_folders(struct source_file *source)
{
    for (size_t i = 0; i < source->files.num_files; i++) {
        char near[PATH_MAX];
        char far[PATH_MAX];
        snprintf(near, sizeof near, "%s", source->files.files[i].path);
        want_folder(source, dirname(near));
        if (realpath(source->files.files[i].path, far) != NULL) {
            want_folder(source, dirname(far));
        }
    }
    for (size_t i = 0; i < SOURCE_FOLDERS_MAX; i++) {
        struct folder *folder = source->folders[i];
        if (folder != NULL && !folder->is_wanted) {
            uv_close((uv_handle_t *)&folder->event, on_folder_closed);
            source->folders[i] = NULL;
        } else if (folder != NULL) {
            folder->is_wanted = false;
        }
    }
}

// A failure counts when the files have stood still over it, or have gone on changing for too long.
static void take_failure(struct source_file *source)
{
    uint64_t now = uv_now(source->loop);
    bool is_first = source->failing_since_ms == 0;
    bool stood_still = !is_first && now - source->failing_since_ms >= SOURCE_RETRY_MS &&
                       mesh_files_same_signatures(&source->files, &source->failed_files);
    if (is_first) {
        source->failing_since_ms = now;
    }
    if (!stood_still && now - source->failing_since_ms < SOURCE_RETRY_MS_MAX) {
        load_after(source, SOURCE_RETRY_MS);
    } else if (strcmp(source->reported, source->err.text) != 0) {
        snprintf(source->reported, sizeof source->reported, "%s", source->err.text);
        source->hooks.on_failed(source->hooks.ctx, source->err.text);
    }
}

static void on_load(uv_work_t *work)
{
    struct source_file *source = work->data;
    source->is_ok =
        mesh_files_read(&source->files, source->path, source->fields, &source->err) &&
        mesh_read(&source->mesh, &source->files, source->fields, time(NULL), &source->err);
}

static void on_load_done(uv_work_t *work, int status)
{
    (void)status;
    struct source_file *source = work->data;
    source->is_loading = false;
    if (!source->is_closing) {
        source->loaded_ms = uv_now(source->loop);
        watch_folders(source);
        if (source->is_ok) {
            source->failing_since_ms = 0;
            source->reported[0] = '\0';
            source->hooks.on_loaded(source->hooks.ctx, &source->mesh);
        } else {
            take_failure(source);
        }
        mesh_cleanup(&source->mesh);
        // A folder that wasn't watched yet may have changed meanwhile, and a second change may not
        // show in the times.
        if (source->is_again || mesh_files_moved(&source->files)) {
            load_after(source, SOURCE_QUIET_MS);
        } else if (source->is_ok && source->files.is_racy) {
            load_after(source, SOURCE_RETRY_MS);
        }
    }
    release(source);
}

static void load(struct source_file *source)
{
    source->first_event_ms = 0;
    source->is_again = source->is_loading;
    if (source->is_loading) {
        return;
    }
    // The failed reading is what the next one is compared with.
    mesh_files_cleanup(&source->failed_files);
    if (!source->is_ok) {
        source->failed_files = source->files;
        source->files = (struct mesh_files){0};
    }
    mesh_files_cleanup(&source->files);
    source->err = (struct err){{0}, {0}};
    source->work.data = source;
    source->is_loading = true;
    source->handles_open++;
    if (uv_queue_work(source->loop, &source->work, on_load, on_load_done) != 0) {
        source->is_loading = false;
        release(source);
    }
}

static void on_quiet(uv_timer_t *timer)
{
    struct source_file *source = timer->data;
    // While a load is under way its files are the worker's; the load after it will see.
    bool is_idle_talk = source->is_hint && !source->is_loading && !source->files.is_racy &&
                        !mesh_files_moved(&source->files);
    source->is_hint = false;
    if (is_idle_talk) {
        source->first_event_ms = 0;
    } else {
        load(source);
    }
}

static void load_after(struct source_file *source, uint64_t wait_ms)
{
    source->is_hint = false;
    uv_timer_start(&source->quiet, on_quiet, wait_ms, 0);
}

static void on_poll(uv_timer_t *timer)
{
    struct source_file *source = timer->data;
    if (source->is_loading || uv_is_active((uv_handle_t *)&source->quiet)) {
        return;
    }
    bool is_due = source->failing_since_ms != 0 &&
                  uv_now(source->loop) - source->loaded_ms >= SOURCE_FAILED_MS;
    if (is_due || mesh_files_moved(&source->files)) {
        load(source);
    }
}

struct source_file *source_file_new(uv_loop_t *loop, const char *path,
                                    const struct source_field *const *fields,
                                    const struct source_file_hooks *hooks)
{
    struct source_file *source = must_alloc(1, sizeof *source);
    source->hooks = *hooks;
    source->loop = loop;
    source->path = must_strdup(path);
    source->fields = fields;
    uv_timer_init(loop, &source->quiet);
    uv_timer_init(loop, &source->poll);
    source->quiet.data = source->poll.data = source;
    source->handles_open = 2;
    source->is_ok = true;
    uv_timer_start(&source->poll, on_poll, SOURCE_POLL_MS, SOURCE_POLL_MS);
    load(source);
    return source;
}

void source_file_reload(struct source_file *source)
{
    source->reported[0] = '\0';
    load(source);
}

void source_file_close(struct source_file *source)
{
    if (source == NULL || source->is_closing) {
        return;
    }
    source->is_closing = true;
    uv_close((uv_handle_t *)&source->quiet, on_closed);
    uv_close((uv_handle_t *)&source->poll, on_closed);
    for (size_t i = 0; i < SOURCE_FOLDERS_MAX; i++) {
        if (source->folders[i] != NULL) {
            uv_close((uv_handle_t *)&source->folders[i]->event, on_folder_closed);
            source->folders[i] = NULL;
        }
    }
}
