// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/assemble.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/verify.h"
#include "control/agent/snapshot/assemble_parts.h"
#include "control/agent/snapshot/credentials.h"
#include "control/agent/proxy/keyring.h"

// What one call works on.
struct work {
    struct mesh_files *files;      // borrowed
    struct assembled *out;         // borrowed
    struct trust_bundles *bundles; // owned
    EVP_PKEY *leaf_key;            // owned
    time_t now;
};

static const struct mesh_file *file_at(const struct work *work, size_t index)
{
    return &work->files->files[index];
}

// Puts a field to an error that has none and locates it.
static bool locate_at(const struct work *work, struct err *err, const char *where)
{
    if (err != NULL && err->where[0] == '\0') {
        snprintf(err->where, sizeof err->where, "%s", where);
    }
    return mesh_files_locate(work->files, err);
}

// Moves the blobs of a list into a message's field; both are malloc'd.
static bool move_blobs(struct der_list *list, ProtobufCBinaryData **out_items, size_t *out_num)
{
    ProtobufCBinaryData *items = calloc(list->num > 0 ? list->num : 1, sizeof *items);
    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < list->num; i++) {
        items[i] = (ProtobufCBinaryData){.len = list->lens[i], .data = list->items[i]};
        list->items[i] = NULL;
    }
    *out_items = items;
    *out_num = list->num;
    return true;
}

static bool read_blobs(struct work *work, size_t index, const char *where, const char *label,
                       size_t num_max, ProtobufCBinaryData **out_items, size_t *out_num,
                       struct err *err)
{
    const struct mesh_file *file = file_at(work, index);
    struct der_list list = {0};
    bool ok =
        der_list_from_pem(&list, label, file->bytes, file->bytes_len, num_max, file->name, err);
    if (ok) {
        ok = move_blobs(&list, out_items, out_num) || err_set(err, "%s: out of memory", file->name);
    }
    der_list_cleanup(&list);
    return ok || locate_at(work, err, where);
}

// Reads the certificate and its key. Whether peers would accept them is asked when the bundles are
// there (check_chain).
static bool read_identity(struct work *work, struct err *err)
{
    Tabard__V1__Identity *identity = malloc(sizeof *identity);
    if (identity == NULL) {
        return err_set(err, "out of memory");
    }
    tabard__v1__identity__init(identity);
    work->out->snapshot->identity = identity;
    const struct mesh_file *certificate = file_at(work, work->files->certificate);
    const struct mesh_file *key = file_at(work, work->files->key);
    if (!read_blobs(work, work->files->certificate, "identity.certificate", "CERTIFICATE",
                    VERIFY_CHAIN_MAX, &identity->chain, &identity->n_chain, err)) {
        return false;
    }
    work->out->key = credentials_key_read(key->bytes, key->bytes_len, err);
    if (work->out->key == NULL) {
        err_prefix(err, "%s", key->name);
        return locate_at(work, err, "identity.key");
    }
    if (!credentials_leaf_read(identity, &work->leaf_key, &work->out->not_before, err)) {
        err_prefix(err, "%s", certificate->name);
        return locate_at(work, err, "identity.certificate");
    }
    if (EVP_PKEY_cmp(work->leaf_key, work->out->key) != 1) {
        err_set(err, "%s does not belong to %s: the certificate was issued for another key",
                key->name, certificate->name);
        return locate_at(work, err, "identity.key");
    }
    identity->key_id.data = malloc(CONTRACT_KEY_ID_LEN);
    if (identity->key_id.data == NULL || !keyring_key_id(identity->key_id.data, work->out->key)) {
        return err_set(err, "out of memory");
    }
    identity->key_id.len = CONTRACT_KEY_ID_LEN;
    return true;
}

// Would a peer with the same bundles accept us?
static bool check_chain(struct work *work, struct err *err)
{
    struct verified_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        return err_set(err, "out of memory");
    }
    bool ok = credentials_chain_verify(peer, work->out->snapshot->identity, work->bundles,
                                       work->now, err);
    if (ok) {
        memcpy(work->out->spiffe_id, peer->id, sizeof work->out->spiffe_id);
        work->out->not_after = peer->not_after;
    } else {
        err_prefix(err, "%s", file_at(work, work->files->certificate)->name);
        locate_at(work, err, "identity.certificate");
    }
    free(peer);
    return ok;
}

static bool read_bundle(struct work *work, size_t i, struct err *err)
{
    Tabard__V1__Snapshot *snapshot = work->out->snapshot;
    Tabard__V1__TrustBundle *bundle = malloc(sizeof *bundle);
    if (bundle == NULL) {
        return err_set(err, "out of memory");
    }
    tabard__v1__trust_bundle__init(bundle);
    snapshot->trust_bundles[snapshot->n_trust_bundles++] = bundle;
    bundle->trust_domain = strdup(work->files->config->trust_bundles[i]->trust_domain);
    if (bundle->trust_domain == NULL) {
        return err_set(err, "out of memory");
    }
    char where[64];
    snprintf(where, sizeof where, "trust_bundles[%zu].roots", i);
    if (!read_blobs(work, work->files->bundles[i].roots, where, "CERTIFICATE",
                    TRUST_BUNDLE_ROOTS_MAX, &bundle->roots, &bundle->n_roots, err)) {
        return false;
    }
    snprintf(where, sizeof where, "trust_bundles[%zu].crls", i);
    return work->files->bundles[i].crls == 0 ||
           read_blobs(work, work->files->bundles[i].crls, where, "X509 CRL", TRUST_BUNDLE_CRLS_MAX,
                      &bundle->crls, &bundle->n_crls, err);
}

