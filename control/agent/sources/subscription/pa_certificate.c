// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/subscription/pa_certificate.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/cert.h"
#include "certs/identity.h"
#include "certs/chain.h"

// The one URI of a leaf, malloc'd. NULL sets err.
static char *read_id(const X509 *leaf, struct err *err)
{
    struct cert_uris uris;
    struct spiffe_id id;
    char *out = NULL;
    if (!cert_uris_read(&uris, leaf)) {
        err_set(err, "its subjectAltName can't be read");
    } else if (uris.num != 1) {
        err_set(err, "%zu URI SANs; a workload certificate has exactly one, its SPIFFE id",
                uris.num);
    } else {
        size_t len = 0;
        const char *text = cert_uri(&uris, 0, &len);
        if (spiffe_workload_parse(&id, text, len, err)) {
            out = must_have(strndup(id.text, id.text_len));
        }
    }
    cert_uris_cleanup(&uris);
    return out;
}

static bool check_leaf(struct pa_certificate *out, const ProtobufCBinaryData *der, EVP_PKEY *key,
                       const char *expected_id, struct err *err)
{
    const uint8_t *end = der->data;
    X509 *leaf = der->len > CHAIN_BYTES_MAX ? NULL : d2i_X509(NULL, &end, (long)der->len);
    EVP_PKEY *leaf_key = leaf != NULL ? X509_get_pubkey(leaf) : NULL;
    time_t not_before = 0;
    time_t not_after = 0;
    bool ok = false;
    if (leaf_key == NULL || end != der->data + der->len ||
        !cert_time_read(&not_before, X509_get0_notBefore(leaf)) ||
        !cert_time_read(&not_after, X509_get0_notAfter(leaf))) {
        err_set(err, "not one DER certificate of at most %u bytes", CHAIN_BYTES_MAX);
    } else if (EVP_PKEY_cmp(leaf_key, key) != 1) {
        err_set(err, "issued for another key than that of the certificate_request");
    } else {
        out->spiffe_id = read_id(leaf, err);
        out->not_before = not_before;
        out->not_after = not_after;
        ok = out->spiffe_id != NULL;
        if (ok && expected_id[0] != '\0' && strcmp(out->spiffe_id, expected_id) != 0) {
            ok = err_set(err, "issued for %s, but this sidecar is %s", out->spiffe_id, expected_id);
        }
    }
    EVP_PKEY_free(leaf_key);
    X509_free(leaf);
    ERR_clear_error();
    return ok;
}

bool pa_certificate_take(struct pa_certificate *out, Tabard__V1__IssuedCertificate *certificate,
                         EVP_PKEY *key, const char *expected_id, struct err *err)
{
    if (certificate->n_chain == 0 || certificate->n_chain > CHAIN_CERTS_MAX) {
        return err_set_at(err, "certificate.chain", "%zu certificates; 1 to %d are needed",
                          certificate->n_chain, CHAIN_CERTS_MAX);
    }
    Tabard__V1__Snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    Tabard__V1__Identity *identity = must_alloc(1, sizeof *identity);
    tabard__v1__snapshot__init(snapshot);
    tabard__v1__identity__init(identity);
    snapshot->identity = identity;
    identity->n_chain = certificate->n_chain;
    identity->chain = certificate->chain;
    certificate->n_chain = 0;
    certificate->chain = NULL;
    EVP_PKEY_up_ref(key);
    out->part = part_new(&snapshot->base, key);
    return check_leaf(out, &identity->chain[0], key, expected_id, err) ||
           err_prefix_where(err, "certificate.chain[0]");
}

void pa_certificate_clear(struct pa_certificate *issued)
{
    part_unref(issued->part);
    free(issued->spiffe_id);
    *issued = (struct pa_certificate){0};
}
