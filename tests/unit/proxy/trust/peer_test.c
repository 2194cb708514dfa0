// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "certs/ca/mint_ext.h"
#include "proxy/trust/peer.h"

#define DOMAIN "prod.example"
#define ID     "spiffe://prod.example/ns/shop/sa/web"
#define OTHER  "spiffe://prod.example/ns/shop/sa/web2"

enum { NOW = 1800000000, NUM_CHAINS = 200, FILLER_BYTES = 30000 };

static CRYPTO_BUFFER *buffer_of(X509 *cert)
{
    uint8_t *der = NULL;
    size_t len = 0;
    cr_assert(mint_cert_der(&der, &len, cert));
    CRYPTO_BUFFER *buffer = CRYPTO_BUFFER_new(der, len, NULL);
    free(der);
    cr_assert(buffer != NULL);
    return buffer;
}

static struct trust_bundles *bundles_of(X509 *root)
{
    struct err err = {0};
    ProtobufCBinaryData der;
    cr_assert(mint_cert_der(&der.data, &der.len, root));
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    bundle.trust_domain = (char *)(uintptr_t)DOMAIN;
    bundle.roots = &der;
    bundle.n_roots = 1;
    Tabard__V1__TrustBundle *all[] = {&bundle};
    struct trust_bundles *bundles = trust_bundles_new(all, 1, NOW, &err);
    cr_assert(bundles != NULL, "%s", err.text);
    free(der.data);
    return bundles;
}

static X509 *leaf_with(const struct mint_ca *root, const char *id)
{
    struct err err = {0};
    EVP_PKEY *key = mint_key_new(MINT_KEY_ED25519, &err);
    const struct mint_leaf leaf = {
        .spiffe_id = id, .not_before = NOW - 60, .not_after = NOW + 3600};
    X509 *cert = mint_leaf_new(root, key, &leaf, &err);
    cr_assert(cert != NULL, "%s", err.text);
    EVP_PKEY_free(key);
    return cert;
}

// The two clocks' time, where nobody has set the wall clock.
static struct now at(int64_t unix_s)
{
    return (struct now){.unix_ms = unix_s * 1000, .boot_ms = (unix_s - NOW) * 1000};
}

static X509 *leaf_of(const struct mint_ca *root)
{
    return leaf_with(root, ID);
}

static struct peer *verify(struct peers *peers, CRYPTO_BUFFER *const *chain, size_t num_certs,
                           const struct trust_bundles *bundles)
{
    struct err err = {0};
    struct peer *peer = NULL;
    bool is_cached;
    cr_assert(peers_verify(peers, &peer, &is_cached, chain, num_certs, bundles, at(NOW), &err) ==
                  VERIFY_OK,
              "%s", err.text);
    return peer;
}

// The root again, with the same name and key, but from another time on.
static X509 *renewed(const struct mint_ca *root, time_t not_before)
{
    X509 *cert = X509_dup(root->cert);
    cr_assert(cert != NULL && ASN1_TIME_set(X509_getm_notBefore(cert), not_before) != NULL);
    cr_assert(mint_sign_cert(cert, root->key));
    return cert;
}

Test(peer, a_root_that_is_renewed_after_the_handshake_still_proves_it, .timeout = 20)
{
    struct err err = {0};
    struct mint_ca root = {0};
    struct mint_ca other = {0};
    struct peers peers = {0};
    cr_assert(mint_root_init(&root, MINT_KEY_ED25519, DOMAIN, NOW - 100, NOW + 9000, &err));
    cr_assert(mint_root_init(&other, MINT_KEY_ED25519, DOMAIN, NOW - 100, NOW + 9000, &err));
    X509 *leaf = leaf_of(&root);
    X509 *later = renewed(&root, NOW + 10);
    CRYPTO_BUFFER *chain[] = {buffer_of(leaf)};
    struct trust_bundles *bundles = bundles_of(root.cert);
    struct trust_bundles *bundles_later = bundles_of(later);
    struct trust_bundles *bundles_other = bundles_of(other.cert);
    struct peer *peer = verify(&peers, chain, 1, bundles);

    peers_recheck(&peers, bundles_later, at(NOW + 5));
    cr_assert(peer->failure == VERIFY_NOT_YET_VALID);
    peers_recheck(&peers, bundles, at(NOW + 5));
    cr_assert(peer->failure == VERIFY_OK);
    peers_recheck(&peers, bundles_later, at(NOW + 20));
    cr_assert(peer->failure == VERIFY_OK);
    peers_recheck(&peers, bundles_other, at(NOW + 20));
    cr_assert(peer->failure == VERIFY_UNTRUSTED_CHAIN);

    peer_unref(&peers, peer);
    peers_cleanup(&peers);
    trust_bundles_free(bundles);
    trust_bundles_free(bundles_later);
    trust_bundles_free(bundles_other);
    CRYPTO_BUFFER_free(chain[0]);
    X509_free(later);
    X509_free(leaf);
    mint_ca_cleanup(&root);
    mint_ca_cleanup(&other);
}

