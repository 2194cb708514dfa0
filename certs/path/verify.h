// SPDX-License-Identifier: Apache-2.0
//
// Verifies a peer's certificate chain against trust bundles, which gives the peer's SPIFFE id, or
// the reason why there is none (X509-SVID, sections 2 to 5; RFC 5280, section 6). Pure: `now` is an
// argument, and any thread may verify. Bounded by CHAIN_CERTS_MAX and CHAIN_BYTES_MAX
// (certs/chain.h), by ELEMENTS_MAX (certs/path/elements.h), and by the limits of certs/path/path.h.
// This says who a peer is; proxy/rules/policy.h says what it may do.
#ifndef TABARD_CERTS_PATH_VERIFY_H
#define TABARD_CERTS_PATH_VERIFY_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/identity.h"

// The TLS alerts that Tabard chooses to send (RFC 8446, section 6), for files that include no
// <openssl/ssl.h>.
enum tls_alert {
    ALERT_NONE = -1, // BoringSSL sends its own, or none fits
    ALERT_BAD_CERTIFICATE = 42,
    ALERT_CERTIFICATE_REVOKED = 44,
    ALERT_CERTIFICATE_EXPIRED = 45,
    ALERT_CERTIFICATE_UNKNOWN = 46,
    ALERT_UNKNOWN_CA = 48,
    ALERT_ACCESS_DENIED = 49,
    ALERT_DECODE_ERROR = 50,
    ALERT_INSUFFICIENT_SECURITY = 71,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_UNRECOGNIZED_NAME = 112,
    ALERT_CERTIFICATE_REQUIRED = 116,
};

// Why a chain proves nobody: X(name, text, alert). The texts are stable: they are metric labels and
// log values (verify_failure_text). The alerts tell the peer.
#define VERIFY_FAILURES(X)                                                                         \
    X(NO_CERTIFICATE, "no_certificate", ALERT_CERTIFICATE_REQUIRED)                                \
    X(CHAIN_TOO_LONG, "chain_too_long", ALERT_BAD_CERTIFICATE)                                     \
    X(CERTIFICATE_UNPARSABLE, "certificate_unparsable", ALERT_BAD_CERTIFICATE)                     \
    X(NO_URI_SAN, "no_uri_san", ALERT_BAD_CERTIFICATE)                                             \
    X(MANY_URI_SANS, "many_uri_sans", ALERT_BAD_CERTIFICATE)                                       \
    X(BAD_SPIFFE_ID, "bad_spiffe_id", ALERT_BAD_CERTIFICATE)                                       \
    X(LEAF_IS_CA, "leaf_is_ca", ALERT_BAD_CERTIFICATE)                                             \
    X(LEAF_KEY_USAGE, "leaf_key_usage", ALERT_BAD_CERTIFICATE)                                     \
    X(WEAK_KEY, "weak_key", ALERT_BAD_CERTIFICATE)                                                 \
    X(UNKNOWN_TRUST_DOMAIN, "unknown_trust_domain", ALERT_UNKNOWN_CA)                              \
    X(UNTRUSTED_CHAIN, "untrusted_chain", ALERT_UNKNOWN_CA)                                        \
    X(TOO_MUCH_WORK, "too_much_work", ALERT_BAD_CERTIFICATE)                                       \
    X(EXPIRED, "expired", ALERT_CERTIFICATE_EXPIRED)                                               \
    X(NOT_YET_VALID, "not_yet_valid", ALERT_BAD_CERTIFICATE)                                       \
    X(REVOKED, "revoked", ALERT_CERTIFICATE_REVOKED)                                               \
    X(CRL_STALE, "crl_stale", ALERT_CERTIFICATE_UNKNOWN)                                           \
    X(CRL_UNUSABLE, "crl_unusable", ALERT_CERTIFICATE_UNKNOWN)

enum verify_failure {
    VERIFY_OK,
#define X(name, text, alert) VERIFY_##name,
    VERIFY_FAILURES(X)
#undef X
};
const char *verify_failure_text(enum verify_failure failure);

struct verified_peer {
    char id[SPIFFE_ID_LEN_MAX + 1]; // NUL-terminated; the id itself holds no NUL
    size_t id_len;
    size_t domain_len;         // of the trust domain that starts at id + strlen("spiffe://")
    time_t not_before;         // the leaf's
    time_t not_after;          // the earliest notAfter of the path that proves it, root included
    uint8_t bundle_digest[32]; // of the bundle that proved it
};

// verify_peer checks a chain of DER certificates, leaf first, as CRYPTO_BUFFERs (borrowed). It
// fills *out only on VERIFY_OK; any other result sets err to words that name the certificate and
// the check. Both roles use it: the extended key usage, if present, must hold clientAuth and
// serverAuth. Any path from a root to the leaf will do; certs/path/path.h says how it is found, and
// what revokes it.
enum verify_failure verify_peer(struct verified_peer *out, CRYPTO_BUFFER *const *chain,
                                size_t num_certs, const struct trust_bundles *bundles, time_t now,
                                struct err *err);

#endif
