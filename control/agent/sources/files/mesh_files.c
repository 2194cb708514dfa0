// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/mesh_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/bundle.h"
#include "proxy/rules/snapshot_join.h"

char *mesh_files_path(const struct mesh_files *files, const char *name)
{
    const char *mesh_path = files->files.num > 0 ? files->files.entries[0].path : NULL;
    const char *slash = mesh_path != NULL ? strrchr(mesh_path, '/') : NULL;
    int folder_len = slash != NULL && name[0] != '/' ? (int)(slash - mesh_path) + 1 : 0;
    size_t path_len = (size_t)folder_len + strlen(name);
    char *path = must_alloc(path_len + 1, 1);
    snprintf(path, path_len + 1, "%.*s%s", folder_len, folder_len > 0 ? mesh_path : "", name);
    return path;
}

// Adds a file that mesh.yaml names, relative to mesh.yaml's own folder, and reads it.
static bool add_file(struct mesh_files *files, const char *where, const char *name,
                     enum files_need need, struct err *err)
{
    char *path = mesh_files_path(files, name);
    bool ok = files_add(&files->files, where, name, path, need, err);
    free(path);
    return ok;
}

const struct files_entry *mesh_files_named(const struct mesh_files *files, const char *where)
{
    return files_find(&files->files, where);
}

bool mesh_config_has(const Tabard__V1__MeshConfig *config, const char *field)
{
    const ProtobufCFieldDescriptor *found = protobuf_c_message_descriptor_get_field_by_name(
        &tabard__v1__mesh_config__descriptor, field);
    return found->label == PROTOBUF_C_LABEL_REPEATED
               ? *(const size_t *)((const char *)config + found->quantifier_offset) > 0
               : *(void *const *)((const char *)config + found->offset) != NULL;
}

bool mesh_files_name(struct mesh_files *files, const char *where, const char *name,
                     const char *needed, bool is_secret, struct err *err)
{
    if (name[0] == '\0') {
        if (needed == NULL) {
            return true;
        }
        err_set_at(err, where, "missing: %s", needed);
        return mesh_files_locate(files, err);
    }
    if (!add_file(files, where, name, is_secret ? FILES_SECRET : FILES_NEEDED, err)) {
        snprintf(err->where, sizeof err->where, "%s", where);
        return mesh_files_locate(files, err);
    }
    return true;
}

static bool read_bundles(struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig *config = files->config;
    if (config->n_trust_bundles > TRUST_BUNDLES_MAX) {
        err_set_at(err, "trust_bundles", "%zu are over the limit of %d", config->n_trust_bundles,
                   TRUST_BUNDLES_MAX);
        return mesh_files_locate(files, err);
    }
    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        const Tabard__V1__MeshConfig__BundleFiles *bundle = config->trust_bundles[i];
        char where[64];
        snprintf(where, sizeof where, "trust_bundles[%zu].roots", i);
        if (!mesh_files_name(files, where, bundle->roots,
                             "the PEM file of the root certificates of this trust domain", false,
                             err)) {
            return false;
        }
        snprintf(where, sizeof where, "trust_bundles[%zu].crls", i);
        if (!mesh_files_name(files, where, bundle->crls, NULL, false, err)) {
            return false;
        }
    }
    return true;
}

static bool read_identity(struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig__IdentityFiles *identity = files->config->identity;
    return mesh_files_name(files, "identity.certificate", identity->certificate,
                           "the PEM file of this workload's certificate, leaf first", false, err) &&
           mesh_files_name(files, "identity.key", identity->key,
                           "the PEM file of the certificate's key", true, err) &&
           mesh_files_name(files, "identity.fallback_certificate", identity->fallback_certificate,
                           identity->fallback_key[0] == '\0'
                               ? NULL
                               : "the PEM file of the certificate of identity.fallback_key",
                           false, err) &&
           mesh_files_name(files, "identity.fallback_key", identity->fallback_key,
                           identity->fallback_certificate[0] == '\0'
                               ? NULL
                               : "the PEM file of the fallback certificate's key",
                           true, err);
}

