// SPDX-License-Identifier: Apache-2.0
//
// Why connections end: one list of enum, text (log value and metric label), group, and the TLS
// alert that tells the peer. Constant; any thread. To add a reason: one line here. It decides
// nothing.
#ifndef TABARD_PROXY_RULES_REASON_H
#define TABARD_PROXY_RULES_REASON_H

#include <stdint.h>

// Groups: who would have to act. PEER: the other end of the mesh. POLICY: whoever writes mesh.yaml.
// LOCAL: the service beside us or this host. OURS: Tabard itself.
enum reason_group {
    REASON_GROUP_NONE,
    REASON_GROUP_PEER,
    REASON_GROUP_POLICY,
    REASON_GROUP_LOCAL,
    REASON_GROUP_OURS
};

#define REASON_NO_ALERT (-1)

// X(enum, text, group, alert): the alert numbers are those of RFC 8446, section 6.
#define REASONS(X)                                                                                 \
    X(REASON_NONE, "none", NONE, REASON_NO_ALERT)                                                  \
    X(REASON_FINISHED, "finished", NONE, REASON_NO_ALERT)                                          \
    /* The other end of the mesh. */                                                               \
    X(REASON_PEER_CLOSED, "peer_closed_in_handshake", PEER, REASON_NO_ALERT)                       \
    X(REASON_PEER_RESET, "peer_reset", PEER, REASON_NO_ALERT)                                      \
    X(REASON_PEER_ALERT, "peer_alert", PEER, REASON_NO_ALERT)                                      \
    X(REASON_TRUNCATED, "truncated", PEER, REASON_NO_ALERT)                                        \
    X(REASON_PLAINTEXT_ON_MTLS, "plaintext_on_mtls", PEER, REASON_NO_ALERT)                        \
    X(REASON_TLS_VERSION, "tls_version", PEER, REASON_NO_ALERT)                                    \
    X(REASON_TLS_ERROR, "tls_error", PEER, REASON_NO_ALERT)                                        \
    X(REASON_HANDSHAKE_TIMEOUT, "handshake_timeout", PEER, REASON_NO_ALERT)                        \
    X(REASON_STALLED, "stalled", PEER, 90)                                                         \
    X(REASON_NO_CERTIFICATE, "no_certificate", PEER, 116)                                          \
    X(REASON_CHAIN_TOO_LONG, "chain_too_long", PEER, 42)                                           \
    X(REASON_CERTIFICATE_UNPARSABLE, "certificate_unparsable", PEER, 42)                           \
    X(REASON_NO_URI_SAN, "no_uri_san", PEER, 42)                                                   \
    X(REASON_MANY_URI_SANS, "many_uri_sans", PEER, 42)                                             \
    X(REASON_BAD_SPIFFE_ID, "bad_spiffe_id", PEER, 42)                                             \
    X(REASON_LEAF_IS_CA, "leaf_is_ca", PEER, 42)                                                   \
    X(REASON_LEAF_KEY_USAGE, "leaf_key_usage", PEER, 42)                                           \
    X(REASON_WEAK_KEY, "weak_key", PEER, 42)                                                       \
    X(REASON_UNKNOWN_TRUST_DOMAIN, "unknown_trust_domain", PEER, 48)                               \
    X(REASON_UNTRUSTED_CHAIN, "untrusted_chain", PEER, 48)                                         \
    X(REASON_EXPIRED, "expired", PEER, 45)                                                         \
    X(REASON_NOT_YET_VALID, "not_yet_valid", PEER, 42)                                             \
    X(REASON_REVOKED, "revoked", PEER, 44)                                                         \
    X(REASON_CRL_STALE, "crl_stale", PEER, 46)                                                     \
    X(REASON_PEER_EXPIRED, "peer_expired", PEER, 45)                                               \
    X(REASON_WRONG_IDENTITY, "wrong_identity", PEER, 49)                                           \
    /* Policy. */                                                                                  \
    X(REASON_POLICY_DENIED, "policy_denied", POLICY, 49)                                           \
    X(REASON_POLICY_REVOKED, "policy_revoked", POLICY, 49)                                         \
    X(REASON_UNLISTED_DESTINATION, "unlisted_destination", POLICY, REASON_NO_ALERT)                \
    /* This host. */                                                                               \
    X(REASON_NO_ORIGIN, "no_original_destination", LOCAL, REASON_NO_ALERT)                         \
    X(REASON_LOOP, "loop", LOCAL, REASON_NO_ALERT)                                                 \
    X(REASON_LOOPBACK, "loopback", LOCAL, REASON_NO_ALERT)                                         \
    X(REASON_NOT_LOCAL, "not_local", LOCAL, REASON_NO_ALERT)                                       \
    X(REASON_CONNECT_REFUSED, "connect_refused", LOCAL, 80)                                        \
    X(REASON_CONNECT_TIMEOUT, "connect_timeout", LOCAL, 80)                                        \
    X(REASON_CONNECT_FAILED, "connect_failed", LOCAL, 80)                                          \
    X(REASON_LOCAL_RESET, "local_reset", LOCAL, 90)                                                \
    X(REASON_IDLE, "idle", LOCAL, 90)                                                              \
    X(REASON_HALF_CLOSED, "half_closed_timeout", LOCAL, 90)                                        \
    /* Ourselves. */                                                                               \
    X(REASON_LIMIT_CONNECTIONS, "limit_connections", OURS, REASON_NO_ALERT)                        \
    X(REASON_LIMIT_HANDSHAKES, "limit_handshakes", OURS, REASON_NO_ALERT)                          \
    X(REASON_LIMIT_BUFFERS, "limit_buffers", OURS, 80)                                             \
    X(REASON_SIGN_FAILED, "sign_failed", OURS, 80)                                                 \
    X(REASON_DRAINING, "draining", OURS, 90)                                                       \
    X(REASON_NO_MEMORY, "no_memory", OURS, 80)

enum reason {
#define X(name, text, group, alert) name,
    REASONS(X)
#undef X
        NUM_REASONS
};

const char *reason_text(enum reason reason);
enum reason_group reason_group(enum reason reason);

// reason_alert returns the TLS alert that tells the peer, or REASON_NO_ALERT where BoringSSL sends
// its own or none fits.
int reason_alert(enum reason reason);

#endif
