// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint.h"
#include "proxy/trust/trust.h"

#define DOMAIN "prod.example"
#define ID     "spiffe://prod.example/ns/shop/sa/web"

enum { NOW = 1800000000, LEAF_SECONDS = 3600, CRL_SECONDS = 600 };

// What an agent would send, and the authority behind it.
struct fixture {
    struct mint_ca root;
    EVP_PKEY *key;
    X509 *leaf;
    uint8_t key_id[CONTRACT_KEY_ID_LEN];
    ProtobufCBinaryData leaf_der;
    ProtobufCBinaryData root_der;
    ProtobufCBinaryData crl_der;
    Tabard__V1__Identity identity;
    Tabard__V1__TrustBundle bundle;
    Tabard__V1__TrustBundle *bundles[1];
    Tabard__V1__Snapshot message;
    struct context_hooks hooks;
};

// No handshake is made here.
static const SSL_PRIVATE_KEY_METHOD no_key;

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    (void)ssl;
    (void)out_alert;
    return ssl_verify_invalid;
}

static void set_crl(struct fixture *f, uint64_t number)
{
    struct err err = {0};
    X509_CRL *crl = mint_crl_new(&f->root, NULL, 0, number, NOW - 60, NOW + CRL_SECONDS, &err);
    cr_assert(crl != NULL, "%s", err.text);
    free(f->crl_der.data);
    cr_assert(mint_crl_der(&f->crl_der.data, &f->crl_der.len, crl));
    X509_CRL_free(crl);
    f->bundle.crls = &f->crl_der;
    f->bundle.n_crls = 1;
}

static void set_up(struct fixture *f)
{
    struct err err = {0};
    *f = (struct fixture){0};
    f->hooks = (struct context_hooks){.key_method = &no_key, .on_verify = on_verify};
    cr_assert(
        mint_root_init(&f->root, MINT_KEY_P256, DOMAIN, NOW - 60, NOW + 10 * LEAF_SECONDS, &err),
        "%s", err.text);
    f->key = mint_key_new(MINT_KEY_P256, &err);
    const struct mint_leaf leaf = {
        .spiffe_id = ID, .not_before = NOW - 60, .not_after = NOW + LEAF_SECONDS};
    f->leaf = mint_leaf_new(&f->root, f->key, &leaf, &err);
    cr_assert(f->leaf != NULL, "%s", err.text);
    cr_assert(mint_cert_der(&f->leaf_der.data, &f->leaf_der.len, f->leaf));
    cr_assert(mint_cert_der(&f->root_der.data, &f->root_der.len, f->root.cert));
    tabard__v1__identity__init(&f->identity);
    f->identity.chain = &f->leaf_der;
    f->identity.n_chain = 1;
    f->identity.key_id = (ProtobufCBinaryData){.data = f->key_id, .len = sizeof f->key_id};
    tabard__v1__trust_bundle__init(&f->bundle);
    f->bundle.trust_domain = (char *)(uintptr_t)DOMAIN;
    f->bundle.roots = &f->root_der;
    f->bundle.n_roots = 1;
    f->bundles[0] = &f->bundle;
    tabard__v1__snapshot__init(&f->message);
    f->message.identity = &f->identity;
    f->message.trust_bundles = f->bundles;
    f->message.n_trust_bundles = 1;
}

static void tear_down(struct fixture *f)
{
    free(f->leaf_der.data);
    free(f->root_der.data);
    free(f->crl_der.data);
    X509_free(f->leaf);
    EVP_PKEY_free(f->key);
    mint_ca_cleanup(&f->root);
}

static struct trust *trust_at(struct fixture *f, struct trust *previous, time_t now)
{
    struct err err = {0};
    struct trust *trust = trust_new(&f->message, previous, &f->hooks, now, &err);
    cr_assert(trust != NULL, "%s: %s", err.where, err.text);
    return trust;
}

Test(trust, a_snapshot_that_changes_neither_identity_nor_bundles_shares_the_last_ones,
     .timeout = 20)
{
    struct fixture f;
    set_up(&f);
    struct trust *first = trust_at(&f, NULL, NOW);
    struct trust *second = trust_at(&f, first, NOW + 1);
    cr_assert(second == first);
    trust_unref(first);
    cr_assert(strcmp(second->self.id, ID) == 0); // still there: each holds its own count
    trust_unref(second);
    tear_down(&f);
}

