// SPDX-License-Identifier: Apache-2.0
#include "certs/crl.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/authority.h"
#include "certs/bundle_impl.h"
#include "certs/cert.h"
#include "certs/key.h"

static int serial_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct cert_serial));
}

bool crl_has_serial(const struct crl *crl, const struct cert_serial *serial)
{
    return crl->num_serials > 0 && bsearch(serial, crl->serials, crl->num_serials,
                                           sizeof crl->serials[0], serial_compare) != NULL;
}

// Every extension that a plain, complete CRL needs is non-critical (RFC 5280, section 5.2); what is
// critical changes what the list means.
static bool check_extensions(const X509_CRL *crl, struct err *err)
{
    if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0) {
        return err_set(err, "a delta CRL; only complete ones are understood");
    }
    if (X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1) >= 0) {
        return err_set(err, "an indirect or partitioned CRL (issuingDistributionPoint); only "
                            "complete ones are understood");
    }
    if (X509_CRL_get_ext_by_critical(crl, 1, -1) >= 0) {
        return err_set(err, "it has a critical extension that is not understood");
    }
    return true;
}

static bool check_times(struct crl *out, const X509_CRL *crl, time_t now, struct err *err)
{
    time_t this_update;
    if (!cert_time_read(&this_update, X509_CRL_get0_lastUpdate(crl))) {
        return err_set(err, "its thisUpdate is not a time");
    }
    if (this_update > now) {
        return err_set(err, "not yet valid: its thisUpdate is %lld seconds ahead",
                       (long long)(this_update - now));
    }
    if (X509_CRL_get0_nextUpdate(crl) == NULL) {
        return err_set(err, "it has no nextUpdate, so it would never go stale");
    }
    if (!cert_time_read(&out->next_update, X509_CRL_get0_nextUpdate(crl))) {
        return err_set(err, "its nextUpdate is not a time");
    }
    if (out->next_update < now) {
        return err_set(err, "stale: its nextUpdate passed %lld seconds ago",
                       (long long)(now - out->next_update));
    }
    return true;
}

// Finds the root whose name and key made the CRL, and records both.
static bool find_issuer(struct crl *out, X509_CRL *crl, const struct trust_bundle *bundle,
                        struct err *err)
{
    if (!key_signature_check(X509_CRL_get_signature_nid(crl), err)) {
        return false;
    }
    for (size_t i = 0; i < bundle->num_roots; i++) {
        X509 *root = bundle->roots[i].cert;
        if (X509_NAME_cmp(X509_get_subject_name(root), X509_CRL_get_issuer(crl)) != 0 ||
            (X509_get_key_usage(root) & KU_CRL_SIGN) == 0) {
            continue;
        }
        EVP_PKEY *key = X509_get_pubkey(root);
        bool is_signer = key != NULL && X509_CRL_verify(crl, key) == 1;
        EVP_PKEY_free(key);
        if (is_signer) {
            out->issuer = must_have(X509_NAME_dup(X509_CRL_get_issuer(crl)));
            authority_key_digest(out->key_digest, root);
            return true;
        }
    }
    return err_set(err, "its signature was made by no root of its bundle that may sign CRLs");
}

static bool read_serials(struct crl *out, X509_CRL *crl, struct err *err)
{
    STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(crl);
    size_t num = revoked == NULL ? 0 : sk_X509_REVOKED_num(revoked);
    if (num == 0) {
        return true;
    }
    out->serials = must_alloc(num, sizeof out->serials[0]);
    for (size_t i = 0; i < num; i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(revoked, i);
        if (X509_REVOKED_get_ext_by_critical(entry, 1, -1) >= 0) {
            return err_set(err, "entry %zu has a critical extension that is not understood", i);
        }
        if (!cert_serial_read(&out->serials[i], X509_REVOKED_get0_serialNumber(entry))) {
            return err_set(err, "entry %zu has a serial number of more than %d bytes", i,
                           CERT_SERIAL_LEN_MAX);
        }
    }
    qsort(out->serials, num, sizeof out->serials[0], serial_compare);
    out->num_serials = num;
    return true;
}

bool crl_read(struct crl *out, const uint8_t *der, size_t der_len,
              const struct trust_bundle *bundle, time_t now, struct err *err)
{
    *out = (struct crl){0};
    if (der_len > CRL_BYTES_MAX) {
        return err_set(err, "a CRL of %zu bytes, more than %u", der_len, CRL_BYTES_MAX);
    }
    const uint8_t *end = der;
    X509_CRL *crl = der_len == 0 ? NULL : d2i_X509_CRL(NULL, &end, (long)der_len);
    bool ok = false;
    if (crl == NULL) {
        err_set(err, "not a DER CRL");
        goto out;
    }
    if (end != der + der_len) {
        err_set(err, "%zu bytes follow the CRL", (size_t)(der + der_len - end));
        goto out;
    }
    ok = check_extensions(crl, err) && check_times(out, crl, now, err) &&
         find_issuer(out, crl, bundle, err) && read_serials(out, crl, err);
out:
    if (!ok) {
        crl_cleanup(out);
    }
    X509_CRL_free(crl);
    return ok;
}

void crl_cleanup(struct crl *crl)
{
    X509_NAME_free(crl->issuer);
    free(crl->serials);
    *crl = (struct crl){0};
}
