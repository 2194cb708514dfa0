// SPDX-License-Identifier: Apache-2.0
#include "control/agent/assemble.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/key.h"
#include "certs/verify.h"
#include "control/agent/keyring.h"
#include "proxy/policy.h"
#include "proxy/route.h"

// What one call works on.
struct work {
    struct mesh_files *files;      // borrowed
    struct assembled *out;         // borrowed
    struct trust_bundles *bundles; // owned
    struct route_index *routes;    // owned
    time_t now;
};

static const struct mesh_file *file_at(const struct work *work, size_t index)
{
    return &work->files->files[index];
}

// Fails at a field, naming the file that it names.
#define fail_at(work, err, where, file, format, ...)                                               \
    (err_set_at(err, where, "%s: " format, (file)->name, __VA_ARGS__),                             \
     mesh_files_locate((work)->files, err))

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

// Nobody is there to be asked for one.
static int on_password(char *buf, int size, int is_write, void *ctx)
{
    (void)buf;
    (void)size;
    (void)is_write;
    *(bool *)ctx = true;
    return -1;
}

static bool read_key(struct work *work, struct err *err)
{
    const struct mesh_file *file = file_at(work, work->files->key);
    bool is_encrypted = false;
    BIO *bio = BIO_new_mem_buf(file->bytes, (int)file->bytes_len);
    if (bio != NULL) {
        work->out->key = PEM_read_bio_PrivateKey(bio, NULL, on_password, &is_encrypted);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (is_encrypted) {
        return fail_at(work, err, "identity.key", file, "%s",
                       "the key is encrypted; a key without a password is needed");
    }
    if (work->out->key == NULL) {
        return fail_at(work, err, "identity.key", file, "%s",
                       "no private key that parses in it; PEM, PKCS#8 or SEC 1, is needed");
    }
    struct err why = {{0}, {0}};
    if (!key_check(work->out->key, &why)) {
        return fail_at(work, err, "identity.key", file, "%s", why.text);
    }
    if (EVP_PKEY_size(work->out->key) > KEYRING_SIGNATURE_LEN_MAX) {
        return fail_at(work, err, "identity.key", file,
                       "an RSA key of %d bits; at most %d are fast "
                       "enough to sign handshakes",
                       EVP_PKEY_bits(work->out->key), KEYRING_SIGNATURE_LEN_MAX * 8);
    }
    return true;
}

// Seconds since 1970 of an ASN.1 time.
static bool time_of(time_t *out, const ASN1_TIME *time)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0;
    int seconds = 0;
    bool ok = epoch != NULL && time != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    *out = (time_t)days * 86400 + seconds;
    return ok;
}

static bool check_leaf(struct work *work, struct err *err)
{
    const Tabard__V1__Identity *identity = work->out->snapshot->identity;
    const struct mesh_file *certificate = file_at(work, work->files->certificate);
    const uint8_t *der = identity->chain[0].data;
    X509 *leaf = d2i_X509(NULL, &der, (long)identity->chain[0].len);
    EVP_PKEY *public_key = leaf != NULL ? X509_get_pubkey(leaf) : NULL;
    bool ok = false;
    if (public_key == NULL || !time_of(&work->out->not_before, X509_get0_notBefore(leaf))) {
        fail_at(work, err, "identity.certificate", certificate, "%s",
                "the leaf's public key or validity doesn't parse");
        goto out;
    }
    if (EVP_PKEY_cmp(public_key, work->out->key) != 1) {
        err_set_at(err, "identity.key",
                   "%s does not belong to %s: the certificate was issued for another key",
                   file_at(work, work->files->key)->name, certificate->name);
        mesh_files_locate(work->files, err);
        goto out;
    }
    ok = true;
out:
    EVP_PKEY_free(public_key);
    X509_free(leaf);
    ERR_clear_error();
    return ok;
}

static bool read_identity(struct work *work, struct err *err)
{
    Tabard__V1__Identity *identity = malloc(sizeof *identity);
    if (identity == NULL) {
        return err_set(err, "out of memory");
    }
    tabard__v1__identity__init(identity);
    work->out->snapshot->identity = identity;
    if (!read_blobs(work, work->files->certificate, "identity.certificate", "CERTIFICATE",
                    VERIFY_CHAIN_MAX, &identity->chain, &identity->n_chain, err) ||
        !read_key(work, err) || !check_leaf(work, err)) {
        return false;
    }
    identity->key_id.data = malloc(KEYRING_KEY_ID_LEN);
    if (identity->key_id.data == NULL || !keyring_key_id(identity->key_id.data, work->out->key)) {
        return err_set(err, "out of memory");
    }
    identity->key_id.len = KEYRING_KEY_ID_LEN;
    return true;
}

