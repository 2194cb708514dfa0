// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // nftw
#include "control/policyd/kubernetes/ca_secret.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/base64.h>
#include <openssl/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/must.h"
#include "certs/ca/ca_store.h"
#include "control/policyd/ca/sign.h"

#define REVOKED_PREFIX  "revoked."
#define FILE_BYTES_MAX  (1u << 20) // no Secret is larger
#define SCRATCH_FOLDERS 8          // open at once while the scratch folder is removed

static const struct {
    const char *key;
    const char *path;
} files[CA_SECRET_NUM_FILES] = {
#define X(name, key, path) {key, path},
    CA_SECRET_FILES(X)
#undef X
};

static void free_text(char *text)
{
    if (text != NULL) {
        OPENSSL_cleanse(text, strlen(text));
        free(text);
    }
}

void ca_secret_cleanup(struct ca_secret *secret)
{
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        free_text(secret->files[i]);
    }
    for (size_t i = 0; i < secret->num_serials; i++) {
        free(secret->serials[i]);
    }
    free(secret->serials);
    free(secret->version);
    *secret = (struct ca_secret){.version = NULL};
}

// Decodes a value of a Secret's data into a text, which the caller owns.
static bool decode(char **out, const char *key, const json_t *value, struct err *err)
{
    const char *text = json_string_value(value);
    size_t len = text == NULL ? 0 : strlen(text);
    size_t decoded = 0;
    char *bytes = must_alloc(len + 1, 1);
    bool ok = text != NULL &&
              EVP_DecodeBase64((uint8_t *)bytes, &decoded, len, (const uint8_t *)text, len) == 1 &&
              memchr(bytes, '\0', decoded) == NULL;
    bytes[decoded] = '\0';
    if (!ok) {
        free(bytes);
        return err_set(err, "%s is not a text in base64", key);
    }
    *out = bytes;
    return true;
}

static bool read_files(struct ca_secret *out, const json_t *data, struct err *err)
{
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        const json_t *value = json_object_get(data, files[i].key);
        if (value != NULL && !decode(&out->files[i], files[i].key, value, err)) {
            return false;
        }
    }
    for (size_t i = CA_SECRET_CA; i <= CA_SECRET_KEY; i++) {
        if (out->files[i] == NULL || out->files[i][0] == '\0') {
            return err_set(err, "%s is missing", files[i].key);
        }
    }
    return true;
}

bool ca_secret_read(struct ca_secret *out, const json_t *secret, struct err *err)
{
    json_t *data = json_object_get(secret, "data");
    const char *version =
        json_string_value(json_object_get(json_object_get(secret, "metadata"), "resourceVersion"));
    const char *key;
    json_t *value;
    *out = (struct ca_secret){.version = NULL};
    if (version == NULL) {
        return err_set(err, "it has no resourceVersion");
    }
    out->version = must_strdup(version);
    if (!read_files(out, data, err)) {
        ca_secret_cleanup(out);
        return false;
    }
    out->serials = must_alloc(json_object_size(data), sizeof *out->serials);
    json_object_foreach(data, key, value)
    {
        if (strncmp(key, REVOKED_PREFIX, strlen(REVOKED_PREFIX)) == 0) {
            out->serials[out->num_serials++] = must_strdup(key + strlen(REVOKED_PREFIX));
        }
    }
    return true;
}

void ca_secret_copy(struct ca_secret *out, const struct ca_secret *secret)
{
    *out = (struct ca_secret){.version = must_strdup(secret->version)};
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        out->files[i] = secret->files[i] == NULL ? NULL : must_strdup(secret->files[i]);
    }
    out->serials = must_alloc(secret->num_serials, sizeof *out->serials);
    for (size_t i = 0; i < secret->num_serials; i++) {
        out->serials[out->num_serials++] = must_strdup(secret->serials[i]);
    }
}

