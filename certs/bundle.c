// SPDX-License-Identifier: Apache-2.0
#include "certs/bundle.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/authority.h"
#include "certs/bundle_impl.h"
#include "certs/cert.h"
#include "certs/identity.h"

#define ROOT_BYTES_MAX (64u << 10)

struct trust_bundles {
    struct trust_bundle *items; // owned, sorted by domain
    size_t num;
};

// Trust domains are ordered by length, then by bytes: cheaper than dictionary order, and all that
// bsearch needs.
static int domain_compare(const void *a, const void *b)
{
    const struct trust_bundle *x = a;
    const struct trust_bundle *y = b;
    if (x->domain_len != y->domain_len) {
        return x->domain_len < y->domain_len ? -1 : 1;
    }
    return memcmp(x->domain, y->domain, x->domain_len);
}

static bool read_root(struct bundle_root *out, const ProtobufCBinaryData *der,
                      const struct trust_bundle *bundle, struct err *err)
{
    if (der->len > ROOT_BYTES_MAX) {
        return err_set(err, "a certificate of %zu bytes, over the limit of %u", der->len,
                       ROOT_BYTES_MAX);
    }
    const uint8_t *end = der->data;
    out->cert = der->len == 0 ? NULL : d2i_X509(NULL, &end, (long)der->len);
    if (out->cert == NULL) {
        return err_set(err, "not a DER certificate");
    }
    if (end != der->data + der->len) {
        return err_set(err, "%zu bytes follow the certificate",
                       (size_t)(der->data + der->len - end));
    }
    if (!cert_time_read(&out->not_before, X509_get0_notBefore(out->cert)) ||
        !cert_time_read(&out->not_after, X509_get0_notAfter(out->cert))) {
        return err_set(err, "its validity is not a pair of times");
    }
    return authority_check(out->cert, err) &&
           authority_id_check(out->cert, bundle->domain, bundle->domain_len, err);
}

static int digest_compare(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_DIGEST_LENGTH);
}

// Hashes each blob and sorts the hashes, so that the order in a file doesn't count.
static void digest_blobs(SHA256_CTX *sha, const ProtobufCBinaryData *blobs, size_t num)
{
    // num is at most TRUST_BUNDLE_ROOTS_MAX or TRUST_BUNDLE_CRLS_MAX.
    uint8_t digests[TRUST_BUNDLE_ROOTS_MAX][SHA256_DIGEST_LENGTH];
    _Static_assert(TRUST_BUNDLE_CRLS_MAX <= TRUST_BUNDLE_ROOTS_MAX, "one array serves both");
    for (size_t i = 0; i < num; i++) {
        SHA256(blobs[i].data, blobs[i].len, digests[i]);
    }
    qsort(digests, num, sizeof digests[0], digest_compare);
    uint8_t count = (uint8_t)num;
    SHA256_Update(sha, &count, sizeof count);
    SHA256_Update(sha, digests, num * sizeof digests[0]);
}

// The domain is part of the digest: the same roots under another name prove other peers.
static void digest_bundle(struct trust_bundle *bundle, const Tabard__V1__TrustBundle *source)
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, bundle->domain, bundle->domain_len + 1);
    digest_blobs(&sha, source->roots, source->n_roots);
    digest_blobs(&sha, source->crls, source->n_crls);
    SHA256_Final(bundle->digest, &sha);
}

static bool read_roots(struct trust_bundle *out, const Tabard__V1__TrustBundle *source,
                       struct err *err)
{
    if (source->n_roots == 0 || source->n_roots > TRUST_BUNDLE_ROOTS_MAX) {
        return err_set_at(err, "roots", "%zu certificates; a trust bundle has 1 to %d",
                          source->n_roots, TRUST_BUNDLE_ROOTS_MAX);
    }
    out->roots = must_alloc(source->n_roots, sizeof out->roots[0]);
    for (size_t i = 0; i < source->n_roots; i++) {
        out->num_roots = i + 1;
        if (!read_root(&out->roots[i], &source->roots[i], out, err)) {
            return err_prefix_where(err, "roots[%zu]", i);
        }
    }
    return true;
}

// Refuses a CRL that is older than one of the same issuer in force: what was revoked stays so.
static bool check_order(const struct crl *crl, const struct trust_bundle *in_force, struct err *err)
{
    char issuer[CRL_ISSUER_TEXT];
    for (size_t i = 0; in_force != NULL && i < in_force->num_crls; i++) {
        if (crl_same_issuer(crl, &in_force->crls[i]) && crl_is_older(crl, &in_force->crls[i])) {
            return err_set(err,
                           "older than the CRL of the same issuer (%s) that is in force: its "
                           "cRLNumber, or its thisUpdate, went back",
                           crl_issuer_text(crl, issuer));
        }
    }
    return true;
}

static bool read_crls(struct trust_bundle *out, const Tabard__V1__TrustBundle *source,
                      const struct trust_load *load, time_t now, struct err *err)
{
    const struct trust_bundle *in_force =
        trust_bundles_find(load->in_force, out->domain, out->domain_len);
    if (source->n_crls > TRUST_BUNDLE_CRLS_MAX) {
        return err_set_at(err, "crls", "%zu CRLs; a trust bundle has at most %d", source->n_crls,
                          TRUST_BUNDLE_CRLS_MAX);
    }
    if (source->n_crls == 0) {
        return true;
    }
    out->crls = must_alloc(source->n_crls, sizeof out->crls[0]);
    for (size_t i = 0; i < source->n_crls; i++) {
        const ProtobufCBinaryData *der = &source->crls[i];
        if (!crl_read(&out->crls[i], der->data, der->len, out, load, now, err)) {
            return err_prefix_where(err, "crls[%zu]", i);
        }
        out->num_crls = i + 1;
        if (!check_order(&out->crls[i], in_force, err)) {
            return err_prefix_where(err, "crls[%zu]", i);
        }
    }
    return true;
}

