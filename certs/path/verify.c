// SPDX-License-Identifier: Apache-2.0
#include "certs/path/verify.h"

#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/must.h"
#include "certs/authority.h"
#include "certs/bundle_impl.h"
#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/key.h"
#include "certs/path/revocation.h"

#define SUBJECT_TEXT_MAX 200

// One verification under way.
struct verification {
    X509 *certs[CHAIN_CERTS_MAX]; // owned; what the peer sent, leaf first
    size_t num_certs;
    struct cert_uris leaf_uris; // owned; `id` borrows its text from here
    struct spiffe_id id;
    const struct trust_bundle *bundle; // borrowed; of the leaf's own trust domain
    STACK_OF(X509) * built;            // owned; leaf to root, as far as it could be built
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

// Puts before the message which certificate it is about, and whose if it could be read.
static enum verify_failure fail_at(enum verify_failure failure, size_t depth, X509 *cert,
                                   struct err *err)
{
    char subject[SUBJECT_TEXT_MAX];
    if (depth == 0) {
        err_prefix(err, "the leaf");
    } else if (cert != NULL &&
               X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof subject) != NULL) {
        err_prefix(err, "certificate %zu of the chain (%s)", depth, subject);
    } else {
        err_prefix(err, "certificate %zu of the chain", depth);
    }
    return failure;
}

