// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/sign.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/now.h"
#include "certs/cert.h"

// While the wall clock is behind the date by which ends are judged, either may be the wrong one.
// What is made then lives from the earlier of the two, so that by neither it lives too long; and
// what would be over by the later one is not made, since whoever takes it would believe a clock
// that was set back.
static bool start_of(time_t *out, time_t now, uint32_t seconds, struct err *err)
{
    time_t wall = (time_t)(now_unix_ms() / 1000);
    *out = wall < now ? wall : now;
    return *out + (time_t)seconds > now ||
           err_set(err,
                   "the policy agent's wall clock was set back by %lld seconds, and what lives for "
                   "%u is over by one of the two times: put the clock right, or wait until the "
                   "policy agent believes it",
                   (long long)(now - wall), seconds);
}

static struct mint_leaf leaf_of(const struct ca_store *store, const struct issue_request *request,
                                time_t start)
{
    struct mint_leaf leaf = {.spiffe_id = request->spiffe_id,
                             .dns_names = (const char *const *)request->dns_names,
                             .num_dns_names = request->num_dns_names,
                             .not_before = start - MINT_BACKDATE_SECONDS,
                             .not_after = start + request->seconds};
    time_t end = 0;
    if (cert_time_read(&end, X509_get0_notAfter(store->ca.cert)) && leaf.not_after > end) {
        leaf.not_after = end;
    }
    return leaf;
}

static bool fill(struct signed_chain *out, const struct ca_store *store, X509 *leaf,
                 const struct mint_leaf *names, struct err *err)
{
    if (!cert_serial_read(&out->serial, X509_get0_serialNumber(leaf))) {
        return err_set(err, "the serial number has more than %d bytes", CERT_SERIAL_LEN_MAX);
    }
    out->not_after = names->not_after;
    X509_up_ref(store->ca.cert);
    out->issuer = store->ca.cert;
    bool ok = true;
    for (size_t i = 0; ok && i <= store->num_above; i++) {
        ok = mint_cert_der(&out->certs[i], &out->lens[i], i == 0 ? leaf : store->above[i - 1]);
        out->num_certs += ok;
    }
    return ok || err_set(err, "a certificate can't be written as DER");
}

static bool sign_public(struct signed_chain *out, const struct ca_store *store, EVP_PKEY *key,
                        const struct mint_leaf *leaf, struct bytes *notes, struct err *err)
{
    X509 *cert = mint_leaf_new(&store->ca, key, leaf, err);
    bool ok = cert != NULL && fill(out, store, cert, leaf, err);
    if (ok) {
        ca_store_note(notes, cert, leaf->spiffe_id);
    }
    X509_free(cert);
    return ok;
}

bool sign_request(struct signed_chain *out, const struct ca_store *store,
                  const struct issue_request *request, time_t now, struct bytes *notes,
                  struct err *err)
{
    const uint8_t *end = request->csr;
    EVP_PKEY *key = NULL;
    time_t start = 0;
    *out = (struct signed_chain){.num_certs = 0};
    if (!start_of(&start, now, request->seconds, err)) {
        return false;
    }
    const struct mint_leaf leaf = leaf_of(store, request, start);
    X509_REQ *csr = d2i_X509_REQ(NULL, &end, (long)request->csr_len);
    ERR_clear_error();
    bool ok = csr != NULL && end == request->csr + request->csr_len;
    if (!ok) {
        err_set(err, "is not a single DER certificate signing request (PKCS#10)");
    }
    ok = ok && mint_csr_check(&key, csr, &leaf, err) &&
         sign_public(out, store, key, &leaf, notes, err);
    EVP_PKEY_free(key);
    X509_REQ_free(csr);
    if (!ok) {
        signed_chain_cleanup(out);
    }
    return ok;
}

bool sign_key(struct signed_chain *out, const struct ca_store *store, EVP_PKEY *key,
              const struct issue_request *request, time_t now, struct err *err)
{
    struct bytes notes = {0};
    time_t start = 0;
    *out = (struct signed_chain){.num_certs = 0};
    if (!start_of(&start, now, request->seconds, err)) {
        return false;
    }
    const struct mint_leaf leaf = leaf_of(store, request, start);
    bool ok = sign_public(out, store, key, &leaf, &notes, err) &&
              ca_store_record_notes(store, &notes, err);
    bytes_cleanup(&notes);
    if (!ok) {
        signed_chain_cleanup(out);
        return false;
    }
    return true;
}

void signed_chain_cleanup(struct signed_chain *chain)
{
    for (size_t i = 0; i <= STORE_CHAIN_MAX; i++) {
        free(chain->certs[i]);
    }
    X509_free(chain->issuer);
    *chain = (struct signed_chain){.num_certs = 0};
}

bool sign_crl(const struct ca_store *store, time_t now, bool *out_did, struct err *err)
{
    char path[PATH_MAX];
    size_t num = 0;
    time_t start = 0;
    time_t end = 0;
    struct err why = {{0}, {0}};
    *out_did = false;
    snprintf(path, sizeof path, "%s/crl.pem", store->dir);
    if (access(path, F_OK) != 0) {
        return true;
    }
    X509_CRL *own = ca_store_own_crl(store, path, &why);
    bool is_over = own == NULL || (cert_time_read(&start, X509_CRL_get0_lastUpdate(own)) &&
                                   cert_time_read(&end, X509_CRL_get0_nextUpdate(own)) &&
                                   (now < start || now >= start + (end - start) / 2));
    X509_CRL_free(own);
    if (why.text[0] != '\0') {
        return err_set(err, "%s", why.text);
    }
    time_t from = 0;
    *out_did = is_over && start_of(&from, now, ISSUE_CRL_SECONDS, err) &&
               ca_store_write_crl(store, path, from, ISSUE_CRL_SECONDS, &num, err);
    return *out_did || !is_over;
}
