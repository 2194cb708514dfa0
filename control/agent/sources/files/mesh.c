// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/mesh.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/bundle.h"
#include "certs/der_list.h"
#include "certs/chain.h"
#include "control/agent/snapshot/credentials.h"

// Blames `where` for an error that names no field, and locates it.
static bool locate_at(const struct mesh_files *files, const char *where, struct err *err)
{
    if (err != NULL && err->where[0] == '\0') {
        snprintf(err->where, sizeof err->where, "%s", where);
    }
    return mesh_files_locate(files, err);
}

static bool read_blobs(const struct mesh_files *files, const char *where, const char *label,
                       size_t num_max, ProtobufCBinaryData **out_items, size_t *out_num,
                       struct err *err)
{
    const struct files_entry *file = mesh_files_named(files, where);
    struct der_list list = {0};
    bool ok =
        der_list_from_pem(&list, label, file->file.bytes, file->file.len, num_max, file->name, err);
    if (ok) {
        *out_items = must_alloc(list.num, sizeof **out_items);
        *out_num = list.num;
        for (size_t i = 0; i < list.num; i++) {
            (*out_items)[i] = (ProtobufCBinaryData){.len = list.lens[i], .data = list.items[i]};
            list.items[i] = NULL;
        }
    }
    der_list_cleanup(&list);
    return ok || locate_at(files, where, err);
}

static Tabard__V1__Snapshot *snapshot_new(void)
{
    Tabard__V1__Snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    tabard__v1__snapshot__init(snapshot);
    return snapshot;
}

static void fill(struct mesh *mesh, enum snapshot_part which, struct part *part)
{
    slots_fill(&mesh->slots, which, part);
    part_unref(part);
}

// Reads a certificate and its key, of the files that two fields name. assemble asks whether they
// belong together.
static bool read_pair(Tabard__V1__Identity **out_identity, EVP_PKEY **out_key,
                      const struct mesh_files *files, const char *certificate_field,
                      const char *key_field, struct err *err)
{
    const struct files_entry *key = mesh_files_named(files, key_field);
    Tabard__V1__Identity *identity = must_alloc(1, sizeof *identity);
    tabard__v1__identity__init(identity);
    *out_identity = identity;
    if (!read_blobs(files, certificate_field, "CERTIFICATE", CHAIN_CERTS_MAX, &identity->chain,
                    &identity->n_chain, err)) {
        return false;
    }
    *out_key = credentials_key_read(key->file.bytes, key->file.len, err);
    if (*out_key == NULL) {
        err_prefix(err, "%s", key->name);
        return locate_at(files, key_field, err);
    }
    return true;
}

static bool read_identity(struct mesh *mesh, const struct mesh_files *files, struct err *err)
{
    Tabard__V1__Snapshot *snapshot = snapshot_new();
    struct part *part = part_new(&snapshot->base, NULL);
    bool ok = read_pair(&snapshot->identity, &part->key, files, "identity.certificate",
                        "identity.key", err);
    if (ok && mesh_files_named(files, "identity.fallback_key") != NULL) {
        ok = read_pair(&snapshot->identity->fallback, &part->fallback_key, files,
                       "identity.fallback_certificate", "identity.fallback_key", err);
    }
    if (ok) {
        slots_fill(&mesh->slots, SNAPSHOT_IDENTITY, part);
    }
    part_unref(part);
    return ok;
}

static bool read_bundle(Tabard__V1__Snapshot *snapshot, const struct mesh_files *files, size_t i,
                        struct err *err)
{
    Tabard__V1__TrustBundle *bundle = must_alloc(1, sizeof *bundle);
    tabard__v1__trust_bundle__init(bundle);
    snapshot->trust_bundles[snapshot->n_trust_bundles++] = bundle;
    bundle->trust_domain = must_strdup(files->config->trust_bundles[i]->trust_domain);
    char where[64];
    snprintf(where, sizeof where, "trust_bundles[%zu].roots", i);
    if (!read_blobs(files, where, "CERTIFICATE", TRUST_BUNDLE_ROOTS_MAX, &bundle->roots,
                    &bundle->n_roots, err)) {
        return false;
    }
    snprintf(where, sizeof where, "trust_bundles[%zu].crls", i);
    return mesh_files_named(files, where) == NULL ||
           read_blobs(files, where, "X509 CRL", TRUST_BUNDLE_CRLS_MAX, &bundle->crls,
                      &bundle->n_crls, err);
}