// Returns the length of a Certificate message that holds these, without extensions.
static size_t message_len(CRYPTO_BUFFER *const *chain, size_t num_certs)
{
    size_t len = 1 + 3;
    for (size_t i = 0; i < num_certs; i++) {
        len += 3 + CRYPTO_BUFFER_len(chain[i]) + 2;
    }
    return len;
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
    for (size_t i = 0; i < num_certs; i++) {
        const uint8_t *der = CRYPTO_BUFFER_data(chain[i]);
        size_t len = CRYPTO_BUFFER_len(chain[i]);
        const uint8_t *end = der;
        X509 *cert = d2i_X509(NULL, &end, (long)len);
        if (cert == NULL) {
            err_set(err, "it is not DER X.509");
            return fail_at(VERIFY_CERTIFICATE_UNPARSABLE, i, NULL, err);
        }
        v->certs[v->num_certs++] = cert;
        if (end != der + len) {
            err_set(err, "%zu bytes follow it", (size_t)(der + len - end));
            return fail_at(VERIFY_CERTIFICATE_UNPARSABLE, i, cert, err);
        }
        if ((X509_get_extension_flags(cert) & EXFLAG_INVALID) != 0) {
            err_set(err, "an extension of it can't be read");
            return fail_at(VERIFY_CERTIFICATE_UNPARSABLE, i, cert, err);
        }
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

static enum verify_failure check_key(X509 *cert, size_t depth, struct err *err)
{
    EVP_PKEY *key = X509_get_pubkey(cert);
    bool is_accepted = key_check(key, err);
    EVP_PKEY_free(key);
    return is_accepted ? VERIFY_OK : fail_at(VERIFY_WEAK_KEY, depth, cert, err);
}

static void push(STACK_OF(X509) * stack, X509 *cert)
{
    must_have(sk_X509_push(stack, cert) != 0 ? stack : NULL);
}

// Returns the roots, those that are valid now first: a renewed root keeps its name and often its
// key, and the first match wins.
static STACK_OF(X509) * trusted_stack(const struct trust_bundle *bundle, time_t now)
{
    STACK_OF(X509) *stack = must_have(sk_X509_new_null());
    for (int want_valid = 1; want_valid >= 0; want_valid--) {
        for (size_t i = 0; i < bundle->num_roots; i++) {
            const struct bundle_root *root = &bundle->roots[i];
            bool is_valid = root->not_before <= now && now <= root->not_after;
            if (is_valid == (want_valid == 1)) {
                push(stack, root->cert);
            }
        }
    }
    return stack;
}

// Checks the keys and signatures of the chain, except the root's own signature, which proves
// nothing.
static enum verify_failure check_strength(const struct verification *v, bool is_complete,
                                          struct err *err)
{
    size_t num = v->built == NULL ? 0 : sk_X509_num(v->built);
    for (size_t i = 0; i < num; i++) {
        X509 *cert = sk_X509_value(v->built, i);
        enum verify_failure failure = check_key(cert, i, err);
        if (failure != VERIFY_OK) {
            return failure;
        }
        bool is_root = is_complete && i + 1 == num;
        const X509_ALGOR *algorithm;
        X509_get0_signature(NULL, &algorithm, cert);
        if (!is_root && !key_signature_check(algorithm, err)) {
            return fail_at(VERIFY_WEAK_KEY, i, cert, err);
        }
    }
    return VERIFY_OK;
}

static enum verify_failure map_failure(X509_STORE_CTX *ctx, struct err *err)
{
    int error = X509_STORE_CTX_get_error(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    X509 *cert = X509_STORE_CTX_get_current_cert(ctx);
    enum verify_failure failure = VERIFY_UNTRUSTED_CHAIN;
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        failure = VERIFY_EXPIRED;
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        failure = VERIFY_NOT_YET_VALID;
        break;
    default:
        break;
    }
    err_set(err, "%s", X509_verify_cert_error_string(error));
    if (cert == NULL || depth < 0) {
        return failure;
    }
    return fail_at(failure, (size_t)depth, cert, err);
}

// Builds the chain (RFC 5280, section 6) up to the roots of the leaf's own trust domain and nothing
// else: no default paths, no shared store. Purposes stay unset, because ours are stricter and are
// checked here (check_leaf_use, check_authorities).
static enum verify_failure build_chain(struct verification *v, struct err *err)
{
    STACK_OF(X509) *untrusted = must_have(sk_X509_new_null());
    STACK_OF(X509) *trusted = trusted_stack(v->bundle, v->now);
    X509_STORE *empty = must_have(X509_STORE_new());
    X509_STORE_CTX *ctx = must_have(X509_STORE_CTX_new());
    for (size_t i = 1; i < v->num_certs; i++) {
        push(untrusted, v->certs[i]);
    }
    must_have(X509_STORE_CTX_init(ctx, empty, v->certs[0], untrusted) == 1 ? ctx : NULL);
#if BORINGSSL_API_VERSION >= 32
    X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
#else
    X509_STORE_CTX_trusted_stack(ctx, trusted);
#endif
    // A bundle may hold a certificate that another CA signed; it is trusted for itself.
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_CTX_set_time(ctx, 0, v->now);
    X509_STORE_CTX_set_depth(ctx, CHAIN_CERTS_MAX);
    bool is_trusted = X509_verify_cert(ctx) == 1;
    v->built = X509_STORE_CTX_get1_chain(ctx);
    enum verify_failure failure = check_strength(v, is_trusted, err);
    if (failure == VERIFY_OK && !is_trusted) {
        failure = map_failure(ctx, err);
    } else if (failure == VERIFY_OK && (v->built == NULL || sk_X509_num(v->built) < 2)) {
        failure =
            fail(VERIFY_UNTRUSTED_CHAIN, err,
                 "the leaf itself is a root of the bundle; a root must have signed it instead");
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(empty);
    sk_X509_free(trusted);
    sk_X509_free(untrusted);
    return failure;
}

// Checks each certificate above the leaf (X509-SVID, sections 3.2, 4.1 and 4.3), and finds the
// earliest notAfter of the chain.
static enum verify_failure check_authorities(struct verification *v, struct err *err)
{
    size_t num = sk_X509_num(v->built);
    for (size_t i = 0; i < num; i++) {
        X509 *cert = sk_X509_value(v->built, i);
        if (i > 0 && (!authority_check(cert, err) ||
                      !authority_id_check(cert, v->id.domain, v->id.domain_len, err))) {
            return fail_at(VERIFY_UNTRUSTED_CHAIN, i, cert, err);
        }
        time_t not_after;
        if (!cert_time_read(&not_after, X509_get0_notAfter(cert))) {
            err_set(err, "its notAfter is not a time");
            return fail_at(VERIFY_CERTIFICATE_UNPARSABLE, i, cert, err);
        }
        if (i == 0 || not_after < v->not_after) {
            v->not_after = not_after;
        }
    }
    return VERIFY_OK;
}

static enum verify_failure check_revocation(const struct verification *v, struct err *err)
{
    if (v->bundle->num_crls == 0) {
        return VERIFY_OK;
    }
    size_t num = sk_X509_num(v->built);
    for (size_t i = 0; i + 1 < num; i++) {
        X509 *cert = sk_X509_value(v->built, i);
        enum verify_failure failure =
            revocation_check(v->bundle, cert, sk_X509_value(v->built, i + 1), v->now, err);
        if (failure != VERIFY_OK) {
            return fail_at(failure, i, cert, err);
        }
    }
    return VERIFY_OK;
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
    if ((failure = check_key(v->certs[0], 0, err)) != VERIFY_OK) {
        return failure;
    }
    v->bundle = trust_bundles_find(bundles, v->id.domain, v->id.domain_len);
    if (v->bundle == NULL) {
        return fail(VERIFY_UNKNOWN_TRUST_DOMAIN, err, "no trust bundle for the trust domain %.*s",
                    (int)v->id.domain_len, v->id.domain);
    }
    if ((failure = build_chain(v, err)) != VERIFY_OK) {
        return failure;
    }
    if ((failure = check_authorities(v, err)) != VERIFY_OK) {
        return failure;
    }
    return check_revocation(v, err);
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
        out->not_after = v.not_after;
        memcpy(out->bundle_digest, v.bundle->digest, sizeof out->bundle_digest);
    }
    sk_X509_pop_free(v.built, X509_free);
    cert_uris_cleanup(&v.leaf_uris);
    for (size_t i = 0; i < v.num_certs; i++) {
        X509_free(v.certs[i]);
    }
    // This runs inside a handshake, whose SSL_get_error reads the thread's error queue.
    ERR_clear_error();
    return failure;
}
