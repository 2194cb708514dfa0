// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/folder_reading.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/now.h"

void folder_reading_cleanup(struct folder_reading *reading)
{
    files_cleanup(&reading->files);
    fleet_free(reading->fleet);
    ca_trust_free(reading->trust);
    ca_trust_good_cleanup(&reading->good);
    for (int part = 0; part < FOLDER_NUM_PARTS; part++) {
        bytes_cleanup(&reading->wrong[part]);
    }
    *reading = (struct folder_reading){.fleet = NULL};
}

static void add_wrong(struct folder_reading *now, int part, const char *text)
{
    bytes_push(&now->wrong[part], text, strlen(text) + 1);
}

static void add_err(struct folder_reading *now, int part, const struct err *err)
{
    char text[sizeof *err];
    add_wrong(now, part, err_text(err, text, sizeof text));
}

static struct ca_trust_texts texts_of(const struct files *files)
{
    const struct files_entry *entries = files->entries;
    return (struct ca_trust_texts){.ca = entries[FOLDER_CA].file.bytes,
                                   .crl = entries[FOLDER_CRL].file.bytes,
                                   .roots = entries[FOLDER_ROOTS].file.bytes,
                                   .crls = entries[FOLDER_CRLS].file.bytes};
}

// Makes a trust of what is good of the files of the CA.
static void read_trust_apart(struct folder_reading *now, const struct ca_trust *in_force,
                             const struct ca_trust_good *good)
{
    const struct files_entry *entries = now->files.entries;
    struct ca_trust_texts texts = texts_of(&now->files);
    struct ca_trust_texts before = ca_trust_good_texts(good);
    struct ca_trust_faults faults = {.num = 0};
    texts.ca = entries[FOLDER_CA].error != NULL ? before.ca : texts.ca;
    texts.crl = entries[FOLDER_CRL].error != NULL ? before.crl : texts.crl;
    texts.roots = entries[FOLDER_ROOTS].error != NULL ? before.roots : texts.roots;
    texts.crls = entries[FOLDER_CRLS].error != NULL ? before.crls : texts.crls;
    bool is_list_bad = entries[FOLDER_CRL].error != NULL || entries[FOLDER_CRLS].error != NULL;
    now->trust =
        ca_trust_new_apart(&texts, is_list_bad, good, in_force, now_date_s(), &faults, &now->good);
    for (size_t i = 0; i < faults.num; i++) {
        add_wrong(now, FOLDER_PART_TRUST, faults.texts[i]);
    }
}

static void read_trust(struct folder_reading *now, const struct ca_trust *in_force,
                       const struct ca_trust_good *good)
{
    const struct ca_trust_texts texts = texts_of(&now->files);
    struct err err = {{0}, {0}};
    bool is_readable = true;
    for (size_t i = 0; i < FOLDER_FLEET; i++) {
        if (now->files.entries[i].error != NULL) {
            add_wrong(now, FOLDER_PART_TRUST, now->files.entries[i].error);
            is_readable = false;
        }
    }
    now->trust = is_readable ? ca_trust_new(&texts, in_force, now_date_s(), &err) : NULL;
    now->is_ok[FOLDER_PART_TRUST] = now->trust != NULL;
    if (now->is_ok[FOLDER_PART_TRUST]) {
        ca_trust_good_set(&now->good, &texts);
    } else if (in_force != NULL && good->ca != NULL) {
        read_trust_apart(now, in_force, good);
    }
    if (!now->is_ok[FOLDER_PART_TRUST] && now->wrong[FOLDER_PART_TRUST].len == 0) {
        add_err(now, FOLDER_PART_TRUST, &err);
    }
}