static bool read_bundles(struct mesh *mesh, const struct mesh_files *files, struct err *err)
{
    size_t num = files->config->n_trust_bundles;
    Tabard__V1__Snapshot *snapshot = snapshot_new();
    snapshot->trust_bundles = must_alloc(num, sizeof(Tabard__V1__TrustBundle *));
    bool ok = true;
    for (size_t i = 0; ok && i < num; i++) {
        ok = read_bundle(snapshot, files, i, err);
    }
    fill(mesh, SNAPSHOT_BUNDLES, part_new(&snapshot->base, NULL));
    return ok;
}

// As locate, for a field of the identity or of its fallback.
static void locate_identity(const struct mesh_files *files, struct err *err)
{
    static const char prefix[] = "identity.fallback.";
    bool is_fallback = strncmp(err->where, prefix, sizeof prefix - 1) == 0;
    const char *certificate =
        is_fallback ? "identity.fallback_certificate" : "identity.certificate";
    const char *key = is_fallback ? "identity.fallback_key" : "identity.key";
    const char *name = mesh_files_named(files, certificate)->name;
    const char *field = strrchr(err->where, '.') + 1;
    if (strcmp(field, "key_id") == 0) {
        err_prefix(err, "%s does not belong to %s", mesh_files_named(files, key)->name, name);
        snprintf(err->where, sizeof err->where, "%s", key);
    } else {
        err_prefix(err, "%s", name);
        snprintf(err->where, sizeof err->where, "%s", certificate);
    }
}

// Turns a field of Snapshot that assemble refused into mesh.yaml's field, and names its file.
static bool locate(const struct mesh_files *files, struct err *err)
{
    char named[64];
    size_t i = 0;
    char kind[8] = {0};
    if (err == NULL) {
        return false;
    }
    if (strncmp(err->where, "identity.", 9) == 0) {
        locate_identity(files, err);
    } else if (sscanf(err->where, "trust_bundles[%zu].%5[a-z]", &i, kind) == 2) {
        snprintf(named, sizeof named, "trust_bundles[%zu].%s", i, kind);
        const struct files_entry *file = mesh_files_named(files, named);
        if (file != NULL) {
            err_prefix(err, "%s", file->name);
        }
    }
    return mesh_files_locate(files, err);
}

// Makes one part of what stands in mesh.yaml itself, and fills two slots with it: snapshot_join
// takes for each only the fields that are of it.
static void take_config(struct mesh *mesh, struct mesh_files *files)
{
    struct part *part = part_new(&files->config->base, NULL);
    files->config = NULL;
    slots_fill(&mesh->slots, SNAPSHOT_LOCAL, part);
    if ((files->filled_by_others & 1u << SNAPSHOT_RULES) == 0) {
        slots_fill(&mesh->slots, SNAPSHOT_RULES, part);
    }
    part_unref(part);
}

static bool read_accesses(struct mesh *mesh, struct mesh_files *files, time_t now, struct err *err)
{
    for (size_t i = 0; mesh->fields[i] != NULL; i++) {
        if (mesh_config_has(files->config, mesh->fields[i]->field)) {
            mesh->accesses[i] = mesh->fields[i]->access_new(files, now, err);
            if (mesh->accesses[i] == NULL) {
                return false;
            }
        }
    }
    return true;
}

bool mesh_read(struct mesh *out, struct mesh_files *files, const struct source_field *const *fields,
               time_t now, struct err *err)
{
    *out = (struct mesh){.fields = fields};
    bool ok = read_accesses(out, files, now, err) &&
              (files->config->n_trust_bundles == 0 || read_bundles(out, files, err)) &&
              (files->config->identity == NULL || read_identity(out, files, err));
    if (ok) {
        take_config(out, files);
        ok = (slots_are_whole(&out->slots) ? assemble(&out->assembly, &out->slots, now, err)
                                           : assemble_check(&out->slots, now, err)) ||
             locate(files, err);
    }
    if (!ok) {
        mesh_cleanup(out);
    }
    return ok;
}

bool mesh_load(struct mesh *out, const char *path, const struct source_field *const *fields,
               time_t now, struct err *err)
{
    struct mesh_files files = {0};
    *out = (struct mesh){0};
    bool ok = mesh_files_read(&files, NULL, path, fields, err) &&
              mesh_read(out, &files, fields, now, err);
    mesh_files_cleanup(&files);
    return ok;
}

void mesh_cleanup(struct mesh *mesh)
{
    for (size_t i = 0; mesh->fields != NULL && mesh->fields[i] != NULL; i++) {
        mesh->fields[i]->access_free(mesh->accesses[i]);
    }
    slots_cleanup(&mesh->slots);
    assembly_cleanup(&mesh->assembly);
    *mesh = (struct mesh){0};
}
