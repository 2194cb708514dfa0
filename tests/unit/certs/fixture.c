// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/certs/fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void fixture_root(struct mint_ca *out, const char *trust_domain)
{
    struct err err = {0};
    cr_assert(mint_root_init(out, MINT_KEY_P256, trust_domain, NOW - DAY, NOW + 30 * DAY, &err),
              "%s", err.text);
}

void fixture_intermediate(struct mint_ca *out, const struct mint_ca *parent)
{
    struct err err = {0};
    cr_assert(
        mint_intermediate_init(out, parent, MINT_KEY_ED25519, NOW - DAY, NOW + 10 * DAY, &err),
        "%s", err.text);
}

X509 *fixture_leaf(const struct mint_ca *ca, const char *id, EVP_PKEY **out_key)
{
    struct err err = {0};
    const struct mint_leaf leaf = {
        .spiffe_id = id, .not_before = NOW - MINT_BACKDATE_SECONDS, .not_after = NOW + HOUR};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    cr_assert_not_null(key, "%s", err.text);
    X509 *cert = mint_leaf_new(ca, key, &leaf, &err);
    cr_assert_not_null(cert, "%s", err.text);
    if (out_key != NULL) {
        *out_key = key;
    } else {
        EVP_PKEY_free(key);
    }
    return cert;
}

X509_CRL *fixture_crl(const struct mint_ca *ca, X509 *const *revoked, size_t num_revoked,
                      time_t this_update, time_t next_update)
{
    struct err err = {0};
    struct mint_revoked entries[16];
    cr_assert_leq(num_revoked, 16);
    for (size_t i = 0; i < num_revoked; i++) {
        entries[i] = (struct mint_revoked){X509_get0_serialNumber(revoked[i]), this_update};
    }
    X509_CRL *crl = mint_crl_new(ca, entries, num_revoked, 1, this_update, next_update, &err);
    cr_assert_not_null(crl, "%s", err.text);
    return crl;
}

Tabard__V1__TrustBundle *fixture_bundle(const char *trust_domain)
{
    Tabard__V1__TrustBundle *bundle = malloc(sizeof *bundle);
    cr_assert_not_null(bundle);
    tabard__v1__trust_bundle__init(bundle);
    bundle->trust_domain = strdup(trust_domain);
    return bundle;
}

static void add(ProtobufCBinaryData **items, size_t *num, const void *der, size_t len)
{
    *items = realloc(*items, (*num + 1) * sizeof **items);
    cr_assert_not_null(*items);
    ProtobufCBinaryData *item = &(*items)[(*num)++];
    item->len = len;
    item->data = malloc(len == 0 ? 1 : len);
    cr_assert_not_null(item->data);
    memcpy(item->data, der, len);
}

void fixture_add_root_der(Tabard__V1__TrustBundle *bundle, const void *der, size_t len)
{
    add(&bundle->roots, &bundle->n_roots, der, len);
}

void fixture_add_crl_der(Tabard__V1__TrustBundle *bundle, const void *der, size_t len)
{
    add(&bundle->crls, &bundle->n_crls, der, len);
}

void fixture_add_root(Tabard__V1__TrustBundle *bundle, X509 *root)
{
    uint8_t *der;
    size_t len;
    cr_assert(mint_cert_der(&der, &len, root));
    fixture_add_root_der(bundle, der, len);
    free(der);
}

void fixture_add_crl(Tabard__V1__TrustBundle *bundle, X509_CRL *crl)
{
    uint8_t *der;
    size_t len;
    cr_assert(mint_crl_der(&der, &len, crl));
    fixture_add_crl_der(bundle, der, len);
    free(der);
}

void fixture_bundle_free(Tabard__V1__TrustBundle *bundle)
{
    tabard__v1__trust_bundle__free_unpacked(bundle, NULL);
}

struct trust_bundles *fixture_bundles(Tabard__V1__TrustBundle *bundle)
{
    struct err err = {0};
    struct trust_bundles *bundles = trust_bundles_new(&bundle, 1, NOW, &err);
    cr_assert_not_null(bundles, "%s: %s", err.where, err.text);
    return bundles;
}

struct trust_bundles *fixture_trust(X509 *root, X509 *other_root, X509_CRL *crl,
                                    X509_CRL *other_crl)
{
    X509 *const roots[] = {root, other_root};
    X509_CRL *const crls[] = {crl, other_crl};
    Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
    for (size_t i = 0; i < 2 && roots[i] != NULL; i++) {
        fixture_add_root(message, roots[i]);
    }
    for (size_t i = 0; i < 2 && crls[i] != NULL; i++) {
        fixture_add_crl(message, crls[i]);
    }
    struct trust_bundles *bundles = fixture_bundles(message);
    fixture_bundle_free(message);
    return bundles;
}

enum verify_failure fixture_verify(struct verified_peer *out, const struct trust_bundles *bundles,
                                   time_t now, struct err *err, X509 *leaf, X509 *second,
                                   X509 *third)
{
    X509 *certs[] = {leaf, second, third};
    CRYPTO_BUFFER *chain[3] = {0};
    size_t num = 0;
    for (size_t i = 0; i < 3 && certs[i] != NULL; i++) {
        uint8_t *der;
        size_t len;
        cr_assert(mint_cert_der(&der, &len, certs[i]));
        chain[num] = CRYPTO_BUFFER_new(der, len, NULL);
        cr_assert_not_null(chain[num++]);
        free(der);
    }
    enum verify_failure failure = verify_peer(out, chain, num, bundles, now, err);
    for (size_t i = 0; i < num; i++) {
        CRYPTO_BUFFER_free(chain[i]);
    }
    return failure;
}

void world_init(struct world *w)
{
    fixture_root(&w->root, DOMAIN);
    fixture_intermediate(&w->intermediate, &w->root);
    w->bundles = fixture_trust(w->root.cert, NULL, NULL, NULL);
}

void world_cleanup(struct world *w)
{
    trust_bundles_free(w->bundles);
    mint_ca_cleanup(&w->intermediate);
    mint_ca_cleanup(&w->root);
}