// Notes when the first CRL of a bundle ends.
static void note_crls(struct assembled *out, const Tabard__V1__TrustBundle *bundle)
{
    struct assembled_crl *crl = &out->crls[out->num_crls];
    for (size_t i = 0; i < bundle->n_crls; i++) {
        const uint8_t *der = bundle->crls[i].data;
        X509_CRL *parsed = d2i_X509_CRL(NULL, &der, (long)bundle->crls[i].len);
        time_t next = 0;
        if (parsed != NULL && time_of(&next, X509_CRL_get0_nextUpdate(parsed)) &&
            (crl->next_update == 0 || next < crl->next_update)) {
            crl->next_update = next;
        }
        X509_CRL_free(parsed);
    }
    if (crl->next_update != 0) {
        snprintf(crl->trust_domain, sizeof crl->trust_domain, "%s", bundle->trust_domain);
        out->num_crls++;
    }
    ERR_clear_error();
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
        note_crls(work->out, snapshot->trust_bundles[i]);
    }
    return true;
}

// What would be right, for the failures whose own words don't say it.
static const char *hint(enum verify_failure failure)
{
    switch (failure) {
    case VERIFY_UNTRUSTED_CHAIN:
        return "; the file holds the leaf first and then every intermediate, up to one that a root "
               "in "
               "trust_bundles issued";
    case VERIFY_UNKNOWN_TRUST_DOMAIN:
        return "; the own trust domain needs its entry in trust_bundles";
    case VERIFY_EXPIRED:
    case VERIFY_NOT_YET_VALID:
        return "; a certificate that is valid now is needed";
    case VERIFY_NO_URI_SAN:
    case VERIFY_MANY_URI_SANS:
        return "; a workload certificate has exactly one URI SAN, its SPIFFE id";
    case VERIFY_LEAF_IS_CA:
        return "; the first certificate of the file is the workload's own, not its CA's";
    default:
        return "";
    }
}

// Would a peer with the same bundles accept us?
static bool check_chain(struct work *work, struct err *err)
{
    const Tabard__V1__Identity *identity = work->out->snapshot->identity;
    CRYPTO_BUFFER *chain[VERIFY_CHAIN_MAX] = {NULL};
    struct verified_peer *peer = calloc(1, sizeof *peer);
    struct err why = {{0}, {0}};
    enum verify_failure failure = VERIFY_UNPARSABLE;
    bool ok = peer != NULL;
    for (size_t i = 0; ok && i < identity->n_chain; i++) {
        chain[i] = CRYPTO_BUFFER_new(identity->chain[i].data, identity->chain[i].len, NULL);
        ok = chain[i] != NULL;
    }
    if (!ok) {
        err_set(err, "out of memory");
        goto out;
    }
    failure = verify_peer(peer, (const CRYPTO_BUFFER *const *)chain, identity->n_chain,
                          work->bundles, work->now, &why);
    ok = failure == VERIFY_OK;
    if (!ok) {
        fail_at(work, err, "identity.certificate", file_at(work, work->files->certificate), "%s%s",
                why.text, hint(failure));
        goto out;
    }
    memcpy(work->out->spiffe_id, peer->id, sizeof work->out->spiffe_id);
    work->out->not_after = peer->not_after;
out:
    for (size_t i = 0; i < VERIFY_CHAIN_MAX; i++) {
        CRYPTO_BUFFER_free(chain[i]);
    }
    free(peer);
    return ok;
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

static bool check_rules(struct work *work, struct err *err)
{
    Tabard__V1__Snapshot *snapshot = work->out->snapshot;
    struct policy_index *policies = policy_index_new(snapshot->policies, snapshot->n_policies, err);
    if (policies == NULL) {
        return mesh_files_locate(work->files, err);
    }
    policy_index_free(policies);
    work->routes = route_index_new(snapshot, err);
    if (work->routes == NULL) {
        return mesh_files_locate(work->files, err);
    }
    work->out->drain_seconds = route_limits(work->routes)->drain_seconds;
    const struct listen_spec *listens = route_listens(work->routes);
    for (size_t i = 0; i < route_num_listens(work->routes); i++) {
        if (listens[i].kind == LISTEN_OUTBOUND) {
            work->out->outbound_port = listens[i].listen.port;
        } else if (listens[i].kind == LISTEN_INBOUND) {
            work->out->inbound_port = listens[i].listen.port;
        }
    }
    return true;
}

static bool digest(struct assembled *out, struct err *err)
{
    size_t len = tabard__v1__snapshot__get_packed_size(out->snapshot);
    if (len > ASSEMBLED_BYTES_MAX) {
        return err_set(err, "the whole is %zu bytes packed, over the limit of %u", len,
                       ASSEMBLED_BYTES_MAX);
    }
    uint8_t *packed = malloc(len > 0 ? len : 1);
    if (packed == NULL) {
        return err_set(err, "out of memory");
    }
    tabard__v1__snapshot__pack(out->snapshot, packed);
    SHA256(packed, len, out->digest);
    free(packed);
    return true;
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
    ok = read_bundles(&work, err) && read_identity(&work, err) && check_chain(&work, err);
    if (ok) {
        move_config(&work);
        ok = check_rules(&work, err) && digest(out, err);
    }
out:
    trust_bundles_free(work.bundles);
    route_index_free(work.routes);
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
