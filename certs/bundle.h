// SPDX-License-Identifier: Apache-2.0
//
// Trust bundles: for each trust domain the roots and CRLs that prove its peers (SPIFFE Trust Domain
// and Bundle, section 3). Roots of different trust domains are never pooled. A trust_bundles never
// changes once it is built, so any thread may read it; its owner frees it. certs/path/verify.h
// verifies peers against it.
#ifndef TABARD_CERTS_BUNDLE_H
#define TABARD_CERTS_BUNDLE_H

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

// trust_bundles_new reads every bundle or none. Refused, with err naming the field
// ("trust_bundles[1].crls[0]") and the cause: a bad or repeated trust domain, no roots, DER that
// doesn't parse or has bytes after it, a root that isn't CA:TRUE or whose key usage lacks
// keyCertSign, a root whose SPIFFE id has a path or another trust domain, a CRL whose signature no
// root of the bundle made, a CRL whose nextUpdate is absent or past at `now`, one not yet valid,
// one with an unknown critical extension (delta and indirect CRLs), too many or too large. An
// expired root is kept: it proves nobody. NULL on failure.
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

#endif
