// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/folder_record.h"

#include <limits.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/must.h"
#include "base/now.h"
#include "control/policyd/folder/folder_files.h"
#include "tabard/v1/folder_record.pb-c.h"

static bool path_of(char path[PATH_MAX], const char *dir, struct err *err)
{
    return snprintf(path, PATH_MAX, "%s/%s", dir, FOLDER_RECORD_NAME) < PATH_MAX ||
           err_set(err, "the folder's name is too long");
}

static char *text_or_empty(char *text)
{
    return text == NULL ? (char *)"" : text;
}

static bool write_packed(struct folder_record *record, const char *dir, const uint8_t *packed,
                         size_t len, struct err *err)
{
    char path[PATH_MAX];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(packed, len, digest);
    if (memcmp(digest, record->digest, sizeof digest) == 0) {
        return true;
    }
    if (!path_of(path, dir, err) || !file_replace(path, packed, len, true, err)) {
        return false;
    }
    memcpy(record->digest, digest, sizeof digest);
    return true;
}

bool folder_record_write(struct folder_record *record, const char *dir, const struct fleet *fleet,
                         const struct ca_trust_good *good, struct err *err)
{
    size_t num = fleet->num_pieces;
    Tabard__V1__FolderRecord message = TABARD__V1__FOLDER_RECORD__INIT;
    Tabard__V1__FolderRecord__Piece *pieces = must_alloc(num, sizeof *pieces);
    message.pieces = must_alloc(num, sizeof(Tabard__V1__FolderRecord__Piece *));
    for (size_t i = 0; i < num; i++) {
        tabard__v1__folder_record__piece__init(&pieces[i]);
        pieces[i].name = fleet->names[i];
        pieces[i].config = fleet->pieces[i];
        message.pieces[message.n_pieces++] = &pieces[i];
    }
    message.ca = text_or_empty(good->ca);
    message.crl = text_or_empty(good->crl);
    message.roots = text_or_empty(good->roots);
    message.crls = text_or_empty(good->crls);
    size_t len = tabard__v1__folder_record__get_packed_size(&message);
    uint8_t *packed = must_alloc(1, len);
    tabard__v1__folder_record__pack(&message, packed);
    bool ok = write_packed(record, dir, packed, len, err);
    free(packed);
    free(message.pieces);
    free(pieces);
    return ok;
}

static const char *text_or_none(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

// Takes the pieces' messages out of the record.
static struct fleet *make_fleet(Tabard__V1__FolderRecord *record, const char *domain,
                                struct err *err)
{
    size_t num = record->n_pieces;
    Tabard__V1__FleetConfig **configs = must_alloc(num, sizeof *configs);
    char **names = must_alloc(num, sizeof *names);
    for (size_t i = 0; i < num; i++) {
        Tabard__V1__FolderRecord__Piece *piece = record->pieces[i];
        names[i] = piece->name;
        configs[i] = piece->config;
        piece->config = NULL;
        if (configs[i] == NULL) {
            configs[i] = must_alloc(1, sizeof *configs[i]);
            tabard__v1__fleet_config__init(configs[i]);
        }
    }
    struct fleet *fleet = fleet_new_again(configs, names, num, domain, err);
    free(names);
    free(configs);
    return fleet;
}

static bool make(Tabard__V1__FolderRecord *record, struct fleet **out_fleet,
                 struct ca_trust **out_trust, struct ca_trust_good *out_good, struct err *err)
{
    const struct ca_trust_texts texts = {.ca = text_or_none(record->ca),
                                         .crl = text_or_none(record->crl),
                                         .roots = text_or_none(record->roots),
                                         .crls = text_or_none(record->crls)};
    struct ca_trust *trust = ca_trust_new(&texts, NULL, now_date_s(), err);
    struct fleet *fleet = trust == NULL ? NULL : make_fleet(record, trust->domain, err);
    if (fleet == NULL) {
        ca_trust_free(trust);
        return false;
    }
    ca_trust_good_set(out_good, &texts);
    *out_fleet = fleet;
    *out_trust = trust;
    return true;
}

bool folder_record_read(const char *dir, struct fleet **out_fleet, struct ca_trust **out_trust,
                        struct ca_trust_good *out_good, struct err *err)
{
    char path[PATH_MAX];
    struct file file = {0};
    bool ok =
        path_of(path, dir, err) && file_read(&file, path, FOLDER_BYTES_MAX, FILE_NO_LINK, err);
    if (ok) {
        Tabard__V1__FolderRecord *record =
            tabard__v1__folder_record__unpack(NULL, file.len, (const uint8_t *)file.bytes);
        ok = record != NULL ? make(record, out_fleet, out_trust, out_good, err)
                            : err_set(err, "it is no record of policyd's");
        if (record != NULL) {
            tabard__v1__folder_record__free_unpacked(record, NULL);
        }
    }
    file_cleanup(&file);
    return ok || err_prefix(err, "%s", FOLDER_RECORD_NAME);
}