bool ca_secret_same_files(const struct ca_secret *a, const struct ca_secret *b)
{
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        const char *texts[] = {a->files[i], b->files[i]};
        if ((texts[0] == NULL) != (texts[1] == NULL) ||
            (texts[0] != NULL && strcmp(texts[0], texts[1]) != 0)) {
            return false;
        }
    }
    return true;
}

static bool make_folder(const char *path, struct err *err)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ||
           err_set(err, "%s: can't be made a folder: %s", path, strerror(errno));
}

static bool path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *err)
{
    return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ||
           err_set(err, "%.100s...: the path is too long", dir);
}

bool ca_secret_lay(const struct ca_secret *secret, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    if (!path_in(path, dir, "ca", err) || !make_folder(dir, err) || !make_folder(path, err)) {
        return false;
    }
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        const char *text = secret->files[i];
        if (!path_in(path, dir, files[i].path, err)) {
            return false;
        }
        if (text == NULL) {
            unlink(path);
        } else if (!file_replace(path, text, strlen(text), false, err)) {
            return false;
        }
    }
    return true;
}

static int on_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    remove(path);
    return 0;
}

// It lies in memory, so that removing it leaves nothing.
static void clear(const char *scratch)
{
    nftw(scratch, on_entry, SCRATCH_FOLDERS, FTW_DEPTH | FTW_PHYS);
}

// Puts a text into a Secret's data.
static void put(json_t *data, const char *key, const char *text)
{
    size_t len = strlen(text);
    size_t size = 0;
    must_have(EVP_EncodedLength(&size, len) ? data : NULL);
    char *encoded = must_alloc(size, 1);
    EVP_EncodeBlock((uint8_t *)encoded, (const uint8_t *)text, len);
    json_object_set_new(data, key, must_have(json_string(encoded)));
    free_text(encoded);
}

// Puts a file, if it is there, into a Secret's data. false sets err: it can't be read.
static bool put_file(json_t *data, const char *key, const char *dir, const char *name,
                     struct err *err)
{
    char path[PATH_MAX];
    char *text = NULL;
    size_t len = 0;
    if (!path_in(path, dir, name, err)) {
        return false;
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return true;
    }
    bool ok = file_read_text(&text, &len, path, FILE_BYTES_MAX, err);
    if (ok) {
        put(data, key, text);
    }
    free_text(text);
    return ok;
}

static json_t *secret_of(const char *namespace, const char *name, json_t *data)
{
    return must_have(json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:{s:s, s:s}}, s:o}", "apiVersion",
                               "v1", "kind", "Secret", "type", "Opaque", "metadata", "name", name,
                               "namespace", namespace, "labels", "app.kubernetes.io/name", "tabard",
                               "app.kubernetes.io/managed-by", "tabard-policyd", "data", data));
}

static bool make(const char *scratch, const char *trust_domain, time_t now, json_t *data,
                 json_t *root_data, struct err *err)
{
    char root[PATH_MAX], ca[PATH_MAX], path[PATH_MAX];
    char *pem[2] = {NULL, NULL};
    size_t len = 0;
    bool ok = path_in(root, scratch, "root", err) && path_in(ca, scratch, "ca", err) &&
              make_folder(scratch, err) &&
              ca_store_create(root, NULL, MINT_KEY_P256, trust_domain, now, CA_SECRET_ROOT_SECONDS,
                              err) &&
              ca_store_create(ca, root, MINT_KEY_P256, trust_domain, now, CA_SECRET_SECONDS, err) &&
              put_file(data, "ca.key", ca, "ca.key", err) &&
              put_file(data, "roots.pem", root, "ca.pem", err) &&
              put_file(root_data, "ca.pem", root, "ca.pem", err) &&
              put_file(root_data, "ca.key", root, "ca.key", err) &&
              path_in(path, ca, "ca.pem", err) &&
              file_read_text(&pem[0], &len, path, FILE_BYTES_MAX, err) &&
              path_in(path, root, "ca.pem", err) &&
              file_read_text(&pem[1], &len, path, FILE_BYTES_MAX, err);
    if (ok) {
        struct bytes chain = {0};
        bytes_push_format(&chain, "%s%s", pem[0], pem[1]);
        char *text = bytes_take_text(&chain);
        put(data, "ca.pem", text);
        free(text);
    }
    free(pem[0]);
    free(pem[1]);
    return ok;
}

