// SPDX-License-Identifier: Apache-2.0
//
// Trust bundles: for each trust domain the roots and CRLs that prove its peers (SPIFFE Trust Domain
// and Bundle, section 3). Roots of different trust domains are never pooled. A trust_bundles never
// changes once it is built, so any thread may read it; its owner frees it. certs/path/verify.h
// verifies peers against it.
#ifndef TABARD_CERTS_BUNDLE_H
#define TABARD_CERTS_BUNDLE_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "tabard/v1/mesh.pb-c.h"

#define TRUST_BUNDLES_MAX      256
#define TRUST_BUNDLE_ROOTS_MAX 64
#define TRUST_BUNDLE_CRLS_MAX  64
#define CRL_BYTES_MAX          (8u << 20)

struct trust_bundles; // opaque: trust domain -> trust_bundle
struct trust_bundle;  // opaque: one trust domain

// What is known beside the bundles when they are read. Zero state: nothing. All of it is borrowed
// for the call.
struct trust_load {
    const struct trust_bundles *in_force; // what they take the place of; NULL: nothing
    X509 *const *authorities;             // CAs below the roots, whose CRLs are proved at once
    size_t num_authorities;
    bool takes_stale; // CRLs past their nextUpdate are read: the certificates of their issuers fail
};

// trust_bundles_read reads every bundle or none. Refused, with err naming the field
// ("trust_bundles[1].crls[0]") and the cause: a bad or repeated trust domain, no roots, DER that
// doesn't parse or has bytes after it, a root that isn't CA:TRUE or whose key usage lacks
// keyCertSign, a root whose SPIFFE id has a path or another trust domain; a CRL with the name of a
// root, or of one of the authorities, that none of these signed (unless it says by its key
// identifier that it is another CA's), one without nextUpdate, one that is past it at `now`, one
// with an unknown critical extension (delta and indirect CRLs) or an entry that is not understood,
// one older than that of the same issuer in force (RFC 5280, section 5.2.3), too many or too large.
// An expired root is kept: it proves nobody. A CRL that was made ahead of our clock counts at once.
// A CRL whose issuer has the name of none of them is kept, too, stale or not: it is some CA's below
// the roots, and is proved against the chains in which its issuer stands. NULL on failure.
struct trust_bundles *trust_bundles_read(Tabard__V1__TrustBundle *const *bundles,
                                         size_t num_bundles, const struct trust_load *load,
                                         time_t now, struct err *err);

// trust_bundles_new reads bundles that take no other's place.
struct trust_bundles *trust_bundles_new(Tabard__V1__TrustBundle *const *bundles, size_t num_bundles,
                                        time_t now, struct err *err);
void trust_bundles_free(struct trust_bundles *bundles);

// trust_bundles_find returns the bundle of a trust domain, borrowed from `bundles`, or NULL.
const struct trust_bundle *trust_bundles_find(const struct trust_bundles *bundles,
                                              const char *trust_domain, size_t trust_domain_len);

// trust_bundle_digest returns SHA-256 over the bundle's roots and CRLs in canonical order: equal
// digests mean equal verdicts.
const uint8_t *trust_bundle_digest(const struct trust_bundle *bundle); // 32 bytes

// trust_bundle_next_update returns the earliest nextUpdate of the bundle's CRLs, until which
// verdicts hold, or INT64_MAX without CRLs.
time_t trust_bundle_next_update(const struct trust_bundle *bundle);

// trust_bundle_unproved names the issuer of the index-th CRL that no root and no known authority
// signed, in buf of TRUST_ISSUER_TEXT bytes; NULL: there are no more.
#define TRUST_ISSUER_TEXT 200
const char *trust_bundle_unproved(const struct trust_bundle *bundle, size_t index, char *buf);

// trust_bundles_withdrawn names, in the same way, the issuer of the index-th CRL of `before` that
// has no successor in `now`, where the trust domain still has a bundle.
const char *trust_bundles_withdrawn(const struct trust_bundles *now,
                                    const struct trust_bundles *before, size_t index, char *buf);

#endif
