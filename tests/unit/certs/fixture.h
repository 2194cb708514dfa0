// SPDX-License-Identifier: Apache-2.0
//
// Bundle messages and chains out of certificates that were just minted, for the tests of certs/. It
// asserts with Criterion: a mistake in a fixture fails the test.
#ifndef TABARD_TESTS_UNIT_CERTS_FIXTURE_H
#define TABARD_TESTS_UNIT_CERTS_FIXTURE_H

#include <openssl/pool.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <time.h>

#include "certs/bundle.h"
#include "certs/chain.h"
#include "certs/ca/mint.h"
#include "certs/path/verify.h"

// A moment far from the real one, so that no test leans on the clock by accident.
#define DOMAIN "prod.example"
#define ID     "spiffe://prod.example/ns/shop/sa/web"
#define NOW    ((time_t)1900000000)
#define HOUR   3600
#define DAY    86400

// fixture_root makes a root of `trust_domain`, good for 30 days around NOW.
void fixture_root(struct mint_ca *out, const char *trust_domain);
void fixture_intermediate(struct mint_ca *out, const struct mint_ca *parent);

// fixture_leaf makes a good leaf with a new key, *out_key (may be NULL).
X509 *fixture_leaf(const struct mint_ca *ca, const char *id, EVP_PKEY **out_key);

// fixture_crl revokes the given certificates.
X509_CRL *fixture_crl(const struct mint_ca *ca, X509 *const *revoked, size_t num_revoked,
                      time_t this_update, time_t next_update);

// A bundle message; add to it, then read it.
Tabard__V1__TrustBundle *fixture_bundle(const char *trust_domain);
void fixture_add_root(Tabard__V1__TrustBundle *bundle, X509 *root);
void fixture_add_crl(Tabard__V1__TrustBundle *bundle, X509_CRL *crl);
void fixture_add_root_der(Tabard__V1__TrustBundle *bundle, const void *der, size_t len);
void fixture_add_crl_der(Tabard__V1__TrustBundle *bundle, const void *der, size_t len);
void fixture_bundle_free(Tabard__V1__TrustBundle *bundle);

// fixture_bundles reads one bundle that must be good.
struct trust_bundles *fixture_bundles(Tabard__V1__TrustBundle *bundle);

// fixture_trust reads a bundle of DOMAIN with these roots and CRLs; the second of each may be NULL,
// and the first CRL too.
struct trust_bundles *fixture_trust(X509 *root, X509 *other_root, X509_CRL *crl,
                                    X509_CRL *other_crl);

// A root of DOMAIN, an intermediate below it, and a bundle that holds the root.
struct world {
    struct mint_ca root;
    struct mint_ca intermediate;
    struct trust_bundles *bundles;
};

void world_init(struct world *w);
void world_cleanup(struct world *w);

// fixture_verify asks verify_peer about a chain that ends at the first NULL.
enum verify_failure fixture_verify(struct verified_peer *out, const struct trust_bundles *bundles,
                                   time_t now, struct err *err, X509 *leaf, X509 *second,
                                   X509 *third);

// Expects what verify_peer must have said, and in which words; `row` names the case.
#define expect_failure(expected, actual, err, words, row)                                          \
    do {                                                                                           \
        cr_expect_str_eq(verify_failure_text(actual), verify_failure_text(expected), "%s: %s",     \
                         row, (err).text);                                                         \
        cr_expect(strstr((err).text, words) != NULL, "%s: \"%s\" lacks \"%s\"", row, (err).text,   \
                  words);                                                                          \
    } while (0)

#endif