static bool read_bundle(struct trust_bundle *out, const Tabard__V1__TrustBundle *source,
                        const struct trust_load *load, time_t now, struct err *err)
{
    size_t len = strlen(source->trust_domain);
    if (!spiffe_trust_domain_check(source->trust_domain, len, err)) {
        return err_prefix_where(err, "trust_domain");
    }
    out->domain = must_strdup(source->trust_domain);
    out->domain_len = len;
    if (!read_roots(out, source, err) || !read_crls(out, source, load, now, err)) {
        return false;
    }
    digest_bundle(out, source);
    return true;
}

struct trust_bundles *trust_bundles_read(Tabard__V1__TrustBundle *const *bundles,
                                         size_t num_bundles, const struct trust_load *load,
                                         time_t now, struct err *err)
{
    if (num_bundles > TRUST_BUNDLES_MAX) {
        err_set_at(err, "trust_bundles", "%zu bundles, more than %d", num_bundles,
                   TRUST_BUNDLES_MAX);
        return NULL;
    }
    struct trust_bundles *out = must_alloc(1, sizeof *out);
    struct trust_bundle *items = must_alloc(num_bundles, sizeof *items);
    out->items = items;
    bool ok = true;
    for (size_t i = 0; ok && i < num_bundles; i++) {
        out->num = i + 1;
        ok = read_bundle(&items[i], bundles[i], load, now, err);
        for (size_t j = 0; ok && j < i; j++) {
            if (domain_compare(&items[j], &items[i]) == 0) {
                ok = err_set_at(err, "trust_domain",
                                "\"%s\" has a bundle already, trust_bundles[%zu]", items[i].domain,
                                j);
            }
        }
        if (!ok) {
            err_prefix_where(err, "trust_bundles[%zu]", i);
        }
    }
    // A handshake on this thread must not find what was left behind here.
    ERR_clear_error();
    if (!ok) {
        trust_bundles_free(out);
        return NULL;
    }
    qsort(items, num_bundles, sizeof *items, domain_compare);
    return out;
}

struct trust_bundles *trust_bundles_new(Tabard__V1__TrustBundle *const *bundles, size_t num_bundles,
                                        time_t now, struct err *err)
{
    const struct trust_load nothing = {.in_force = NULL};
    return trust_bundles_read(bundles, num_bundles, &nothing, now, err);
}

void trust_bundles_free(struct trust_bundles *bundles)
{
    if (bundles == NULL) {
        return;
    }
    for (size_t i = 0; i < bundles->num; i++) {
        struct trust_bundle *bundle = &bundles->items[i];
        for (size_t j = 0; j < bundle->num_roots; j++) {
            X509_free(bundle->roots[j].cert);
        }
        for (size_t j = 0; j < bundle->num_crls; j++) {
            crl_cleanup(&bundle->crls[j]);
        }
        free(bundle->roots);
        free(bundle->crls);
        free(bundle->domain);
    }
    free(bundles->items);
    free(bundles);
}

const struct trust_bundle *trust_bundles_find(const struct trust_bundles *bundles,
                                              const char *trust_domain, size_t trust_domain_len)
{
    if (bundles == NULL || bundles->num == 0) {
        return NULL;
    }
    const struct trust_bundle key = {.domain = (char *)trust_domain,
                                     .domain_len = trust_domain_len};
    return bsearch(&key, bundles->items, bundles->num, sizeof bundles->items[0], domain_compare);
}

const uint8_t *trust_bundle_digest(const struct trust_bundle *bundle)
{
    return bundle->digest;
}

time_t trust_bundle_next_update(const struct trust_bundle *bundle)
{
    time_t earliest = INT64_MAX;
    for (size_t i = 0; i < bundle->num_crls; i++) {
        if (bundle->crls[i].next_update < earliest) {
            earliest = bundle->crls[i].next_update;
        }
    }
    return earliest;
}

const char *trust_bundle_unproved(const struct trust_bundle *bundle, size_t index, char *buf)
{
    for (size_t i = 0; i < bundle->num_crls; i++) {
        if (bundle->crls[i].unproved != NULL && index-- == 0) {
            return crl_issuer_text(&bundle->crls[i], buf);
        }
    }
    return NULL;
}

static bool has_successor(const struct trust_bundle *bundle, const struct crl *crl)
{
    for (size_t i = 0; i < bundle->num_crls; i++) {
        if (crl_same_issuer(&bundle->crls[i], crl)) {
            return true;
        }
    }
    return false;
}

const char *trust_bundles_withdrawn(const struct trust_bundles *now,
                                    const struct trust_bundles *before, size_t index, char *buf)
{
    for (size_t i = 0; before != NULL && i < before->num; i++) {
        const struct trust_bundle *old = &before->items[i];
        const struct trust_bundle *bundle = trust_bundles_find(now, old->domain, old->domain_len);
        for (size_t j = 0; bundle != NULL && j < old->num_crls; j++) {
            if (!has_successor(bundle, &old->crls[j]) && index-- == 0) {
                return crl_issuer_text(&old->crls[j], buf);
            }
        }
    }
    return NULL;
}