// Refuses what stands in mesh.yaml although the source of `field` fills it.
static bool check_beside(const struct mesh_files *files, const struct source_field *field,
                         struct err *err)
{
    const ProtobufCMessageDescriptor *config = &tabard__v1__mesh_config__descriptor;
    for (unsigned i = 0; i < config->n_fields; i++) {
        const char *name = config->fields[i].name;
        unsigned part = 1u << snapshot_part_of(name);
        if ((part & field->fills & ~field->stands_in) != 0 &&
            mesh_config_has(files->config, name)) {
            err_set_at(err, name, "the %s gives these: leave them out beside %s", field->name,
                       field->field);
            return mesh_files_locate(files, err);
        }
    }
    return true;
}

// Reads what the other sources' fields name, and refuses two sources that fill the same part.
static bool read_others(struct mesh_files *files, const struct source_field *const *fields,
                        unsigned *out_filled, struct err *err)
{
    for (; *fields != NULL; fields++) {
        const struct source_field *field = *fields;
        if (!mesh_config_has(files->config, field->field)) {
            continue;
        }
        if ((*out_filled & field->fills) != 0) {
            err_set_at(err, field->field,
                       "another source in this file gives what the %s would: leave one of them out",
                       field->name);
            return mesh_files_locate(files, err);
        }
        *out_filled |= field->fills;
        if (!check_beside(files, field, err) || !field->name_files(files, err)) {
            return false;
        }
    }
    return true;
}

static void cleanup_config(struct mesh_files *files)
{
    pb_text_marks_free(files->marks);
    files->marks = NULL;
    if (files->config != NULL) {
        tabard__v1__mesh_config__free_unpacked(files->config, NULL);
        files->config = NULL;
    }
}

// What read_once needs to know.
struct mesh_reader {
    struct mesh_files *out;
    const char *path;
    const struct source_field *const *fields;
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    const struct mesh_reader *reader = ctx;
    struct mesh_files *out = reader->out;
    cleanup_config(out);
    if (!files_add(files, NULL, reader->path, reader->path, FILES_NEEDED, err)) {
        return false;
    }
    const struct files_entry *mesh = &files->entries[0];
    out->config = (Tabard__V1__MeshConfig *)pb_text_parse(&tabard__v1__mesh_config__descriptor,
                                                          mesh->file.bytes, mesh->file.len,
                                                          mesh->name, &out->marks, err);
    unsigned filled = 0;
    if (out->config == NULL || !read_others(out, reader->fields, &filled, err)) {
        return false;
    }
    if (out->config->identity == NULL && (filled & 1u << SNAPSHOT_IDENTITY) == 0) {
        err_set_at(err, "identity",
                   "missing: write identity: {certificate: FILE, key: FILE} to say who this is");
        return mesh_files_locate(out, err);
    }
    if (out->config->n_trust_bundles == 0 && (filled & 1u << SNAPSHOT_BUNDLES) == 0) {
        err_set_at(err, "trust_bundles",
                   "missing: name the roots of at least the own trust domain, "
                   "trust_bundles: [{trust_domain: NAME, roots: FILE}]");
        return mesh_files_locate(out, err);
    }
    out->filled_by_others = filled;
    return (out->config->identity == NULL || read_identity(out, err)) && read_bundles(out, err);
}

bool mesh_files_read(struct mesh_files *out, const struct files *before, const char *path,
                     const struct source_field *const *fields, struct err *err)
{
    struct mesh_reader reader = {.out = out, .path = path, .fields = fields};
    out->files.file_len_max = MESH_FILE_BYTES_MAX;
    out->files.len_max = MESH_FILES_BYTES_MAX;
    out->files.still_ms = before != NULL ? FILES_STILL_MS : 0;
    out->files.missed_ms = before != NULL ? FILES_MISSED_MS : 0;
    return files_read(&out->files, before, path, read_once, &reader, err);
}

void mesh_files_cleanup(struct mesh_files *files)
{
    files_cleanup(&files->files);
    cleanup_config(files);
    *files = (struct mesh_files){0};
}

bool mesh_files_locate(const struct mesh_files *files, struct err *err)
{
    return pb_text_marks_locate(files->marks, files->files.entries[0].name, err);
}