json_t *ca_secret_new(const char *scratch, const char *namespace, const char *trust_domain,
                      time_t now, json_t **out_root, struct err *err)
{
    json_t *data = must_have(json_object());
    json_t *root_data = must_have(json_object());
    clear(scratch);
    bool ok = make(scratch, trust_domain, now, data, root_data, err);
    clear(scratch);
    *out_root = NULL;
    if (!ok) {
        json_decref(data);
        json_decref(root_data);
        return NULL;
    }
    *out_root = secret_of(namespace, CA_SECRET_ROOT_NAME, root_data);
    return secret_of(namespace, CA_SECRET_NAME, data);
}

json_t *ca_secret_write(const struct ca_secret *secret, const char *namespace)
{
    json_t *data = must_have(json_object());
    for (size_t i = 0; i < CA_SECRET_NUM_FILES; i++) {
        if (secret->files[i] != NULL) {
            put(data, files[i].key, secret->files[i]);
        }
    }
    for (size_t i = 0; i < secret->num_serials; i++) {
        char key[256];
        snprintf(key, sizeof key, REVOKED_PREFIX "%s", secret->serials[i]);
        put(data, key, "");
    }
    return secret_of(namespace, CA_SECRET_NAME, data);
}

// Adds the serials that are asked for to what is revoked. *out_has_news says whether one was new.
static bool add_revoked(const struct ca_store *store, const struct ca_secret *secret, time_t now,
                        bool *out_has_news, const char **out_bad, struct err *err)
{
    for (size_t i = 0; i < secret->num_serials; i++) {
        bool was_known = false;
        ASN1_INTEGER *serial = mint_serial_parse(secret->serials[i], NULL);
        if (serial == NULL) {
            *out_bad = secret->serials[i];
            continue;
        }
        bool ok = ca_store_revoke(store, serial, now, &was_known, err);
        ASN1_INTEGER_free(serial);
        if (!ok) {
            return false;
        }
        *out_has_news = *out_has_news || !was_known;
    }
    return true;
}

static bool renew(const struct ca_store *store, const struct ca_secret *secret, time_t now,
                  bool *out_did, const char **out_bad, struct err *err)
{
    char path[PATH_MAX];
    size_t num = 0;
    bool has_news = false;
    if (!add_revoked(store, secret, now, &has_news, out_bad, err)) {
        return false;
    }
    if (!has_news) {
        return sign_crl(store, now, out_did, err);
    }
    *out_did = path_in(path, store->dir, "crl.pem", err) &&
               ca_store_write_crl(store, path, now, ISSUE_CRL_SECONDS, &num, err);
    return *out_did;
}

json_t *ca_secret_renew(const struct ca_secret *secret, const char *scratch, time_t now,
                        const char **out_bad, struct err *err)
{
    struct ca_store store = {0};
    char ca[PATH_MAX];
    bool did = false;
    json_t *patch = NULL;
    *out_bad = NULL;
    clear(scratch);
    bool ok = path_in(ca, scratch, "ca", err) && ca_secret_lay(secret, scratch, err) &&
              ca_store_open(&store, ca, err) && renew(&store, secret, now, &did, out_bad, err);
    ca_store_close(&store);
    if (ok && did) {
        json_t *data = must_have(json_object());
        ok = put_file(data, "crl.pem", ca, "crl.pem", err) &&
             put_file(data, "revoked", ca, "revoked", err) &&
             put_file(data, "crl-number", ca, "crl-number", err);
        // The version makes the server refuse the patch once another replica was quicker.
        patch = must_have(json_pack("{s:{s:s}, s:o}", "metadata", "resourceVersion",
                                    secret->version, "data", data));
        if (!ok) {
            json_decref(patch);
            patch = NULL;
        }
    }
    clear(scratch);
    return patch;
}
