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
#include "control/policyd/folder/folder_files.h"

enum { PART_FLEET, PART_TRUST, NUM_PARTS };
static const char *const part_names[NUM_PARTS] = {"fleet", "trust"};

// The files as read at one moment, and the fleet and trust made of them.
struct folder_reading {
    struct files files;
    struct fleet *fleet;    // owned
    struct ca_trust *trust; // owned
    bool is_ok[NUM_PARTS];
    bool is_same[NUM_PARTS]; // as the last usable one
    struct err err[NUM_PARTS];
};

struct source_folder {
    struct source_folder_hooks hooks;
    char *dir; // owned
    struct watch *watch;
    atomic_bool wants_all;      // the next reading counts as new, unchanged or not
    struct folder_reading last; // files and is_ok of the reading before
    struct folder_reading now;  // the worker's while it reads
    char reported[NUM_PARTS][sizeof(struct err)]; // the failure passed on; empty: none
};

static void reading_cleanup(struct folder_reading *reading)
{
    files_cleanup(&reading->files);
    fleet_free(reading->fleet);
    ca_trust_free(reading->trust);
    *reading = (struct folder_reading){.fleet = NULL};
}

static void read_trust(struct folder_reading *now, const struct ca_trust *in_force)
{
    const struct files_entry *entries = now->files.entries;
    const struct ca_trust_texts texts = {.ca = entries[FOLDER_CA].file.bytes,
                                         .crl = entries[FOLDER_CRL].file.bytes,
                                         .roots = entries[FOLDER_ROOTS].file.bytes,
                                         .crls = entries[FOLDER_CRLS].file.bytes};
    now->trust = ca_trust_new(&texts, in_force, now_date_s(), &now->err[PART_TRUST]);
    now->is_ok[PART_TRUST] = now->trust != NULL;
}

static void read_fleet(struct folder_reading *now, const char *domain)
{
    const struct files_entry *entries = now->files.entries + FOLDER_NUM_FIXED;
    size_t num_entries = now->files.num - FOLDER_NUM_FIXED;
    struct fleet_piece *pieces = must_alloc(num_entries, sizeof *pieces);
    size_t num = 0;
    for (size_t i = 0; i < num_entries; i++) {
        if (entries[i].file.bytes != NULL) { // else it is new, and still being written
            pieces[num++] = (struct fleet_piece){
                .name = entries[i].name, .text = entries[i].file.bytes, .len = entries[i].file.len};
        }
    }
    now->fleet = fleet_new(pieces, num, domain, &now->err[PART_FLEET]);
    now->is_ok[PART_FLEET] = now->fleet != NULL;
    free(pieces);
}

// A trust that can't be used, for its CRLs, say, holds up no change of the fleet.
static void read_parts(struct folder_reading *now, const char *dir,
                       const struct folder_reading *last, const struct ca_trust *in_force)
{
    struct folder_errors errors;
    folder_files_read(&now->files, &last->files, dir, &errors);
    // Read also if the files are the same, since certificates and CRLs expire.
    now->is_same[PART_TRUST] = last->is_ok[PART_TRUST] && folder_same_ca(&last->files, &now->files);
    if (errors.is_ca_bad) {
        now->err[PART_TRUST] = errors.ca;
    } else {
        read_trust(now, in_force);
    }
    now->is_same[PART_FLEET] =
        last->is_ok[PART_FLEET] && folder_same_fleet(&last->files, &now->files);
    if (errors.is_fleet_bad) {
        now->err[PART_FLEET] = errors.fleet;
    } else if (now->is_same[PART_FLEET]) {
        now->is_ok[PART_FLEET] = true;
    } else if (now->trust != NULL) {
        read_fleet(now, now->trust->domain);
    } else if (in_force != NULL) {
        read_fleet(now, in_force->domain);
    } // else nothing tells the trust domain that its ids must have
}

