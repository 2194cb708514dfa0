// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/source_folder.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "control/host/watch.h"
#include "control/policyd/folder/folder_reading.h"
#include "control/policyd/folder/folder_record.h"

#define RECORD_LOG_MS 60000 // between two lines about a record that can't be written

static const char *const part_names[FOLDER_NUM_PARTS] = {"fleet", "trust"};

struct source_folder {
    struct source_folder_hooks hooks;
    char *dir;                   // owned
    struct watch *watch;         // NULL: it doesn't watch yet
    struct folder_record record; // the worker's
    struct log_limit record_log; // the worker's
    atomic_bool wants_all;       // the next reading counts as new, unchanged or not
    struct folder_reading last;  // files and is_ok of the reading before
    struct folder_reading now;   // the worker's while it reads
    struct ca_trust_good good;   // of the trust that was passed on last; read by the worker
    struct bytes reported[FOLDER_NUM_PARTS]; // what was passed on as refused; empty: nothing
    char ignored[FOLDER_IGNORED_BYTES];
};

// Reads until no file is being written, for at most SOURCE_FOLDER_START_MS_MAX.
static void read_for_start(struct folder_reading *now, const char *dir)
{
    uint64_t began_ms = now_ms();
    struct folder_reading last = {.fleet = NULL};
    const struct source_folder_in_force nothing = {.trust = NULL};
    folder_reading_read(now, dir, &last, &nothing, NULL);
    while (now->files.num_held > 0 && now_ms() - began_ms < SOURCE_FOLDER_START_MS_MAX) {
        if (last.files.num == 0) {
            log_info("msg=\"waiting for files that are being written\" files=%zu",
                     now->files.num_held);
        }
        usleep(WATCH_RETRY_MS * 1000);
        if (files_moved(&now->files)) {
            folder_reading_cleanup(&last);
            last = *now;
            *now = (struct folder_reading){.fleet = NULL};
            last.is_ok[FOLDER_PART_FLEET] = last.is_ok[FOLDER_PART_TRUST] = false;
            folder_reading_read(now, dir, &last, &nothing, NULL);
        }
    }
    folder_reading_cleanup(&last);
}

// Refuses a start for which a file that is being written counts as one that is not there.
static bool check_none_held(const struct files *files, struct err *err)
{
    for (size_t i = 0; i < files->num; i++) {
        if (files->entries[i].hold != FILES_SETTLED) {
            return err_set(err, "%s: %s", files->entries[i].name,
                           files_hold_text(files->entries[i].hold));
        }
    }
    return true;
}

static bool load_whole(const char *dir, struct fleet **out_fleet, struct ca_trust **out_trust,
                       struct err *err)
{
    struct folder_reading now = {.fleet = NULL};
    read_for_start(&now, dir);
    bool is_whole = check_none_held(&now.files, err);
    bool ok = is_whole && now.trust != NULL && now.fleet != NULL;
    *out_fleet = ok ? now.fleet : NULL;
    *out_trust = ok ? now.trust : NULL;
    if (ok) {
        now.fleet = NULL;
        now.trust = NULL;
    } else {
        if (is_whole) {
            const struct bytes *wrong =
                &now.wrong[now.trust == NULL ? FOLDER_PART_TRUST : FOLDER_PART_FLEET];
            err_set(err, "%s", (const char *)wrong->at);
        }
        err_prefix(err, "%s", dir);
    }
    folder_reading_cleanup(&now);
    return ok;
}

// Says that a start which the folder does not allow goes on from what was in force last.
static bool load_record(struct source_folder *source, struct fleet **out_fleet,
                        struct ca_trust **out_trust, struct err *err)
{
    char quoted[2048];
    struct err why = {{0}, {0}};
    if (!folder_record_read(source->dir, out_fleet, out_trust, &source->good, &why)) {
        return false; // there may never have been one: what is wrong with the folder counts
    }
    log_error("msg=\"started on what was in force last\" error=%s",
              log_quote(quoted, sizeof quoted, err->text));
    return true;
}