// A certificate that proves nothing and is large, and another one for each number.
static CRYPTO_BUFFER *filler(const struct mint_ca *root, int number)
{
    static uint8_t bytes[FILLER_BYTES];
    X509 *cert = X509_dup(root->cert);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *name = OBJ_txt2obj("1.3.6.1.4.1.55555.1", 1);
    cr_assert(cert != NULL && value != NULL && name != NULL);
    *(int *)(void *)bytes = number;
    cr_assert(ASN1_OCTET_STRING_set(value, bytes, sizeof bytes) == 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, name, 0, value);
    cr_assert(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
    cr_assert(mint_sign_cert(cert, root->key));
    CRYPTO_BUFFER *buffer = buffer_of(cert);
    X509_EXTENSION_free(extension);
    ASN1_OBJECT_free(name);
    ASN1_OCTET_STRING_free(value);
    X509_free(cert);
    return buffer;
}

static size_t bytes_held(const struct peers *peers)
{
    size_t num = 0;
    for (size_t i = 0; i < PEERS_BUCKETS; i++) {
        for (const struct peer *at = peers->buckets[i]; at != NULL; at = at->next) {
            for (size_t k = 0; k < at->num_certs; k++) {
                num += CRYPTO_BUFFER_len(at->chain[k]);
            }
        }
    }
    return num;
}

Test(peer, one_that_shows_ever_other_long_chains_fills_no_memory, .timeout = 60)
{
    struct err err = {0};
    struct mint_ca root = {0};
    struct peers peers = {0};
    cr_assert(mint_root_init(&root, MINT_KEY_ED25519, DOMAIN, NOW - 100, NOW + 9000, &err));
    X509 *leaf = leaf_of(&root);
    struct trust_bundles *bundles = bundles_of(root.cert);
    CRYPTO_BUFFER *chain[2] = {buffer_of(leaf), NULL};
    for (int i = 0; i < NUM_CHAINS; i++) {
        chain[1] = filler(&root, i);
        peer_unref(&peers, verify(&peers, chain, 2, bundles));
        CRYPTO_BUFFER_free(chain[1]);
        cr_assert(bytes_held(&peers) <= PEERS_UNUSED_BYTES_MAX, "after %d chains", i + 1);
    }
    peers_cleanup(&peers);
    cr_assert(peers.num_unused == 0 && peers.unused_bytes == 0);
    trust_bundles_free(bundles);
    CRYPTO_BUFFER_free(chain[0]);
    X509_free(leaf);
    mint_ca_cleanup(&root);
}

Test(peer, connections_count_by_identity_and_not_by_certificate, .timeout = 20)
{
    static const char *const ids[] = {ID, ID, OTHER};
    struct err err = {0};
    struct mint_ca root = {0};
    struct peers peers = {0};
    struct peer *all[3];
    cr_assert(mint_root_init(&root, MINT_KEY_ED25519, DOMAIN, NOW - 100, NOW + 9000, &err));
    struct trust_bundles *bundles = bundles_of(root.cert);
    for (size_t i = 0; i < 3; i++) {
        X509 *leaf = leaf_with(&root, ids[i]);
        CRYPTO_BUFFER *chain[] = {buffer_of(leaf)};
        all[i] = verify(&peers, chain, 1, bundles);
        CRYPTO_BUFFER_free(chain[0]);
        X509_free(leaf);
    }
    cr_assert(all[0] != all[1]);

    cr_expect(peer_enter(all[0], 2) && peer_enter(all[1], 2));
    cr_expect(!peer_enter(all[0], 2) && !peer_enter(all[1], 2));
    cr_expect(peer_enter(all[2], 1) && !peer_enter(all[2], 1));
    peer_leave(all[1]);
    peer_unref(&peers, all[1]);
    peers_recheck(&peers, bundles, at(NOW)); // forgets that certificate
    cr_expect(peer_enter(all[0], 2) && !peer_enter(all[0], 2));

    peer_leave(all[0]);
    peer_leave(all[0]);
    peer_leave(all[2]);
    peer_unref(&peers, all[0]);
    peer_unref(&peers, all[2]);
    peers_cleanup(&peers); // which says that nothing is left
    trust_bundles_free(bundles);
    mint_ca_cleanup(&root);
}