// Reads until no file is being written, for at most SOURCE_FOLDER_START_MS_MAX.
static void read_for_start(struct folder_reading *now, const char *dir)
{
    uint64_t began_ms = now_ms();
    struct folder_reading last = {.fleet = NULL};
    read_parts(now, dir, &last, NULL);
    while (now->files.num_held > 0 && now_ms() - began_ms < SOURCE_FOLDER_START_MS_MAX) {
        if (last.files.num == 0) {
            log_info("msg=\"waiting for files that are being written\" files=%zu",
                     now->files.num_held);
        }
        usleep(WATCH_RETRY_MS * 1000);
        if (files_moved(&now->files)) {
            reading_cleanup(&last);
            last = *now;
            *now = (struct folder_reading){.fleet = NULL};
            last.is_ok[PART_FLEET] = last.is_ok[PART_TRUST] = false;
            read_parts(now, dir, &last, NULL);
        }
    }
    reading_cleanup(&last);
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

bool source_folder_load(const char *dir, struct fleet **out_fleet, struct ca_trust **out_trust,
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
            *err = now.err[now.trust == NULL ? PART_TRUST : PART_FLEET];
        }
        err_prefix(err, "%s", dir);
    }
    reading_cleanup(&now);
    return ok;
}

static const struct files *on_read(void *ctx, bool *out_is_usable)
{
    struct source_folder *source = ctx;
    reading_cleanup(&source->last);
    source->last = source->now;
    source->now = (struct folder_reading){.fleet = NULL};
    if (atomic_exchange(&source->wants_all, false)) {
        source->last.is_ok[PART_FLEET] = source->last.is_ok[PART_TRUST] = false;
    }
    const struct ca_trust *in_force =
        source->hooks.in_force == NULL ? NULL : source->hooks.in_force(source->hooks.ctx);
    read_parts(&source->now, source->dir, &source->last, in_force);
    *out_is_usable = source->now.is_ok[PART_FLEET] && source->now.is_ok[PART_TRUST];
    return &source->now.files;
}

static void on_take(void *ctx, uint64_t began_ns)
{
    struct source_folder *source = ctx;
    struct folder_reading *now = &source->now;
    for (int part = 0; part < NUM_PARTS; part++) {
        if (now->is_ok[part]) {
            source->reported[part][0] = '\0';
        }
    }
    // The trust first: the fleet was checked against it.
    if (now->trust != NULL && !now->is_same[PART_TRUST]) {
        source->hooks.on_trust(source->hooks.ctx, now->trust, began_ns);
        now->trust = NULL;
    }
    if (now->fleet != NULL) {
        source->hooks.on_fleet(source->hooks.ctx, now->fleet, began_ns);
        now->fleet = NULL;
    }
}

static void on_report(void *ctx)
{
    struct source_folder *source = ctx;
    for (int part = 0; part < NUM_PARTS; part++) {
        char text[sizeof source->reported[part]];
        if (source->now.is_ok[part]) {
            continue;
        }
        err_text(&source->now.err[part], text, sizeof text);
        if (strcmp(source->reported[part], text) != 0) {
            snprintf(source->reported[part], sizeof source->reported[part], "%s", text);
            source->hooks.on_failed(source->hooks.ctx, part_names[part], text);
        }
    }
}

static void on_release(void *ctx)
{
    struct source_folder *source = ctx;
    reading_cleanup(&source->last);
    reading_cleanup(&source->now);
    free(source->dir);
    free(source);
}

struct source_folder *source_folder_new(uv_loop_t *loop, const char *dir,
                                        const struct source_folder_hooks *hooks)
{
    struct source_folder *source = must_alloc(1, sizeof *source);
    source->hooks = *hooks;
    source->dir = must_strdup(dir);
    source->watch = watch_new(loop, &(struct watch_job){.ctx = source,
                                                        .read = on_read,
                                                        .take = on_take,
                                                        .report = on_report,
                                                        .release = on_release});
    return source;
}

void source_folder_reload(struct source_folder *source)
{
    for (int part = 0; part < NUM_PARTS; part++) {
        source->reported[part][0] = '\0';
    }
    source->wants_all = true;
    watch_read_now(source->watch);
}

size_t source_folder_num_held(const struct source_folder *source)
{
    return source == NULL ? 0 : watch_num_held(source->watch);
}

void source_folder_close(struct source_folder *source)
{
    if (source != NULL) {
        watch_close(source->watch);
    }
}
