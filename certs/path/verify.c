// SPDX-License-Identifier: Apache-2.0
#include "certs/path/verify.h"

#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/key.h"
#include "certs/path/elements.h"
#include "certs/path/path.h"
#include "certs/path/path_state.h"

// One verification under way.
struct verification {
    X509 *certs[CHAIN_CERTS_MAX]; // owned; what the peer sent, leaf first
    size_t num_certs;
    struct cert_uris leaf_uris; // owned; `id` borrows its text from here
    struct spiffe_id id;
    const struct trust_bundle *bundle; // borrowed; of the leaf's own trust domain
    time_t now;
    time_t not_after;
};

const char *verify_failure_text(enum verify_failure failure)
{
    static const char *const texts[] = {[VERIFY_OK] = "ok",
#define X(name, text, alert) [VERIFY_##name] = text,
                                        VERIFY_FAILURES(X)
#undef X
    };
    return texts[failure];
}

// Sets err and returns the failure, so that a check is one return statement.
#define fail(failure, err, ...) (err_set((err), __VA_ARGS__), (failure))

// Returns the length of a Certificate message that holds these, without extensions.
static size_t message_len(CRYPTO_BUFFER *const *chain, size_t num_certs)
{
    size_t len = 1 + 3;
    for (size_t i = 0; i < num_certs; i++) {
        len += 3 + CRYPTO_BUFFER_len(chain[i]) + 2;
    }
    return len;
}

// Whether a certificate stands in the chain before: it is then of no further use.
static bool is_repeated(CRYPTO_BUFFER *const *chain, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (CRYPTO_BUFFER_len(chain[i]) == CRYPTO_BUFFER_len(chain[at]) &&
            memcmp(CRYPTO_BUFFER_data(chain[i]), CRYPTO_BUFFER_data(chain[at]),
                   CRYPTO_BUFFER_len(chain[at])) == 0) {
            return true;
        }
    }
    return false;
}

static enum verify_failure parse(struct verification *v, CRYPTO_BUFFER *const *chain,
                                 size_t num_certs, struct err *err)
{
    if (num_certs == 0) {
        return fail(VERIFY_NO_CERTIFICATE, err, "the peer sent no certificate");
    }
    if (num_certs > CHAIN_CERTS_MAX) {
        return fail(VERIFY_CHAIN_TOO_LONG, err, "the peer sent %zu certificates, more than %d",
                    num_certs, CHAIN_CERTS_MAX);
    }
    size_t total_len = message_len(chain, num_certs);
    if (total_len > CHAIN_BYTES_MAX) {
        return fail(VERIFY_CHAIN_TOO_LONG, err, "the chain takes %zu bytes, more than %u",
                    total_len, CHAIN_BYTES_MAX);
    }
    size_t num_elements = 0;
    for (size_t i = 0; i < num_certs; i++) {
        if (is_repeated(chain, i)) {
            continue;
        }
        const uint8_t *der = CRYPTO_BUFFER_data(chain[i]);
        size_t len = CRYPTO_BUFFER_len(chain[i]);
        const uint8_t *end = der;
        bool is_der = elements_count(&num_elements, der, len);
        if (is_der && num_elements > ELEMENTS_MAX) {
            return fail(VERIFY_TOO_MUCH_WORK, err, "the chain has more than %d elements of DER",
                        ELEMENTS_MAX);
        }
        X509 *cert = is_der ? d2i_X509(NULL, &end, (long)len) : NULL;
        bool ok = cert != NULL || err_set(err, "it is not DER X.509");
        if (ok) {
            v->certs[v->num_certs++] = cert;
            ok = end == der + len || err_set(err, "%zu bytes follow it", (size_t)(der + len - end));
        }
        if (!ok || !path_extensions_check(cert, err)) {
            cert_err_prefix(err, i, cert);
            return VERIFY_CERTIFICATE_UNPARSABLE;
        }
    }
    if ((X509_get_extension_flags(v->certs[0]) & EXFLAG_INVALID) != 0) {
        return fail(VERIFY_CERTIFICATE_UNPARSABLE, err,
                    "the leaf: an extension of it can't be read");
    }
    return VERIFY_OK;
}

// The leaf's one URI SAN is its identity (X509-SVID, sections 2 and 5.2). Other kinds of names are
// allowed and ignored.
static enum verify_failure read_leaf_id(struct verification *v, struct err *err)
{
    if (!cert_uris_read(&v->leaf_uris, v->certs[0])) {
        return fail(VERIFY_CERTIFICATE_UNPARSABLE, err, "the leaf's subjectAltName can't be read");
    }
    size_t num_uris = v->leaf_uris.num;
    if (num_uris == 0) {
        return fail(VERIFY_NO_URI_SAN, err, "the leaf has no URI subjectAltName, so no SPIFFE id");
    }
    if (num_uris > 1) {
        return fail(VERIFY_MANY_URI_SANS, err,
                    "the leaf has %zu URI subjectAltNames; an X.509-SVID has exactly one",
                    num_uris);
    }
    size_t len = 0;
    const char *text = cert_uri(&v->leaf_uris, 0, &len);
    if (!spiffe_workload_parse(&v->id, text, len, err)) {
        err_prefix(err, "the leaf's URI subjectAltName");
        return VERIFY_BAD_SPIFFE_ID;
    }
    return VERIFY_OK;
}

