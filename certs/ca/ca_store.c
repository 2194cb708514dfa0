// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // strsep
#include "certs/ca/ca_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/data/bytes.h"
#include "base/file.h"
#include "base/must.h"
#include "base/secret/secret.h"
#include "certs/der_list.h"
#include "certs/cert.h"
#include "certs/key.h"

#define REVOKED_LINE_MAX 80

static bool path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *err)
{
    return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ||
           err_set(err, "%.100s...: the path is too long", dir);
}

static bool make_dir(const char *dir, struct err *err)
{
    struct stat st;
    if (mkdir(dir, 0700) == 0 || (errno == EEXIST && stat(dir, &st) == 0 && S_ISDIR(st.st_mode))) {
        return true;
    }
    return err_set(err, "%s: can't be made a folder: %s", dir, strerror(errno));
}

// Writes both files or none.
static bool write_ca(const char *dir, const struct mint_ca *ca, const char *chain_pem,
                     struct err *err)
{
    char cert_path[PATH_MAX], key_path[PATH_MAX];
    struct file_draft cert = {0};
    struct file_draft key = {0};
    char *key_pem = mint_key_pem(ca->key);
    bool ok = path_in(cert_path, dir, "ca.pem", err) && path_in(key_path, dir, "ca.key", err) &&
              file_is_free(cert_path, err) && file_is_free(key_path, err) &&
              file_draft_write(&key, key_path, key_pem, 0600, err) &&
              file_draft_write(&cert, cert_path, chain_pem, 0644, err) &&
              file_draft_commit(&key, false, err) && file_draft_commit(&cert, false, err);
    if (!ok) {
        file_draft_abandon(&key);
        file_draft_abandon(&cert);
    }
    secret_free(key_pem);
    return ok;
}

bool ca_store_create(const char *dir, const char *parent, enum mint_key_kind kind,
                     const char *trust_domain, time_t now, time_t life_seconds, struct err *err)
{
    struct ca_store above = {0};
    struct mint_ca ca = {0};
    char *own = NULL;
    char *chain = NULL;
    bool ok = false;
    if (parent == NULL) {
        if (!mint_root_init(&ca, kind, trust_domain, now, now + life_seconds, err)) {
            goto out;
        }
        chain = mint_cert_pem(ca.cert);
    } else {
        if (!ca_store_open(&above, parent, err)) {
            goto out;
        }
        own = mint_ca_trust_domain(above.ca.cert, err);
        if (own == NULL) {
            goto out;
        }
        if (trust_domain != NULL && strcmp(own, trust_domain) != 0) {
            err_set(err, "%s is a CA of the trust domain %s, not of %s", parent, own, trust_domain);
            goto out;
        }
        if (!mint_intermediate_init(&ca, &above.ca, kind, now, now + life_seconds, err)) {
            goto out;
        }
        chain = ca_store_chain_pem(&above, ca.cert);
    }
    ok = make_dir(dir, err) && write_ca(dir, &ca, chain, err);
out:
    free(chain);
    free(own);
    mint_ca_cleanup(&ca);
    ca_store_close(&above);
    return ok;
}

static bool read_chain(struct ca_store *out, const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    struct der_list list = {0};
    bool ok = file_read_text(&text, &len, path, STORE_CERT_BYTES_MAX, err) &&
              der_list_from_pem(&list, "CERTIFICATE", text, len, STORE_CHAIN_MAX, path, err);
    for (size_t i = 0; ok && i < list.num; i++) {
        const uint8_t *end = list.items[i];
        X509 *cert = d2i_X509(NULL, &end, (long)list.lens[i]);
        if (cert == NULL) {
            ok = err_set(err, "%s: certificate %zu can't be read", path, i + 1);
            break;
        }
        if (i == 0) {
            X509_up_ref(cert);
            out->ca.cert = cert;
        }
        // The root is not sent along: a peer that verifies has it already.
        if (X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0) {
            X509_free(cert);
        } else {
            out->above[out->num_above++] = cert;
        }
    }
    der_list_cleanup(&list);
    free(text);
    return ok;
}