struct source_folder *source_folder_load(const char *dir, struct fleet **out_fleet,
                                         struct ca_trust **out_trust, struct err *err)
{
    struct source_folder *source = must_alloc(1, sizeof *source);
    source->dir = must_strdup(dir);
    if (!load_whole(dir, out_fleet, out_trust, err) &&
        !load_record(source, out_fleet, out_trust, err)) {
        source_folder_close(source);
        return NULL;
    }
    return source;
}

// Keeps what comes into force now, or is. A record that can't be written is told, and costs nothing
// but a start on something older.
static void keep_record(struct source_folder *source, const struct source_folder_in_force *in_force)
{
    const struct folder_reading *now = &source->now;
    const struct fleet *fleet = now->fleet != NULL ? now->fleet : in_force->fleet;
    const struct ca_trust_good *good = now->good.ca != NULL ? &now->good : &source->good;
    char quoted[2048];
    uint64_t passed_over = 0;
    struct err err = {{0}, {0}};
    if (fleet != NULL && fleet->names != NULL && good->ca != NULL &&
        !folder_record_write(&source->record, source->dir, fleet, good, &err) &&
        log_allowed(&source->record_log, now_ms(), RECORD_LOG_MS, &passed_over)) {
        log_warn("msg=\"what is in force could not be kept for the next start\" error=%s",
                 log_quote(quoted, sizeof quoted, err.text));
    }
}

static const struct files *on_read(void *ctx, bool *out_is_usable)
{
    struct source_folder *source = ctx;
    folder_reading_cleanup(&source->last);
    source->last = source->now;
    source->now = (struct folder_reading){.fleet = NULL};
    if (atomic_exchange(&source->wants_all, false)) {
        source->last.is_ok[FOLDER_PART_FLEET] = source->last.is_ok[FOLDER_PART_TRUST] = false;
    }
    const struct source_folder_in_force in_force =
        source->hooks.in_force == NULL ? (struct source_folder_in_force){.trust = NULL}
                                       : source->hooks.in_force(source->hooks.ctx);
    folder_reading_read(&source->now, source->dir, &source->last, &in_force, &source->good);
    keep_record(source, &in_force);
    *out_is_usable = source->now.is_ok[FOLDER_PART_FLEET] && source->now.is_ok[FOLDER_PART_TRUST];
    return &source->now.files;
}

static void say_ignored(struct source_folder *source)
{
    char quoted[4 * FOLDER_IGNORED_BYTES];
    if (strcmp(source->ignored, source->now.ignored) == 0) {
        return;
    }
    memcpy(source->ignored, source->now.ignored, sizeof source->ignored);
    if (source->ignored[0] != '\0') {
        log_warn("msg=\"not read: only fleet/*.yaml and fleet/*.yml are pieces of the fleet\" "
                 "files=%s",
                 log_quote(quoted, sizeof quoted, source->ignored));
    }
}

static void pass_trust(struct source_folder *source, uint64_t began_ns)
{
    struct folder_reading *now = &source->now;
    ca_trust_good_cleanup(&source->good);
    source->good = now->good;
    now->good = (struct ca_trust_good){.ca = NULL};
    source->hooks.on_trust(source->hooks.ctx, now->trust, began_ns);
    now->trust = NULL;
}

static void pass_fleet(struct source_folder *source, uint64_t began_ns)
{
    source->hooks.on_fleet(source->hooks.ctx, source->now.fleet, began_ns);
    source->now.fleet = NULL;
}

static void on_take(void *ctx, uint64_t began_ns)
{
    struct source_folder *source = ctx;
    struct folder_reading *now = &source->now;
    say_ignored(source);
    for (int part = 0; part < FOLDER_NUM_PARTS; part++) {
        if (now->is_ok[part]) {
            bytes_cleanup(&source->reported[part]);
        }
    }
    // The trust first: the fleet was checked against it.
    if (now->is_ok[FOLDER_PART_TRUST] && now->trust != NULL && !now->is_same[FOLDER_PART_TRUST]) {
        pass_trust(source, began_ns);
    }
    if (now->is_ok[FOLDER_PART_FLEET] && now->fleet != NULL) {
        pass_fleet(source, began_ns);
    }
}