// Makes a fleet of what is good of the pieces.
static void read_fleet_apart(struct folder_reading *now, const struct fleet_piece *pieces,
                             size_t num, const char *domain, const struct fleet *in_force)
{
    struct fleet_faults *faults = must_alloc(1, sizeof *faults);
    struct err err = {{0}, {0}};
    now->fleet = fleet_new_apart(pieces, num, domain, in_force, faults, &err);
    for (size_t i = 0; i < faults->num; i++) {
        add_wrong(now, FOLDER_PART_FLEET, faults->texts[i]);
    }
    if (now->fleet == NULL) {
        add_err(now, FOLDER_PART_FLEET, &err);
    } else if (fleet_same_content(now->fleet, in_force)) {
        fleet_free(now->fleet);
        now->fleet = NULL;
    }
    free(faults);
}

static void read_fleet(struct folder_reading *now, const char *domain, const struct fleet *in_force)
{
    const struct files_entry *entries = now->files.entries + FOLDER_NUM_FIXED;
    size_t num_entries = now->files.num - FOLDER_NUM_FIXED;
    struct fleet_piece *pieces = must_alloc(num_entries, sizeof *pieces);
    struct err err = {{0}, {0}};
    const char *unreadable = NULL;
    size_t num = 0;
    for (size_t i = 0; i < num_entries; i++) {
        const struct files_entry *entry = &entries[i];
        bool is_bad = entry->error != NULL;
        if (is_bad || entry->file.bytes != NULL) { // else it is new, and still being written
            pieces[num++] = (struct fleet_piece){.name = entry->name,
                                                 .text = is_bad ? NULL : entry->file.bytes,
                                                 .len = entry->file.len,
                                                 .error = entry->error};
            unreadable = unreadable == NULL ? entry->error : unreadable;
        }
    }
    now->fleet = unreadable == NULL ? fleet_new(pieces, num, domain, &err) : NULL;
    now->is_ok[FOLDER_PART_FLEET] = now->fleet != NULL;
    if (!now->is_ok[FOLDER_PART_FLEET] && in_force != NULL && in_force->names != NULL) {
        read_fleet_apart(now, pieces, num, domain, in_force);
    } else if (unreadable != NULL) {
        add_wrong(now, FOLDER_PART_FLEET, unreadable);
    } else if (!now->is_ok[FOLDER_PART_FLEET]) {
        add_err(now, FOLDER_PART_FLEET, &err);
    }
    free(pieces);
}

static bool has_unreadable_piece(const struct files *files)
{
    for (size_t i = FOLDER_NUM_FIXED; i < files->num; i++) {
        if (files->entries[i].error != NULL) {
            return true;
        }
    }
    return false;
}

// A trust that can't be used, for its CRLs, say, holds up no change of the fleet.
void folder_reading_read(struct folder_reading *now, const char *dir,
                         const struct folder_reading *last,
                         const struct source_folder_in_force *in_force,
                         const struct ca_trust_good *good)
{
    struct folder_errors errors;
    folder_files_read(&now->files, &last->files, dir, &errors);
    memcpy(now->ignored, errors.ignored, sizeof now->ignored);
    // Read also if the files are the same, since certificates and CRLs expire.
    now->is_same[FOLDER_PART_TRUST] =
        last->is_ok[FOLDER_PART_TRUST] && folder_same_ca(&last->files, &now->files);
    if (errors.is_ca_bad) {
        add_err(now, FOLDER_PART_TRUST, &errors.ca);
    } else {
        read_trust(now, in_force->trust, good);
    }
    now->is_same[FOLDER_PART_FLEET] = last->is_ok[FOLDER_PART_FLEET] &&
                                      !has_unreadable_piece(&now->files) &&
                                      folder_same_fleet(&last->files, &now->files);
    if (errors.is_fleet_bad) {
        add_err(now, FOLDER_PART_FLEET, &errors.fleet);
    } else if (now->is_same[FOLDER_PART_FLEET]) {
        now->is_ok[FOLDER_PART_FLEET] = true;
    } else if (now->trust != NULL) {
        read_fleet(now, now->trust->domain, in_force->fleet);
    } else if (in_force->trust != NULL) {
        read_fleet(now, in_force->trust->domain, in_force->fleet);
    } // else nothing tells the trust domain that its ids must have
}
