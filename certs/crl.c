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

// A stale CRL of an issuer that is known is refused. One of an issuer that no chain has shown yet
// is taken: it fails that issuer's certificates, and nobody who could renew it may be left.
static bool check_fresh(const struct crl *crl, const struct trust_load *load, time_t now,
                        struct err *err)
{
    return crl->next_update >= now || load->takes_stale || crl->unproved != NULL ||
           err_set(err, "stale: its nextUpdate passed %lld seconds ago",
                   (long long)(now - crl->next_update));
}

// A thisUpdate that is ahead refuses nothing (RFC 5280, section 5.1.2.4: it is the date of issue):
// a clock is wrong, ours or the issuer's, and what was revoked must not pass until they agree.
static bool read_times(struct crl *out, const X509_CRL *crl, struct err *err)
{
    if (!cert_time_read(&out->this_update, X509_CRL_get0_lastUpdate(crl))) {
        return err_set(err, "its thisUpdate is not a time");
    }
    if (X509_CRL_get0_nextUpdate(crl) == NULL) {
        return err_set(err, "it has no nextUpdate, so it would never go stale");
    }
    if (!cert_time_read(&out->next_update, X509_CRL_get0_nextUpdate(crl))) {
        return err_set(err, "its nextUpdate is not a time");
    }
    return true;
}

// Reads the CRL's number and the identifier of the key that signed it; neither need be there.
static bool read_ids(struct crl *out, const X509_CRL *crl, struct err *err)
{
    int critical = 0;
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, &critical, NULL);
    bool ok = number != NULL ? cert_serial_read(&out->number, number) && !out->number.is_negative
                             : critical == -1;
    ASN1_INTEGER_free(number);
    if (!ok) {
        return err_set(err, "its cRLNumber is not one number from 0 on, of at most %d bytes",
                       CERT_SERIAL_LEN_MAX);
    }
    AUTHORITY_KEYID *ids = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, &critical, NULL);
    if (ids == NULL) {
        return critical == -1 || err_set(err, "its authorityKeyIdentifier can't be read");
    }
    out->key_id = ids->keyid == NULL ? (struct crl_key_id){0} : crl_key_id_of(ids->keyid);
    AUTHORITY_KEYID_free(ids);
    return true;
}

// Finds the certificate whose name and key made the CRL, among the roots and the other authorities
// that are known, and records its key. Where none of them has the name, the CRL is kept unproved.
static bool find_issuer(struct crl *out, X509_CRL *crl, const struct trust_bundle *bundle,
                        const struct trust_load *load, struct err *err)
{
    const X509_ALGOR *algorithm;
    X509_CRL_get0_signature(crl, NULL, &algorithm);
    if (!key_signature_check(algorithm, err)) {
        return false;
    }
    out->issuer = must_have(X509_NAME_dup(X509_CRL_get_issuer(crl)));
    X509_CRL_up_ref(crl);
    out->unproved = crl;
    bool is_forged = false;
    for (size_t i = 0; i < bundle->num_roots + load->num_authorities; i++) {
        X509 *cert = i < bundle->num_roots ? bundle->roots[i].cert
                                           : load->authorities[i - bundle->num_roots];
        authority_key_digest(out->key_digest, cert);
        enum crl_relation relation = crl_of(out, cert, out->key_digest);
        if (relation == CRL_OF_ISSUER && (X509_get_key_usage(cert) & KU_CRL_SIGN) != 0) {
            X509_CRL_free(crl);
            out->unproved = NULL;
            return true;
        }
        is_forged = is_forged || relation != CRL_OF_ANOTHER;
    }
    return !is_forged ||
           err_set(err, "its signature was made by no root of its bundle that may sign CRLs");
}

// An entry revokes whatever its reason is, certificateHold too. removeFromCRL would take one back,
// and means nothing in a complete CRL (RFC 5280, section 5.3.1).
static bool check_reason(const X509_REVOKED *entry)
{
    int critical = 0;
    uint64_t reason = CRL_REASON_REMOVE_FROM_CRL;
    ASN1_ENUMERATED *value = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, &critical, NULL);
    bool ok = value != NULL ? ASN1_ENUMERATED_get_uint64(&reason, value) == 1 &&
                                  reason != CRL_REASON_REMOVE_FROM_CRL
                            : critical == -1;
    ASN1_ENUMERATED_free(value);
    return ok;
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
        if (!check_reason(entry)) {
            return err_set(err,
                           "entry %zu has the reason removeFromCRL, which only a delta CRL may "
                           "have, or one that can't be read",
                           i);
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
              const struct trust_bundle *bundle, const struct trust_load *load, time_t now,
              struct err *err)
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
    ok = check_extensions(crl, err) && read_times(out, crl, err) && read_ids(out, crl, err) &&
         find_issuer(out, crl, bundle, load, err) && check_fresh(out, load, now, err) &&
         read_serials(out, crl, err);
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
    X509_CRL_free(crl->unproved);
    crl_forget_proofs(crl);
    free(crl->serials);
    *crl = (struct crl){0};
}
