// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/source_folder.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "control/policyd/folder/folder_files.h"

enum { PART_FLEET, PART_TRUST, NUM_PARTS };
static const char *const part_names[NUM_PARTS] = {"fleet", "trust"};
static const char *const watched[] = {"", "/fleet", "/ca"};
#define NUM_WATCHED (sizeof watched / sizeof watched[0])

// What one load made of the files.
struct loading {
    struct folder_files files;
    struct fleet *fleet;
    struct ca_trust *trust;
    bool is_ok[NUM_PARTS];
    bool is_same[NUM_PARTS]; // as the last usable one: not parsed
    struct err err[NUM_PARTS];
};

struct source_folder {
    struct source_folder_hooks hooks;
    uv_loop_t *loop;
    char *dir; // owned
    uv_fs_event_t events[NUM_WATCHED];
    uv_timer_t quiet;
    uv_timer_t poll;
    uv_work_t work;
    unsigned handles_open; // and the work under way
    bool is_closing;
    bool is_loading;
    bool is_again;
    uint64_t first_event_ns;  // of those that the quiet timer waits on; 0: none
    uint64_t began_ns;        // of the load under way
    struct folder_files last; // what was loaded last, usable or not
    bool was_ok[NUM_PARTS];
    char failed[NUM_PARTS][sizeof(struct err)];   // the last failure; empty: none
    char reported[NUM_PARTS][sizeof(struct err)]; // and the one passed on
    struct loading now;                           // the worker's while is_loading
};

static void load_parts(struct loading *now, const char *dir, const struct folder_files *last,
                       const bool *was_ok)
{
    bool was_read = folder_files_read(&now->files, dir, &now->err[PART_FLEET]);
    const struct folder_entry *entries = now->files.entries.items;
    uint32_t num = now->files.entries.num;
    now->err[PART_TRUST] = now->err[PART_FLEET];
    if (!was_read || num < FOLDER_NUM_FIXED) {
        return;
    }
    const struct ca_trust_texts texts = {.ca = entries[FOLDER_CA].text,
                                         .crl = entries[FOLDER_CRL].text,
                                         .roots = entries[FOLDER_ROOTS].text,
                                         .crls = entries[FOLDER_CRLS].text};
    now->is_same[PART_TRUST] = was_ok[PART_TRUST] && folder_files_same(last, &now->files, false);
    now->trust = ca_trust_new(&texts, time(NULL), &now->err[PART_TRUST]);
    now->is_ok[PART_TRUST] = now->trust != NULL;
    now->is_same[PART_FLEET] = was_ok[PART_FLEET] && folder_files_same(last, &now->files, true);
    if (now->is_same[PART_FLEET]) {
        now->is_ok[PART_FLEET] = true;
        return;
    }
    struct fleet_piece *pieces = calloc(num, sizeof *pieces);
    for (uint32_t i = FOLDER_NUM_FIXED; pieces != NULL && i < num; i++) {
        pieces[i - FOLDER_NUM_FIXED] =
            (struct fleet_piece){.name = entries[i].name,
                                 .text = entries[i].text == NULL ? "" : entries[i].text,
                                 .len = entries[i].len};
    }
    if (pieces != NULL && now->trust != NULL) {
        now->fleet =
            fleet_new(pieces, num - FOLDER_NUM_FIXED, now->trust->domain, &now->err[PART_FLEET]);
        now->is_ok[PART_FLEET] = now->fleet != NULL;
    }
    free(pieces);
}

bool source_folder_load(const char *dir, struct fleet **out_fleet, struct ca_trust **out_trust,
                        struct err *err)
{
    const bool was_ok[NUM_PARTS] = {false, false};
    struct loading now = {.fleet = NULL};
    const struct folder_files none = {.is_racy = false};
    load_parts(&now, dir, &none, was_ok);
    *out_fleet = now.fleet;
    *out_trust = now.trust;
    folder_files_cleanup(&now.files);
    if (now.trust != NULL && now.fleet != NULL) {
        return true;
    }
    *err = now.err[now.trust == NULL ? PART_TRUST : PART_FLEET];
    fleet_free(now.fleet);
    ca_trust_free(now.trust);
    *out_fleet = NULL;
    *out_trust = NULL;
    return err_prefix(err, "%s", dir);
}