// Names the file of the field that trust_bundles_new refused.
static bool locate_bundle(const struct work *work, struct err *err)
{
    size_t i = 0;
    char field[8] = {0};
    if (err != NULL && sscanf(err->where, "trust_bundles[%zu].%5[a-z]", &i, field) == 2 &&
        i < work->files->config->n_trust_bundles) {
        if (strcmp(field, "roots") == 0) {
            err_prefix(err, "%s", file_at(work, work->files->bundles[i].roots)->name);
        } else if (strcmp(field, "crls") == 0) {
            err_prefix(err, "%s", file_at(work, work->files->bundles[i].crls)->name);
        }
    }
    return mesh_files_locate(work->files, err);
}

static bool read_bundles(struct work *work, struct err *err)
{
    size_t num = work->files->config->n_trust_bundles;
    Tabard__V1__Snapshot *snapshot = work->out->snapshot;
    if (num == 0) {
        err_set_at(err, "trust_bundles",
                   "missing: name the roots of at least the own trust domain, "
                   "trust_bundles: [{trust_domain: NAME, roots: FILE}]");
        return mesh_files_locate(work->files, err);
    }
    snapshot->trust_bundles = calloc(num, sizeof *snapshot->trust_bundles);
    work->out->crls = calloc(num, sizeof *work->out->crls);
    if (snapshot->trust_bundles == NULL || work->out->crls == NULL) {
        return err_set(err, "out of memory");
    }
    for (size_t i = 0; i < num; i++) {
        if (!read_bundle(work, i, err)) {
            return false;
        }
    }
    work->bundles = trust_bundles_new(snapshot->trust_bundles, num, work->now, err);
    if (work->bundles == NULL) {
        return locate_bundle(work, err);
    }
    for (size_t i = 0; i < num; i++) {
        assembled_note_crls(work->out, snapshot->trust_bundles[i]);
    }
    return true;
}

// Moves a repeated field or a message from the config to the snapshot.
#define MOVE(to, from, field)                                                                      \
    ((to)->field = (from)->field, (to)->n_##field = (from)->n_##field, (from)->field = NULL,       \
     (from)->n_##field = 0)

static void move_config(struct work *work)
{
    Tabard__V1__MeshConfig *config = work->files->config;
    Tabard__V1__Snapshot *snapshot = work->out->snapshot;
    MOVE(snapshot, config, policies);
    MOVE(snapshot, config, destinations);
    MOVE(snapshot, config, inbound_ports);
    MOVE(snapshot, config, forwards);
    snapshot->settings = config->settings;
    config->settings = NULL;
}

bool assemble(struct assembled *out, struct mesh_files *files, time_t now, struct err *err)
{
    *out = (struct assembled){0};
    struct work work = {.files = files, .out = out, .now = now};
    bool ok = false;
    out->snapshot = malloc(sizeof *out->snapshot);
    if (out->snapshot == NULL) {
        err_set(err, "out of memory");
        goto out;
    }
    tabard__v1__snapshot__init(out->snapshot);
    if (files->config->policy_agent != NULL) {
        out->access = pa_access_new(files, now, err);
        ok = out->access != NULL && (files->certificate == 0 || read_identity(&work, err));
    } else {
        ok = read_bundles(&work, err) && read_identity(&work, err) && check_chain(&work, err);
    }
    if (ok) {
        move_config(&work);
        ok = (assembled_check_rules(out, err) || mesh_files_locate(files, err)) &&
             assembled_digest(out, err);
    }
out:
    trust_bundles_free(work.bundles);
    EVP_PKEY_free(work.leaf_key);
    if (!ok) {
        assembled_cleanup(out);
    }
    return ok;
}

void assembled_cleanup(struct assembled *assembled)
{
    if (assembled->snapshot != NULL) {
        tabard__v1__snapshot__free_unpacked(assembled->snapshot, NULL);
    }
    EVP_PKEY_free(assembled->key); // BoringSSL wipes what it frees
    free(assembled->crls);
    pa_access_free(assembled->access);
    *assembled = (struct assembled){0};
}

bool mesh_load(const char *path, time_t now, struct assembled *out, struct err *err)
{
    struct mesh_files files = {0};
    *out = (struct assembled){0};
    bool ok = mesh_files_read(&files, path, err) && assemble(out, &files, now, err);
    mesh_files_cleanup(&files);
    return ok;
}