static bool is_critical(const X509 *cert, int nid)
{
    int at = X509_get_ext_by_NID(cert, nid, -1);
    return at >= 0 && X509_EXTENSION_get_critical(X509_get_ext(cert, at)) == 1;
}

// Checks that the leaf may authenticate a workload (X509-SVID, sections 4.1, 4.3, 4.4 and 5.2).
static enum verify_failure check_leaf_use(X509 *leaf, struct err *err)
{
    uint32_t flags = X509_get_extension_flags(leaf);
    if ((flags & EXFLAG_CA) != 0) {
        return fail(VERIFY_LEAF_IS_CA, err,
                    "the leaf is a CA; a signing certificate authenticates nobody");
    }
    if ((flags & EXFLAG_KUSAGE) == 0) {
        return fail(VERIFY_LEAF_KEY_USAGE, err, "the leaf has no keyUsage");
    }
    if (!is_critical(leaf, NID_key_usage)) {
        return fail(VERIFY_LEAF_KEY_USAGE, err, "the leaf's keyUsage is not critical");
    }
    uint32_t usage = X509_get_key_usage(leaf);
    if ((usage & KU_DIGITAL_SIGNATURE) == 0) {
        return fail(VERIFY_LEAF_KEY_USAGE, err, "the leaf's keyUsage lacks digitalSignature");
    }
    if ((usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0) {
        return fail(VERIFY_LEAF_KEY_USAGE, err,
                    "the leaf's keyUsage holds keyCertSign or cRLSign, which a workload must not");
    }
    const uint32_t both = XKU_SSL_SERVER | XKU_SSL_CLIENT;
    if ((flags & EXFLAG_XKUSAGE) != 0 && (X509_get_extended_key_usage(leaf) & both) != both) {
        return fail(VERIFY_LEAF_KEY_USAGE, err,
                    "the leaf's extendedKeyUsage must hold serverAuth and clientAuth, or be "
                    "absent");
    }
    return VERIFY_OK;
}

static enum verify_failure check_leaf_key(X509 *leaf, struct err *err)
{
    EVP_PKEY *key = X509_get_pubkey(leaf);
    bool is_accepted = key_check(key, err) || err_prefix(err, "the leaf");
    EVP_PKEY_free(key);
    return is_accepted ? VERIFY_OK : VERIFY_WEAK_KEY;
}

static enum verify_failure check_all(struct verification *v, CRYPTO_BUFFER *const *chain,
                                     size_t num_certs, const struct trust_bundles *bundles,
                                     struct err *err)
{
    enum verify_failure failure = parse(v, chain, num_certs, err);
    if (failure != VERIFY_OK) {
        return failure;
    }
    if ((failure = read_leaf_id(v, err)) != VERIFY_OK) {
        return failure;
    }
    if ((failure = check_leaf_use(v->certs[0], err)) != VERIFY_OK) {
        return failure;
    }
    if ((failure = check_leaf_key(v->certs[0], err)) != VERIFY_OK) {
        return failure;
    }
    v->bundle = trust_bundles_find(bundles, v->id.domain, v->id.domain_len);
    if (v->bundle == NULL) {
        return fail(VERIFY_UNKNOWN_TRUST_DOMAIN, err, "no trust bundle for the trust domain %.*s",
                    (int)v->id.domain_len, v->id.domain);
    }
    return path_find(&v->not_after, v->certs, v->num_certs, v->bundle, v->now, err);
}

enum verify_failure verify_peer(struct verified_peer *out, CRYPTO_BUFFER *const *chain,
                                size_t num_certs, const struct trust_bundles *bundles, time_t now,
                                struct err *err)
{
    struct verification v = {.now = now};
    enum verify_failure failure = check_all(&v, chain, num_certs, bundles, err);
    if (failure == VERIFY_OK) {
        memcpy(out->id, v.id.text, v.id.text_len);
        out->id[v.id.text_len] = '\0';
        out->id_len = v.id.text_len;
        out->domain_len = v.id.domain_len;
        cert_time_read(&out->not_before, X509_get0_notBefore(v.certs[0]));
        out->not_after = v.not_after;
        memcpy(out->bundle_digest, trust_bundle_digest(v.bundle), sizeof out->bundle_digest);
    }
    cert_uris_cleanup(&v.leaf_uris);
    for (size_t i = 0; i < v.num_certs; i++) {
        X509_free(v.certs[i]);
    }
    // This runs inside a handshake, whose SSL_get_error reads the thread's error queue.
    ERR_clear_error();
    return failure;
}
