// SPDX-License-Identifier: Apache-2.0
//
// Finds a path from a root of a trust bundle down to a leaf, among certificates in any order (RFC
// 4158; RFC 8446, section 4.4.2; RFC 5280, section 6.1). What a peer sent besides a path doesn't
// count: copies of a CA that have expired, that are cross-certificates of other roots, or that have
// nothing to do with it. BoringSSL's X509_verify_cert would judge the first path that names and key
// identifiers suggest, and no other.
//
// The search goes down from the roots and checks each signature once, by a key that has been
// proved, so that a stranger can make nobody work with keys of his own. Bounded by
// PATH_SIGNATURES_MAX, PATH_STEPS_MAX and PATH_NAMES_MAX. Pure: `now` is an argument, and any
// thread may search.
#ifndef TABARD_CERTS_PATH_PATH_H
#define TABARD_CERTS_PATH_PATH_H

#include <openssl/x509.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/path/verify.h"

#define PATH_SIGNATURES_MAX 100 // signatures that one search checks
#define PATH_STEPS_MAX      500 // certificates that it judges, each time that a path reaches one

// path_find says whether the leaf certs[0] can be proved by the bundle's roots with the help of the
// others, of which there are at most CHAIN_CERTS_MAX in all. Whether a leaf may authenticate a
// workload is not asked. *out_not_after is then the earliest notAfter of the path, root included:
// of several paths the one that lasts longest counts. Any other result sets err to the flaw of the
// path that came nearest to the leaf, and VERIFY_TOO_MUCH_WORK means that a limit ended the search.
//
// A certificate is revoked as its issuer's CRL says: a leaf on every path, because one key signed
// it; a CA only where this issuer signed it, so that a CA with several certificates must be revoked
// by the issuer of each.
enum verify_failure path_find(time_t *out_not_after, X509 *const *certs, size_t num_certs,
                              const struct trust_bundle *bundle, time_t now, struct err *err);

#endif
