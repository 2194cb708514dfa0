// SPDX-License-Identifier: Apache-2.0
//
// What a handshake of the mesh costs with each kind of key and each key exchange: CPU time of both
// ends together, bytes on the wire, and how long it takes without a network. Both ends are the
// mesh's own contexts, in one thread, joined in memory; each shows a leaf that the root issued. As
// between sidecars that meet for the first time the chain is verified, and as between those that
// know each other it is not (proxy/trust/peer.h). Prints Markdown, for docs/performance.md.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/bundle.h"
#include "certs/ca/mint.h"
#include "certs/path/verify.h"
#include "certs/tls/context.h"

#define DOMAIN         "prod.example"
#define NUM_HANDSHAKES 200

static const struct {
    const char *name;
    enum mint_key_kind kind;
} kinds[] = {
    {"ECDSA P-256", MINT_KEY_P256},
    {"Ed25519", MINT_KEY_ED25519},
    {"ML-DSA-44", MINT_KEY_ML_DSA_44},
    {"ML-DSA-65", MINT_KEY_ML_DSA_65},
};
static const uint16_t groups[] = {SSL_GROUP_X25519, SSL_GROUP_X25519_MLKEM768};

static struct trust_bundles *bundles;
static bool is_verifying;

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct chain chain = chain_lent(SSL_get0_peer_certificates(ssl));
    struct verified_peer peer;
    *out_alert = SSL_AD_CERTIFICATE_UNKNOWN;
    return !is_verifying || verify_peer(&peer, chain.certs, chain.num, bundles, time(NULL), NULL) ==
                                VERIFY_OK
               ? ssl_verify_ok
               : ssl_verify_invalid;
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Makes one handshake and returns the bytes of both directions.
static uint64_t shake(SSL_CTX *client, SSL_CTX *server)
{
    SSL *ends[] = {must_have(SSL_new(client)), must_have(SSL_new(server))};
    BIO *bios[2];
    invariant(BIO_new_bio_pair(&bios[0], 1 << 17, &bios[1], 1 << 17) == 1);
    SSL_set_connect_state(ends[0]);
    SSL_set_accept_state(ends[1]);
    for (int i = 0; i < 2; i++) {
        SSL_set_bio(ends[i], bios[i], bios[i]);
    }
    for (int done = 0, turn = 0; done < 2; turn++) {
        invariant(turn < 20);
        done = 0;
        for (int i = 0; i < 2; i++) {
            done += SSL_do_handshake(ends[i]) == 1;
        }
    }
    uint64_t bytes = BIO_number_written(bios[0]) + BIO_number_written(bios[1]);
    SSL_free(ends[0]);
    SSL_free(ends[1]);
    return bytes;
}

struct cost {
    double cpu_us;
    double elapsed_us; // the least
    uint64_t bytes;
};

static struct cost measure(SSL_CTX *client, SSL_CTX *server, bool verifying)
{
    struct cost cost = {.bytes = 0};
    is_verifying = verifying;
    shake(client, server);
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < NUM_HANDSHAKES; i++) {
        double start = seconds(CLOCK_MONOTONIC);
        cost.bytes = shake(client, server);
        double elapsed_us = (seconds(CLOCK_MONOTONIC) - start) * 1e6;
        if (i == 0 || elapsed_us < cost.elapsed_us) {
            cost.elapsed_us = elapsed_us;
        }
    }
    cost.cpu_us = (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / NUM_HANDSHAKES * 1e6;
    return cost;
}

// A root of the kind, in `bundles`, and a leaf of it with a key of the kind. Returns the leaf's
// bytes.
static size_t make_identity(enum mint_key_kind kind, struct chain *out_chain, EVP_PKEY **out_key)
{
    struct mint_ca root;
    struct err err = {{0}, {0}};
    time_t now = time(NULL);
    invariant(mint_root_init(&root, kind, DOMAIN, now, now + 7200, &err));
    *out_key = must_have(mint_key_new(kind, &err));
    const struct mint_leaf spec = {.spiffe_id = "spiffe://" DOMAIN "/ns/shop/sa/web",
                                   .not_before = now - 60,
                                   .not_after = now + 3600};
    X509 *leaf = must_have(mint_leaf_new(&root, *out_key, &spec, &err));
    ProtobufCBinaryData der[2];
    invariant(mint_cert_der(&der[0].data, &der[0].len, leaf));
    invariant(mint_cert_der(&der[1].data, &der[1].len, root.cert));
    invariant(chain_init(out_chain, der, 1, &err));
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    Tabard__V1__TrustBundle *list[] = {&bundle};
    char domain[] = DOMAIN;
    bundle.trust_domain = domain;
    bundle.roots = &der[1];
    bundle.n_roots = 1;
    const struct trust_load load = {.num_authorities = 0};
    bundles = must_have(trust_bundles_read(list, 1, &load, now, &err));
    size_t len = der[0].len;
    free(der[0].data);
    free(der[1].data);
    X509_free(leaf);
    mint_ca_cleanup(&root);
    return len;
}

static SSL_CTX *context_of(enum context_role role, const struct chain *chain, EVP_PKEY *key)
{
    struct err err = {{0}, {0}};
    const struct context_options options = {.role = role,
                                            .is_mesh = true,
                                            .chain = chain,
                                            .key = key,
                                            .hooks = {.on_verify = on_verify}};
    return must_have(context_new(&options, &err));
}

int main(void)
{
    puts("| Key of CA and leaves | Key exchange | First meeting: CPU us, both ends | Chain known: "
         "CPU "
         "us | Chain known: elapsed us, the best | Bytes on the wire | Leaf: bytes |\n"
         "|--|--|--|--|--|--|--|");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct chain chain;
        EVP_PKEY *key;
        size_t leaf_len = make_identity(kinds[i].kind, &chain, &key);
        SSL_CTX *server = context_of(CONTEXT_SERVER, &chain, key);
        for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
            SSL_CTX *client = context_of(CONTEXT_CLIENT, &chain, key);
            invariant(SSL_CTX_set1_group_ids(client, &groups[g], 1) == 1);
            struct cost first = measure(client, server, true);
            struct cost known = measure(client, server, false);
            printf("| %s | %s | %.0f | %.0f | %.0f | %llu | %zu |\n", kinds[i].name,
                   SSL_get_group_name(groups[g]), first.cpu_us, known.cpu_us, known.elapsed_us,
                   (unsigned long long)known.bytes, leaf_len);
            SSL_CTX_free(client);
        }
        SSL_CTX_free(server);
        EVP_PKEY_free(key);
        chain_cleanup(&chain);
        trust_bundles_free(bundles);
    }
    return 0;
}
