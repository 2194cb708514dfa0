// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/tls.h"

#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "certs/ca/ca_store.h"
#include "certs/chain.h"
#include "certs/tls/context.h"

#define TLS_OWN_NAMES      4
#define TLS_OWN_NAME_BYTES 128 // a namespace has 63 at most

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    (void)ssl;
    (void)out_alert;
    return ssl_verify_ok; // tls_peer decides at admission
}

// The mesh's own settings, but for the client's certificate, which is optional here, and ALPN,
// which is gRPC's.
static SSL_CTX *context_of(const struct signed_chain *own, EVP_PKEY *key, struct err *err)
{
    ProtobufCBinaryData ders[STORE_CHAIN_MAX + 1];
    struct chain chain;
    struct context_options options = {.role = CONTEXT_SERVER,
                                      .is_certificate_optional = true,
                                      .chain = &chain,
                                      .key = key,
                                      .hooks = {.on_verify = on_verify}};
    for (size_t i = 0; i < own->num_certs; i++) {
        ders[i] = (ProtobufCBinaryData){.data = own->certs[i], .len = own->lens[i]};
    }
    if (!chain_init(&chain, ders, own->num_certs, err)) {
        return NULL;
    }
    SSL_CTX *ctx = context_new(&options, err);
    chain_cleanup(&chain);
    return ctx;
}

// Writes the names by which a Service is called inside a cluster.
static size_t name_self(char names[TLS_OWN_NAMES][TLS_OWN_NAME_BYTES], const char *namespace)
{
    static const char *const ends[TLS_OWN_NAMES - 1] = {"", ".svc", ".svc.cluster.local"};
    size_t num = 0;
    snprintf(names[num++], TLS_OWN_NAME_BYTES, TLS_OWN_DNS);
    for (size_t i = 0; namespace != NULL && i < TLS_OWN_NAMES - 1; i++) {
        snprintf(names[num++], TLS_OWN_NAME_BYTES, TLS_OWN_DNS ".%.63s%s", namespace, ends[i]);
    }
    return num;
}

bool tls_own_init(struct tls_own *out, const char *ca_dir, const char *trust_domain,
                  const char *namespace, time_t now, struct err *err)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    char names[TLS_OWN_NAMES][TLS_OWN_NAME_BYTES];
    char *dns_names[TLS_OWN_NAMES] = {names[0], names[1], names[2], names[3]};
    struct ca_store store = {.dir = NULL};
    struct signed_chain chain = {.num_certs = 0};
    *out = (struct tls_own){.grpc = NULL};
    snprintf(id, sizeof id, "spiffe://%s" TLS_OWN_PATH, trust_domain);
    const struct issue_request request = {.spiffe_id = id,
                                          .dns_names = dns_names,
                                          .num_dns_names = name_self(names, namespace),
                                          .seconds = TLS_OWN_SECONDS};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, err);
    if (key != NULL && ca_store_open(&store, ca_dir, err) &&
        sign_key(&chain, &store, key, &request, now, err)) {
        out->grpc = context_of(&chain, key, err);
        out->https = out->grpc == NULL ? NULL : context_of(&chain, key, err);
    }
    signed_chain_cleanup(&chain);
    ca_store_close(&store);
    EVP_PKEY_free(key);
    return out->https != NULL;
}

void tls_own_cleanup(struct tls_own *own)
{
    SSL_CTX_free(own->grpc);
    SSL_CTX_free(own->https);
    *own = (struct tls_own){.grpc = NULL};
}

static const STACK_OF(CRYPTO_BUFFER) * chain_of(const struct h2_peer *peer)
{
    return peer->ssl == NULL ? NULL : SSL_get0_peer_certificates(peer->ssl);
}

bool tls_has_certificate(const struct h2_peer *peer)
{
    const STACK_OF(CRYPTO_BUFFER) *chain = chain_of(peer);
    return chain != NULL && sk_CRYPTO_BUFFER_num(chain) > 0;
}

enum verify_failure tls_peer(struct verified_peer *out, const struct h2_peer *peer,
                             const struct trust_bundles *bundles, time_t now, struct err *err)
{
    struct chain chain = chain_lent(chain_of(peer));
    enum verify_failure failure = verify_peer(out, chain.certs, chain.num, bundles, now, err);
    if (failure != VERIFY_OK) {
        err_prefix(err, "%s", verify_failure_text(failure));
    }
    return failure;
}