static bool read_key(struct ca_store *out, const char *path, struct err *err)
{
    struct file file;
    // What a weak key signs, nobody would take.
    bool ok = file_read(&file, path, STORE_CERT_BYTES_MAX, FILE_SECRET, err) &&
              (out->ca.key = key_pem_read(file.bytes, file.len, err)) != NULL;
    file_cleanup(&file);
    if (!ok) {
        return err_prefix(err, "%s", path);
    }
    if (X509_check_private_key(out->ca.cert, out->ca.key) != 1) {
        ok = err_set(err, "%s: not the key of the certificate beside it", path);
    }
    ERR_clear_error();
    return ok;
}

bool ca_store_open(struct ca_store *out, const char *dir, struct err *err)
{
    *out = (struct ca_store){0};
    char cert_path[PATH_MAX], key_path[PATH_MAX], lock_path[PATH_MAX];
    bool ok = path_in(cert_path, dir, "ca.pem", err) && path_in(key_path, dir, "ca.key", err) &&
              path_in(lock_path, dir, "lock", err) && read_chain(out, cert_path, err) &&
              read_key(out, key_path, err);
    if (ok) {
        out->dir = must_strdup(dir);
        out->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (out->lock_fd < 0 || flock(out->lock_fd, LOCK_EX) != 0) {
            ok = err_set(err, "%s: can't be locked: %s", lock_path, strerror(errno));
        }
    }
    if (!ok) {
        ca_store_close(out);
    }
    return ok;
}

void ca_store_close(struct ca_store *store)
{
    for (size_t i = 0; i < store->num_above; i++) {
        X509_free(store->above[i]);
    }
    mint_ca_cleanup(&store->ca);
    if (store->lock_fd > 0) {
        close(store->lock_fd);
    }
    free(store->dir);
    *store = (struct ca_store){0};
}

char *ca_store_chain_pem(const struct ca_store *store, X509 *leaf)
{
    struct bytes text = {0};
    for (size_t i = 0; i <= store->num_above; i++) {
        char *pem = mint_cert_pem(i == 0 ? leaf : store->above[i - 1]);
        bytes_push_text(&text, pem);
        free(pem);
    }
    return bytes_take_text(&text);
}

