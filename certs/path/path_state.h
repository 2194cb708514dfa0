// SPDX-License-Identifier: Apache-2.0
//
// Judges the certificates of a path one after the other, from the trust anchor down to the leaf
// (RFC 5280, section 6.1): the state holds what the certificates above demand of those below. It
// doesn't look at signatures and revocation, which certs/path/path.c does, once for each pair.
//
// A root counts as a certificate, not as a bare key: its times, its pathLen, its critical
// extensions, its extended key usage and its name constraints are kept, as OpenSSL and Go keep
// them; its policies are not. Pure: `now` is an argument.
#ifndef TABARD_CERTS_PATH_PATH_STATE_H
#define TABARD_CERTS_PATH_PATH_STATE_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/chain.h"
#include "certs/path/name_limits.h"
#include "certs/path/policies.h"
#include "certs/path/verify.h"

#define PATH_LEN_MAX        (CHAIN_CERTS_MAX + 1) // all that a peer may send, and a root
#define PATH_EXTENSIONS_MAX 32                    // of a certificate
// Comparisons of a name with a name constraint, in one verification.
#define PATH_NAMES_MAX (1u << 15)

// A certificate that may stand in a path. Its extensions are read when a path first reaches it.
struct path_cert {
    X509 *cert; // borrowed
    time_t not_before;
    time_t not_after;
    bool is_self_issued; // its issuer has its own name (RFC 5280, section 3.2)
    bool is_read;        // limits and policies are set
    struct name_limits limits;
    struct cert_policies policies;
    GENERAL_NAMES *names; // owned; of its subjectAltName, once it was compared; NULL: none
};

// path_cert_init sets all but the extensions. false: its times can't be read, and err says so.
bool path_cert_init(struct path_cert *out, X509 *cert, struct err *err);
void path_cert_cleanup(struct path_cert *cert);

// path_extensions_check says, before anything is read, whether a certificate has at most
// PATH_EXTENSIONS_MAX extensions, none of them twice (RFC 5280, section 4.2). false sets err.
bool path_extensions_check(const X509 *cert, struct err *err);

// What holds for the certificates below the last one. It is copied freely, since paths fork.
struct path_state {
    size_t num_left;  // CAs that are not self-issued and may still follow; SIZE_MAX: any number
    time_t not_after; // the earliest of the path
    const struct name_limits *limits[PATH_LEN_MAX]; // borrowed from the path's certificates
    size_t num_limits;
    struct policy_state policies;
};

// What all paths of one verification are judged by.
struct path_rules {
    const char *domain; // borrowed; the trust domain
    size_t domain_len;
    time_t now;
    size_t num_names; // comparisons of names made so far; see PATH_NAMES_MAX
};

// path_state_start begins a path at a root. path_state_next takes the next certificate down, whose
// issuer is the last one; `is_leaf` says that it ends the path. Any result but VERIFY_OK sets err
// and leaves the state of no use. VERIFY_TOO_MUCH_WORK: PATH_NAMES_MAX is used up.
enum verify_failure path_state_start(struct path_state *out, struct path_cert *root,
                                     struct path_rules *rules, struct err *err);
enum verify_failure path_state_next(struct path_state *state, struct path_cert *cert, bool is_leaf,
                                    struct path_rules *rules, struct err *err);

#endif