Test(trust, another_key_exchange_makes_other_contexts, .timeout = 20)
{
    struct fixture f;
    Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
    set_up(&f);
    struct trust *before = trust_at(&f, NULL, NOW);
    cr_expect_not(before->needs_post_quantum);
    f.message.settings = &settings;
    settings.key_exchange = TABARD__V1__SETTINGS__KEY_EXCHANGE__ANY;
    struct trust *same = trust_at(&f, before, NOW);
    cr_expect_eq(same, before);
    settings.key_exchange = TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM;
    struct trust *demanding = trust_at(&f, before, NOW);
    cr_expect_neq(demanding, before);
    cr_expect(demanding->needs_post_quantum);
    settings.drain_seconds = 1;
    struct trust *again = trust_at(&f, demanding, NOW);
    cr_expect_eq(again, demanding, "no other setting has to do with it");
    struct trust *const all[] = {before, same, demanding, again};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        trust_unref(all[i]);
    }
    tear_down(&f);
}

Test(trust, any_change_of_identity_or_bundles_is_built_and_checked_anew, .timeout = 20)
{
    struct fixture f;
    set_up(&f);
    struct trust *plain = trust_at(&f, NULL, NOW);
    f.key_id[31] ^= 1;
    struct trust *other_key = trust_at(&f, plain, NOW);
    cr_assert(other_key != plain && other_key->key_id[31] == f.key_id[31]);
    set_crl(&f, 1);
    struct trust *with_crl = trust_at(&f, other_key, NOW);
    cr_assert(with_crl != other_key);
    set_crl(&f, 2);
    struct trust *newer_crl = trust_at(&f, with_crl, NOW);
    cr_assert(newer_crl != with_crl);
    ((uint8_t *)f.root_der.data)[f.root_der.len - 1] ^= 1; // the root's own signature
    struct trust *other_root = trust_at(&f, newer_crl, NOW);
    cr_assert(other_root != newer_crl);
    ((uint8_t *)f.leaf_der.data)[f.leaf_der.len - 1] ^= 1; // now nobody has signed it
    struct err err = {0};
    cr_assert(trust_new(&f.message, other_root, &f.hooks, NOW, &err) == NULL);
    cr_assert(strcmp(err.where, "identity.chain") == 0, "%s: %s", err.where, err.text);
    struct trust *const all[] = {plain, other_key, with_crl, newer_crl, other_root};
    for (size_t i = 0; i < 5; i++) {
        trust_unref(all[i]);
    }
    tear_down(&f);
}

Test(trust, what_is_no_longer_in_date_is_not_shared_but_refused, .timeout = 20)
{
    struct fixture f;
    set_up(&f);
    struct trust *trust = trust_at(&f, NULL, NOW);
    struct trust *last = trust_at(&f, trust, NOW + LEAF_SECONDS);
    cr_assert(last == trust);
    trust_unref(last);
    struct err err = {0};
    cr_assert(trust_new(&f.message, trust, &f.hooks, NOW + LEAF_SECONDS + 1, &err) == NULL);
    cr_assert(strcmp(err.where, "identity.chain") == 0, "%s: %s", err.where, err.text);
    err = (struct err){0};
    cr_assert(trust_new(&f.message, trust, &f.hooks, NOW - 120, &err) == NULL); // not yet valid
    trust_unref(trust);

    tear_down(&f);
}

Test(trust, a_crl_that_goes_stale_is_refused_anew_and_holds_up_nothing_while_in_force,
     .timeout = 20)
{
    struct fixture f;
    struct err err = {0};
    const time_t late = NOW + CRL_SECONDS + 1;
    set_up(&f);
    set_crl(&f, 1);
    struct trust *trust = trust_at(&f, NULL, NOW);
    cr_assert(trust_new(&f.message, NULL, &f.hooks, late, &err) == NULL);
    cr_assert(strcmp(err.where, "trust_bundles[0].crls[0]") == 0, "%s: %s", err.where, err.text);
    struct trust *last = trust_at(&f, trust, late);
    cr_assert(last == trust);
    trust_unref(last);
    trust_unref(trust);
    tear_down(&f);
}

Test(trust, an_older_crl_does_not_take_the_place_of_the_one_in_force, .timeout = 20)
{
    struct fixture f;
    struct err err = {0};
    set_up(&f);
    set_crl(&f, 2);
    struct trust *trust = trust_at(&f, NULL, NOW);
    set_crl(&f, 1);
    cr_assert(trust_new(&f.message, trust, &f.hooks, NOW, &err) == NULL);
    cr_assert(strcmp(err.where, "trust_bundles[0].crls[0]") == 0, "%s: %s", err.where, err.text);
    cr_assert(strstr(err.text, "older than the CRL") != NULL, "%s", err.text);
    trust_unref(trust);
    tear_down(&f);
}