// Opens a file to append to it. A FIFO would wait for its reader, and a device may remember
// nothing.
static int open_record(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

// Adds lines to a file, or nothing of them: what didn't fit on the disk is cut off again.
static bool append_line(const struct ca_store *store, const char *name, const char *line,
                        struct err *err)
{
    char path[PATH_MAX];
    if (!path_in(path, store->dir, name, err)) {
        return false;
    }
    int fd = open_record(path);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    size_t len = strlen(line);
    ssize_t written = end < 0 ? -1 : write(fd, line, len);
    if (written >= 0 && (size_t)written < len) {
        errno = ENOSPC; // that is why the kernel takes a part of so few bytes
    }
    bool ok = written == (ssize_t)len && fdatasync(fd) == 0;
    if (!ok) {
        bool is_odd = fd < 0 && (errno == EINVAL || errno == ENXIO);
        err_set(err, "%s: can't be written: %s", path,
                is_odd ? "it is not a regular file" : strerror(errno));
        if (end >= 0 && ftruncate(fd, end) != 0) {
            err_prefix(err, "a part of a line may be left in the file");
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void ca_store_note(struct bytes *out, const X509 *leaf, const char *spiffe_id)
{
    char serial[MINT_SERIAL_TEXT_MAX];
    time_t not_after = 0;
    cert_time_read(&not_after, X509_get0_notAfter(leaf));
    bytes_push_format(out, "%s %lld %s\n", mint_serial_text(X509_get0_serialNumber(leaf), serial),
                      (long long)not_after, spiffe_id);
}

bool ca_store_record_notes(const struct ca_store *store, struct bytes *notes, struct err *err)
{
    char *lines = bytes_take_text(notes);
    bool ok = append_line(store, "issued", lines, err);
    free(lines);
    return ok;
}

bool ca_store_record(const struct ca_store *store, const X509 *leaf, const char *spiffe_id,
                     struct err *err)
{
    struct bytes note = {0};
    ca_store_note(&note, leaf, spiffe_id);
    return ca_store_record_notes(store, &note, err);
}

// Reads `revoked`, which may not be there yet. Each entry's serial is owned by the caller.
static bool read_revoked(const struct ca_store *store, struct mint_revoked **out, size_t *out_num,
                         struct err *err)
{
    char path[PATH_MAX];
    char *text = NULL;
    size_t len = 0;
    *out = NULL;
    *out_num = 0;
    if (!path_in(path, store->dir, "revoked", err)) {
        return false;
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return true;
    }
    if (!file_read_text(&text, &len, path, STORE_FILE_BYTES_MAX, err)) {
        return false;
    }
    size_t num_lines = 0;
    for (size_t i = 0; i < len; i++) {
        num_lines += text[i] == '\n';
    }
    if (num_lines > STORE_REVOCATIONS_MAX) {
        free(text);
        return err_set(err, "%s: %zu revocations, more than %d", path, num_lines,
                       STORE_REVOCATIONS_MAX);
    }
    struct mint_revoked *entries = must_alloc(num_lines, sizeof *entries);
    bool ok = true;
    char *rest = text;
    size_t num = 0;
    for (char *line; ok && (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        char serial[MINT_SERIAL_TEXT_MAX];
        long long when;
        ASN1_INTEGER *number = NULL;
        if (sscanf(line, "%47s %lld", serial, &when) != 2 ||
            (number = mint_serial_parse(serial, NULL)) == NULL) {
            ok = err_set(err, "%s:%zu: not a serial number and a time", path, num + 1);
            break;
        }
        entries[num++] = (struct mint_revoked){number, (time_t)when};
    }
    free(text);
    *out = entries;
    *out_num = num;
    return ok;
}

static void free_revoked(struct mint_revoked *entries, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        ASN1_INTEGER_free((ASN1_INTEGER *)entries[i].serial);
    }
    free(entries);
}

bool ca_store_revoke(const struct ca_store *store, const ASN1_INTEGER *serial, time_t now,
                     bool *out_was_known, struct err *err)
{
    struct mint_revoked *entries;
    size_t num;
    *out_was_known = false;
    bool ok = read_revoked(store, &entries, &num, err);
    for (size_t i = 0; ok && i < num; i++) {
        *out_was_known = *out_was_known || ASN1_INTEGER_cmp(entries[i].serial, serial) == 0;
    }
    free_revoked(entries, num);
    if (!ok || *out_was_known) {
        return ok;
    }
    char text[MINT_SERIAL_TEXT_MAX];
    char line[REVOKED_LINE_MAX];
    snprintf(line, sizeof line, "%s %lld\n", mint_serial_text(serial, text), (long long)now);
    return append_line(store, "revoked", line, err);
}

// The number is on the disk before the CRL that bears it, so that no number is given twice.
static bool next_number(const struct ca_store *store, uint64_t *out, struct err *err)
{
    char path[PATH_MAX];
    char line[32];
    char *text = NULL;
    size_t len = 0;
    uint64_t last = 0;
    if (!path_in(path, store->dir, "crl-number", err)) {
        return false;
    }
    if (access(path, F_OK) == 0) {
        bool ok = file_read_text(&text, &len, path, sizeof line, err);
        if (ok && sscanf(text, "%" SCNu64, &last) != 1) {
            ok = err_set(err, "%s: not a number", path);
        }
        free(text);
        if (!ok) {
            return false;
        }
    }
    *out = last + 1;
    snprintf(line, sizeof line, "%" PRIu64 "\n", *out);
    return file_write_text(path, line, 0600, true, err);
}

char *ca_store_crl(const struct ca_store *store, time_t now, time_t life_seconds, size_t *out_num,
                   struct err *err)
{
    struct mint_revoked *entries = NULL;
    uint64_t number = 0;
    char *pem = NULL;
    *out_num = 0;
    if (read_revoked(store, &entries, out_num, err) && next_number(store, &number, err)) {
        X509_CRL *crl = mint_crl_new(&store->ca, entries, *out_num, number,
                                     now - MINT_BACKDATE_SECONDS, now + life_seconds, err);
        pem = crl == NULL ? NULL : mint_crl_pem(crl);
        X509_CRL_free(crl);
    }
    free_revoked(entries, *out_num);
    return pem;
}
