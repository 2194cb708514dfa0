// SPDX-License-Identifier: Apache-2.0
//
// A peer's certificate chain and a set of trust bundles make one SPIFFE id, or a reason why not
// (X509-SVID, sections 2 to 5; RFC 5280, section 6). Pure: `now` is an argument, and any thread may
// verify. Bounded by VERIFY_CHAIN_MAX and VERIFY_CHAIN_BYTES_MAX. This says who a peer is; what the
// peer may do is for proxy/rules/policy.h to say.
#ifndef TABARD_CERTS_VERIFY_H
#define TABARD_CERTS_VERIFY_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/identity.h"

#define VERIFY_CHAIN_MAX 10 // certificates that a peer may send
// Of a chain, as it stands in a Certificate message (RFC 8446, section 4.4.2). A longer message of
// a peer is cut off before anything is parsed, and an own chain must fit into the peers' limit.
#define VERIFY_CHAIN_BYTES_MAX (32u << 10)

// Why a chain proves nobody. The texts are stable: they are metric labels and log values
// (verify_failure_text).
#define VERIFY_FAILURES(X)                                                                         \
    X(VERIFY_OK, "ok")                                                                             \
    X(VERIFY_NO_CERTIFICATE, "no_certificate")                                                     \
    X(VERIFY_TOO_LONG, "chain_too_long")                                                           \
    X(VERIFY_UNPARSABLE, "certificate_unparsable")                                                 \
    X(VERIFY_NO_URI_SAN, "no_uri_san")                                                             \
    X(VERIFY_MANY_URI_SANS, "many_uri_sans")                                                       \
    X(VERIFY_BAD_SPIFFE_ID, "bad_spiffe_id")                                                       \
    X(VERIFY_LEAF_IS_CA, "leaf_is_ca")                                                             \
    X(VERIFY_LEAF_KEY_USAGE, "leaf_key_usage")                                                     \
    X(VERIFY_WEAK_KEY, "weak_key")                                                                 \
    X(VERIFY_UNKNOWN_TRUST_DOMAIN, "unknown_trust_domain")                                         \
    X(VERIFY_UNTRUSTED_CHAIN, "untrusted_chain")                                                   \
    X(VERIFY_EXPIRED, "expired")                                                                   \
    X(VERIFY_NOT_YET_VALID, "not_yet_valid")                                                       \
    X(VERIFY_REVOKED, "revoked")                                                                   \
    X(VERIFY_CRL_STALE, "crl_stale")

enum verify_failure {
#define X(name, text) name,
    VERIFY_FAILURES(X)
#undef X
};
const char *verify_failure_text(enum verify_failure failure);

struct verified_peer {
    char id[SPIFFE_ID_LEN_MAX + 1]; // NUL-terminated; the id itself holds no NUL
    size_t id_len;
    size_t domain_len;         // of the trust domain that starts at id + strlen("spiffe://")
    time_t not_after;          // the earliest notAfter of the chain that was built, root included
    uint8_t bundle_digest[32]; // of the bundle that proved it
};

// verify_peer checks a chain of DER certificates, leaf first, as CRYPTO_BUFFERs (borrowed). It
// fills *out only on VERIFY_OK; any other result sets err to words that name the certificate and
// the check. Both roles use it: the extended key usage, if present, must hold clientAuth and
// serverAuth. Revocation: every certificate of the chain that was built is looked up in the CRL of
// its issuer where the bundle has one; a CRL past its nextUpdate at `now` is VERIFY_CRL_STALE.
enum verify_failure verify_peer(struct verified_peer *out, CRYPTO_BUFFER *const *chain,
                                size_t num_certs, const struct trust_bundles *bundles, time_t now,
                                struct err *err);

#endif