static bool of_same_file(const char *a, const char *b)
{
    size_t len = strcspn(a, ":");
    return len == strcspn(b, ":") && memcmp(a, b, len) == 0;
}

// Says whether a text before the one at `at` speaks of the same file.
static bool is_told_before(const char *texts, size_t at)
{
    for (size_t i = 0; i < at; i += strlen(texts + i) + 1) {
        if (of_same_file(texts + i, texts + at)) {
            return true;
        }
    }
    return false;
}

// Passes on all that is wrong with the file of the text at `at`.
static void tell_of_file(struct source_folder *source, int part, const char *texts, size_t at)
{
    struct bytes joined = {.len = 0};
    const struct bytes *wrong = &source->now.wrong[part];
    for (size_t i = at; i < wrong->len; i += strlen(texts + i) + 1) {
        if (of_same_file(texts + i, texts + at)) {
            bytes_push_text(&joined, joined.len == 0 ? "" : "; ");
            bytes_push_text(&joined, texts + i);
        }
    }
    char *text = bytes_take_text(&joined);
    source->hooks.on_failed(source->hooks.ctx, part_names[part], text);
    free(text);
}

static void report_wrong(struct source_folder *source, int part)
{
    const struct bytes *wrong = &source->now.wrong[part];
    struct bytes *reported = &source->reported[part];
    if (reported->len == wrong->len &&
        (wrong->len == 0 || memcmp(reported->at, wrong->at, wrong->len) == 0)) {
        return;
    }
    bytes_cleanup(reported);
    bytes_push(reported, wrong->at, wrong->len);
    const char *texts = (const char *)wrong->at;
    for (size_t at = 0; at < wrong->len; at += strlen(texts + at) + 1) {
        if (!is_told_before(texts, at)) {
            tell_of_file(source, part, texts, at);
        }
    }
}

// What is good beside the bad comes into force only now: files that belong together may have been
// written one after another, and the bad one be good a moment later.
static void on_report(void *ctx)
{
    struct source_folder *source = ctx;
    struct folder_reading *now = &source->now;
    for (int part = 0; part < FOLDER_NUM_PARTS; part++) {
        if (!now->is_ok[part]) {
            report_wrong(source, part);
        }
    }
    if (!now->is_ok[FOLDER_PART_TRUST] && now->trust != NULL) {
        pass_trust(source, uv_hrtime());
    }
    if (!now->is_ok[FOLDER_PART_FLEET] && now->fleet != NULL) {
        pass_fleet(source, uv_hrtime());
    }
}

static void on_release(void *ctx)
{
    struct source_folder *source = ctx;
    folder_reading_cleanup(&source->last);
    folder_reading_cleanup(&source->now);
    ca_trust_good_cleanup(&source->good);
    for (int part = 0; part < FOLDER_NUM_PARTS; part++) {
        bytes_cleanup(&source->reported[part]);
    }
    free(source->dir);
    free(source);
}

void source_folder_watch(struct source_folder *source, uv_loop_t *loop,
                         const struct source_folder_hooks *hooks)
{
    source->hooks = *hooks;
    source->watch = watch_new(loop, &(struct watch_job){.ctx = source,
                                                        .read = on_read,
                                                        .take = on_take,
                                                        .report = on_report,
                                                        .release = on_release});
}

void source_folder_reload(struct source_folder *source)
{
    for (int part = 0; part < FOLDER_NUM_PARTS; part++) {
        bytes_cleanup(&source->reported[part]);
    }
    source->wants_all = true;
    watch_read_now(source->watch);
}

size_t source_folder_num_held(const struct source_folder *source)
{
    return source == NULL || source->watch == NULL ? 0 : watch_num_held(source->watch);
}

void source_folder_close(struct source_folder *source)
{
    if (source == NULL) {
        return;
    }
    if (source->watch != NULL) {
        watch_close(source->watch); // which releases it
    } else {
        on_release(source);
    }
}