static void release(struct source_folder *source)
{
    if (--source->handles_open == 0) {
        folder_files_cleanup(&source->last);
        free(source->dir);
        free(source);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void load(struct source_folder *source);

static void on_quiet(uv_timer_t *timer)
{
    struct source_folder *source = timer->data;
    // Our own certificates are noted in the CA's folder, too; that is no change.
    if (source->is_loading || source->last.is_racy ||
        folder_files_moved(&source->last, source->dir)) {
        load(source);
    } else {
        source->first_event_ns = 0;
    }
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status; // the files say what there is now
    struct source_folder *source = event->data;
    uint64_t now = uv_hrtime();
    if (source->first_event_ns == 0) {
        source->first_event_ns = now;
    }
    if (now - source->first_event_ns < (uint64_t)SOURCE_QUIET_MS_MAX * 1000000) {
        uv_timer_start(&source->quiet, on_quiet, SOURCE_QUIET_MS, 0);
    }
}

static void on_poll(uv_timer_t *timer)
{
    struct source_folder *source = timer->data;
    if (source->is_loading || uv_is_active((uv_handle_t *)&source->quiet)) {
        return;
    }
    for (size_t i = 0; i < NUM_WATCHED; i++) {
        char path[PATH_MAX];
        if (!uv_is_active((uv_handle_t *)&source->events[i])) {
            snprintf(path, sizeof path, "%s%s", source->dir, watched[i]);
            uv_fs_event_start(&source->events[i], on_event, path, 0);
        }
    }
    if (folder_files_moved(&source->last, source->dir)) {
        load(source);
    }
}

// A failure counts when it comes twice: files are written in pieces.
static bool take_failure(struct source_folder *source, int part)
{
    char text[sizeof source->failed[part]];
    bool is_second;
    err_text(&source->now.err[part], text, sizeof text);
    is_second = strcmp(source->failed[part], text) == 0;
    snprintf(source->failed[part], sizeof source->failed[part], "%s", text);
    if (is_second && strcmp(source->reported[part], text) != 0) {
        snprintf(source->reported[part], sizeof source->reported[part], "%s", text);
        source->hooks.on_failed(source->hooks.ctx, part_names[part], text);
    }
    return !is_second;
}

static bool take_parts(struct source_folder *source)
{
    struct loading *now = &source->now;
    bool wants_again = false;
    for (int part = 0; part < NUM_PARTS; part++) {
        if (now->is_ok[part]) {
            source->failed[part][0] = source->reported[part][0] = '\0';
        } else {
            wants_again = take_failure(source, part) || wants_again;
        }
        source->was_ok[part] = now->is_ok[part];
    }
    // The trust first: a fleet is judged by it.
    if (now->trust != NULL && !now->is_same[PART_TRUST]) {
        source->hooks.on_trust(source->hooks.ctx, now->trust, source->began_ns);
    } else {
        ca_trust_free(now->trust);
    }
    if (now->fleet != NULL) {
        source->hooks.on_fleet(source->hooks.ctx, now->fleet, source->began_ns);
    }
    return wants_again;
}

static void on_load(uv_work_t *work)
{
    struct source_folder *source = work->data;
    load_parts(&source->now, source->dir, &source->last, source->was_ok);
}

static void on_load_done(uv_work_t *work, int status)
{
    (void)status;
    struct source_folder *source = work->data;
    source->is_loading = false;
    if (source->is_closing) {
        folder_files_cleanup(&source->now.files);
        fleet_free(source->now.fleet);
        ca_trust_free(source->now.trust);
    } else {
        bool wants_again = take_parts(source);
        folder_files_cleanup(&source->last);
        source->last = source->now.files;
        if (source->is_again || wants_again || source->last.is_racy ||
            folder_files_moved(&source->last, source->dir)) {
            uv_timer_start(&source->quiet, on_quiet, SOURCE_RETRY_MS, 0);
        }
        // A failure that must show a second time is read again though nothing moved.
        source->last.is_racy = source->last.is_racy || wants_again;
    }
    release(source);
}

static void load(struct source_folder *source)
{
    source->is_again = source->is_loading;
    if (source->is_loading) {
        return;
    }
    source->began_ns = source->first_event_ns != 0 ? source->first_event_ns : uv_hrtime();
    source->first_event_ns = 0;
    source->now = (struct loading){.fleet = NULL};
    source->work.data = source;
    source->is_loading = uv_queue_work(source->loop, &source->work, on_load, on_load_done) == 0;
    source->handles_open += source->is_loading;
}

struct source_folder *source_folder_new(uv_loop_t *loop, const char *dir,
                                        const struct source_folder_hooks *hooks, struct err *err)
{
    struct source_folder *source = calloc(1, sizeof *source);
    if (source == NULL || (source->dir = strdup(dir)) == NULL) {
        free(source);
        err_set(err, "out of memory");
        return NULL;
    }
    source->hooks = *hooks;
    source->loop = loop;
    for (size_t i = 0; i < NUM_WATCHED; i++) {
        uv_fs_event_init(loop, &source->events[i]);
        source->events[i].data = source;
    }
    uv_timer_init(loop, &source->quiet);
    uv_timer_init(loop, &source->poll);
    source->quiet.data = source->poll.data = source;
    source->handles_open = NUM_WATCHED + 2;
    uv_timer_start(&source->poll, on_poll, SOURCE_POLL_MS, SOURCE_POLL_MS);
    on_poll(&source->poll);
    return source;
}

void source_folder_reload(struct source_folder *source)
{
    for (int part = 0; part < NUM_PARTS; part++) {
        source->reported[part][0] = '\0';
    }
    folder_files_cleanup(&source->last);
    load(source);
}

void source_folder_close(struct source_folder *source)
{
    if (source == NULL || source->is_closing) {
        return;
    }
    source->is_closing = true;
    uv_close((uv_handle_t *)&source->quiet, on_closed);
    uv_close((uv_handle_t *)&source->poll, on_closed);
    for (size_t i = 0; i < NUM_WATCHED; i++) {
        uv_close((uv_handle_t *)&source->events[i], on_closed);
    }
}
