// SPDX-License-Identifier: Apache-2.0
//
// The file in which a CA's CRL stands, beside those of other issuers.
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/data/bytes.h"
#include "base/file.h"
#include "certs/bundle.h"
#include "certs/ca/ca_store.h"
#include "certs/der_list.h"

static bool is_own(const struct ca_store *store, X509_CRL *crl)
{
    bool is_its =
        X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(store->ca.cert)) == 0 &&
        X509_CRL_verify(crl, store->ca.key) == 1;
    ERR_clear_error();
    return is_its;
}

// Reads the CRLs of a file, which may not be there: *out is then empty.
static bool read_crls(struct der_list *out, const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    *out = (struct der_list){0};
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return true;
    }
    bool ok = file_read_text(&text, &len, path, STORE_FILE_BYTES_MAX, err) &&
              der_list_from_pem(out, "X509 CRL", text, len, STORE_CRLS_MAX, path, err);
    free(text);
    return ok;
}

static X509_CRL *crl_at(const struct der_list *list, size_t index)
{
    const uint8_t *end = list->items[index];
    X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)list->lens[index]);
    ERR_clear_error();
    return crl;
}

X509_CRL *ca_store_own_crl(const struct ca_store *store, const char *path, struct err *err)
{
    struct der_list list;
    X509_CRL *own = NULL;
    bool ok = read_crls(&list, path, err);
    for (size_t i = 0; ok && own == NULL && i < list.num; i++) {
        X509_CRL *crl = crl_at(&list, i);
        if (crl != NULL && is_own(store, crl)) {
            own = crl;
        } else {
            X509_CRL_free(crl);
        }
    }
    der_list_cleanup(&list);
    return own;
}

// Appends the CRLs that other issuers have signed.
static void push_others(struct bytes *text, const struct ca_store *store,
                        const struct der_list *list)
{
    for (size_t i = 0; i < list->num; i++) {
        X509_CRL *crl = crl_at(list, i);
        if (crl != NULL && !is_own(store, crl)) {
            char *pem = mint_crl_pem(crl);
            bytes_push_text(text, pem);
            free(pem);
        }
        X509_CRL_free(crl);
    }
}

// A file that those who read it refuse would revoke nothing, or hold up their next change, so the
// one before stays.
static bool check_num(const struct ca_store *store, const struct der_list *list, const char *path,
                      struct err *err)
{
    size_t num = 1;
    for (size_t i = 0; i < list->num; i++) {
        X509_CRL *crl = crl_at(list, i);
        num += crl != NULL && !is_own(store, crl);
        X509_CRL_free(crl);
    }
    return num <= TRUST_BUNDLE_CRLS_MAX ||
           err_set(
               err,
               "%s: %zu CRLs with this one, and nobody reads more than %d of one file: take out "
               "those of issuers that are gone, or name another file by --crl",
               path, num, TRUST_BUNDLE_CRLS_MAX);
}

static bool check_len(size_t len, const char *path, struct err *err)
{
    return len <= CRL_BYTES_MAX ||
           err_set(
               err,
               "%s: %zu bytes with this CRL, and nobody reads more than %u: too much is revoked "
               "for one CA, so replace the CA",
               path, len, CRL_BYTES_MAX);
}

bool ca_store_write_crl(const struct ca_store *store, const char *path, time_t now,
                        time_t life_seconds, size_t *out_num, struct err *err)
{
    struct der_list list;
    *out_num = 0;
    if (!read_crls(&list, path, err)) {
        return err_prefix(err, "CRLs of other issuers may stand there, so it isn't overwritten");
    }
    if (!check_num(store, &list, path, err)) {
        der_list_cleanup(&list);
        return false;
    }
    char *own = ca_store_crl(store, now, life_seconds, out_num, err);
    bool ok = own != NULL;
    if (ok) {
        struct bytes text = {0};
        bytes_push_text(&text, own);
        push_others(&text, store, &list);
        char *all = bytes_take_text(&text);
        ok = check_len(strlen(all), path, err) && file_write_text(path, all, 0644, true, err);
        free(all);
    }
    free(own);
    der_list_cleanup(&list);
    return ok;
}
