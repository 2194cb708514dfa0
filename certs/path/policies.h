// SPDX-License-Identifier: Apache-2.0
//
// The certificate policies of a path (RFC 5280, sections 4.2.1.4, 4.2.1.5, 4.2.1.11, 4.2.1.14 and
// 6.1). The mesh asks for no policy, so all that policies can do is to refuse a path whose CAs
// require one that the certificates below them don't have. That needs no tree: the set of policies
// that are valid at a depth is enough (RFC 9618 says why a tree may grow without bound). Pure.
#ifndef TABARD_CERTS_PATH_POLICIES_H
#define TABARD_CERTS_PATH_POLICIES_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define CERT_POLICIES_MAX 32 // that a certificate may name or map, and that may be valid at a depth

// What one certificate says about policies. Zero state: nothing.
struct cert_policies {
    CERTIFICATEPOLICIES *named; // owned; NULL: none
    POLICY_MAPPINGS *mappings;  // owned; NULL: none
    size_t require_explicit;    // CERT_POLICIES_NO_LIMIT: it doesn't say
    size_t inhibit_mapping;     // likewise
    size_t inhibit_any;         // likewise
};
#define CERT_POLICIES_NO_LIMIT ((size_t)-1)

// cert_policies_read reads them. false sets err: an extension can't be read, or names more than
// CERT_POLICIES_MAX policies or one of them twice.
bool cert_policies_read(struct cert_policies *out, const X509 *cert, struct err *err);
void cert_policies_cleanup(struct cert_policies *policies);

// What a path allows so far, at the certificate last seen. Copied freely: it borrows the policies
// from the certificates of the path.
struct policy_state {
    const ASN1_OBJECT *valid[CERT_POLICIES_MAX]; // borrowed; without anyPolicy
    size_t num_valid;
    bool has_any; // anyPolicy is valid
    // How many certificates may still follow, those that are self-issued not counted, until an
    // explicit policy is required, mappings are inhibited, and anyPolicy is.
    size_t explicit_left;
    size_t mapping_left;
    size_t any_left;
};

// policy_state_start sets the state at a trust anchor: any policy is valid and none is required.
void policy_state_start(struct policy_state *out);

// policy_state_next goes down by one certificate. The leaf is the last; a self-issued certificate
// has its issuer's name. false sets err: a policy is required and none is valid, or the certificate
// maps anyPolicy, or there are more than CERT_POLICIES_MAX.
bool policy_state_next(struct policy_state *state, const struct cert_policies *cert,
                       bool is_self_issued, bool is_leaf, struct err *err);

#endif
