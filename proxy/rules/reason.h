// SPDX-License-Identifier: Apache-2.0
//
// Why connections end: one list of enum, text (log value and metric label), the TLS alert that
// tells the peer, and how often it is logged. No end is told by alert 90 (user
// canceled), which OpenSSL, Go, BoringSSL and NSS pass over in TLS 1.3, so that what came before it
// would look complete (RFC 8446, sections 6.1 and 6.2). To add a reason: one line here, or in
// certs/path/verify.h for what the verifier finds.
#ifndef TABARD_PROXY_RULES_REASON_H
#define TABARD_PROXY_RULES_REASON_H

#include <stdbool.h>

#include "certs/path/verify.h"

// X(enum, text, alert, logged). A reason that a flood of connections can bring, of our own service
// or of one peer, is logged SELDOM: some have a line, which says for how many others it stands.
// EACH end of any other reason has a line of its own, but those of strangers
// (proxy/conn/closing.c). The metrics count all. VERIFY_FAILURES and REASONS both expand a macro of
// the name X.
#define REASON_OF_FAILURE(name, text, alert) X(REASON_##name, text, alert, EACH)
#define REASONS(X)                                                                                 \
    X(REASON_NONE, "none", ALERT_NONE, EACH)                                                       \
    X(REASON_FINISHED, "finished", ALERT_NONE, EACH)                                               \
    /* The other end of the mesh. */                                                               \
    X(REASON_PEER_CLOSED, "peer_closed_in_handshake", ALERT_NONE, EACH)                            \
    X(REASON_PEER_RESET, "peer_reset", ALERT_NONE, EACH)                                           \
    X(REASON_PEER_ALERT, "peer_alert", ALERT_NONE, EACH)                                           \
    X(REASON_TRUNCATED, "truncated", ALERT_DECODE_ERROR, EACH)                                     \
    X(REASON_PLAINTEXT_ON_MTLS, "plaintext_on_mtls", ALERT_NONE, EACH)                             \
    X(REASON_TLS_ON_PLAINTEXT, "tls_on_plaintext", ALERT_NONE, EACH)                               \
    X(REASON_TLS_VERSION, "tls_version", ALERT_NONE, EACH)                                         \
    /* By BoringSSL's alert, but where the demand came after the group was chosen. */              \
    X(REASON_NO_SHARED_GROUP, "no_shared_group", ALERT_INSUFFICIENT_SECURITY, EACH)                \
    X(REASON_NO_SHARED_SIGNATURE, "no_shared_signature", ALERT_NONE, EACH)                         \
    X(REASON_ALPN_REFUSED, "alpn_refused", ALERT_NONE, EACH)                                       \
    X(REASON_MISDIRECTED, "misdirected", ALERT_UNRECOGNIZED_NAME, EACH)                            \
    X(REASON_UNBOUND, "unbound_destination", ALERT_ACCESS_DENIED, EACH)                            \
    X(REASON_TLS_ERROR, "tls_error", ALERT_NONE, EACH)                                             \
    X(REASON_HANDSHAKE_TIMEOUT, "handshake_timeout", ALERT_NONE, EACH)                             \
    VERIFY_FAILURES(REASON_OF_FAILURE)                                                             \
    X(REASON_PEER_EXPIRED, "peer_expired", ALERT_CERTIFICATE_EXPIRED, EACH)                        \
    X(REASON_WRONG_IDENTITY, "wrong_identity", ALERT_ACCESS_DENIED, EACH)                          \
    /* Policy. */                                                                                  \
    X(REASON_POLICY_DENIED, "policy_denied", ALERT_ACCESS_DENIED, EACH)                            \
    X(REASON_POLICY_REVOKED, "policy_revoked", ALERT_ACCESS_DENIED, EACH)                          \
    X(REASON_UNLISTED_DESTINATION, "unlisted_destination", ALERT_ACCESS_DENIED, EACH)              \
    /* This host. */                                                                               \
    X(REASON_NO_ORIGIN, "no_original_destination", ALERT_NONE, EACH)                               \
    X(REASON_LOOP, "loop", ALERT_NONE, EACH)                                                       \
    X(REASON_LOOPBACK, "loopback", ALERT_NONE, EACH)                                               \
    X(REASON_NOT_LOCAL, "not_local", ALERT_NONE, EACH)                                             \
    X(REASON_NO_SOURCE, "no_source_address", ALERT_INTERNAL_ERROR, EACH)                           \
    X(REASON_NO_LOCAL_PORT, "no_local_port", ALERT_INTERNAL_ERROR, EACH)                           \
    X(REASON_CONNECT_REFUSED, "connect_refused", ALERT_INTERNAL_ERROR, EACH)                       \
    X(REASON_CONNECT_TIMEOUT, "connect_timeout", ALERT_INTERNAL_ERROR, EACH)                       \
    X(REASON_CONNECT_FAILED, "connect_failed", ALERT_INTERNAL_ERROR, EACH)                         \
    X(REASON_LOCAL_RESET, "local_reset", ALERT_INTERNAL_ERROR, EACH)                               \
    X(REASON_IDLE, "idle", ALERT_INTERNAL_ERROR, EACH)                                             \
    X(REASON_HALF_CLOSED, "half_closed_timeout", ALERT_INTERNAL_ERROR, EACH)                       \
    /* Either end: the log's detail says which. */                                                 \
    X(REASON_STALLED, "stalled", ALERT_INTERNAL_ERROR, EACH)                                       \
    X(REASON_RESET_AFTER_END, "reset_after_end", ALERT_INTERNAL_ERROR, EACH)                       \
    /* Ourselves. */                                                                               \
    X(REASON_LIMIT_HELLOS, "limit_hellos", ALERT_NONE, SELDOM)                                     \
    X(REASON_LIMIT_HANDSHAKES, "limit_handshakes", ALERT_NONE, SELDOM)                             \
    X(REASON_LIMIT_IDENTITY, "limit_identity", ALERT_INTERNAL_ERROR, SELDOM)                       \
    X(REASON_LIMIT_BUFFERS, "limit_buffers", ALERT_INTERNAL_ERROR, EACH)                           \
    X(REASON_SIGN_FAILED, "sign_failed", ALERT_INTERNAL_ERROR, EACH)                               \
    X(REASON_SIGN_TIMEOUT, "sign_timeout", ALERT_INTERNAL_ERROR, EACH)                             \
    X(REASON_DRAINING, "draining", ALERT_INTERNAL_ERROR, EACH)

enum reason {
#define X(name, text, alert, logged) name,
    REASONS(X)
#undef X
        NUM_REASONS
};

const char *reason_text(enum reason reason);

// reason_alert returns the TLS alert that tells the peer, or ALERT_NONE.
enum tls_alert reason_alert(enum reason reason);

// reason_is_logged_seldom says whether one line may stand for many ends of this reason.
bool reason_is_logged_seldom(enum reason reason);

// reason_of_failure returns the reason for what the verifier found.
enum reason reason_of_failure(enum verify_failure failure);

#endif
