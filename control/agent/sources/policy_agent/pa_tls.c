// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_tls.h"

#include <openssl/err.h>
#include <openssl/pool.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/verify.h"
#include "net/grpc/client.h" // and with it openssl/ssl.h

struct pa_verifier {
    unsigned num_refs;
    struct trust_bundles *bundles; // owned
    char *spiffe_id;               // owned
    struct err why;
};

static const uint16_t signature_algorithms[] = {
    SSL_SIGN_ED25519,
    SSL_SIGN_ECDSA_SECP256R1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384,
    SSL_SIGN_RSA_PSS_RSAE_SHA256,
    SSL_SIGN_RSA_PSS_RSAE_SHA384,
    SSL_SIGN_RSA_PSS_RSAE_SHA512,
};
#define NUM_SIGNATURE_ALGORITHMS (sizeof signature_algorithms / sizeof signature_algorithms[0])

static int verifier_index; // of an SSL_CTX's verifier

struct pa_verifier *pa_verifier_new(struct trust_bundles *bundles, const char *spiffe_id)
{
    struct pa_verifier *verifier = must_alloc(1, sizeof *verifier);
    *verifier = (struct pa_verifier){
        .num_refs = 1, .bundles = bundles, .spiffe_id = must_strdup(spiffe_id)};
    return verifier;
}

void pa_verifier_unref(struct pa_verifier *verifier)
{
    if (verifier == NULL || --verifier->num_refs > 0) {
        return;
    }
    trust_bundles_free(verifier->bundles);
    free(verifier->spiffe_id);
    free(verifier);
}

const char *pa_verifier_why(const struct pa_verifier *verifier)
{
    return verifier->why.text;
}

static void on_ctx_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                        void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    pa_verifier_unref(ptr);
}

static void make_index(void)
{
    verifier_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
    invariant(verifier_index >= 0);
}

static bool is_the_one(struct pa_verifier *verifier, SSL *ssl, struct verified_peer *peer)
{
    const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(ssl);
    const CRYPTO_BUFFER *certs[VERIFY_CHAIN_MAX] = {NULL};
    size_t num = chain != NULL ? sk_CRYPTO_BUFFER_num(chain) : 0;
    if (num > VERIFY_CHAIN_MAX) {
        return err_set(&verifier->why, "the policy agent sends %zu certificates; %d are the most",
                       num, VERIFY_CHAIN_MAX);
    }
    for (size_t i = 0; i < num; i++) {
        certs[i] = sk_CRYPTO_BUFFER_value(chain, i);
    }
    if (verify_peer(peer, certs, num, verifier->bundles, time(NULL), &verifier->why) != VERIFY_OK) {
        return err_prefix(&verifier->why, "the policy agent's certificate");
    }
    return strcmp(peer->id, verifier->spiffe_id) == 0 ||
           err_set(&verifier->why, "the policy agent proves %s, and policy_agent.identity is %s",
                   peer->id, verifier->spiffe_id);
}

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct pa_verifier *verifier = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), verifier_index);
    struct verified_peer *peer = must_alloc(1, sizeof *peer);
    bool ok = is_the_one(verifier, ssl, peer);
    if (ok) {
        verifier->why = (struct err){{0}, {0}};
    }
    free(peer);
    ERR_clear_error();
    *out_alert = SSL_AD_CERTIFICATE_UNKNOWN;
    return ok ? ssl_verify_ok : ssl_verify_invalid;
}

static bool set_identity(SSL_CTX *ctx, const Tabard__V1__Identity *identity, EVP_PKEY *key)
{
    CRYPTO_BUFFER *chain[VERIFY_CHAIN_MAX] = {NULL};
    bool ok = identity->n_chain <= VERIFY_CHAIN_MAX;
    for (size_t i = 0; ok && i < identity->n_chain; i++) {
        chain[i] = CRYPTO_BUFFER_new(identity->chain[i].data, identity->chain[i].len, NULL);
        ok = chain[i] != NULL;
    }
    ok = ok && SSL_CTX_set_chain_and_key(ctx, chain, identity->n_chain, key, NULL) == 1;
    for (size_t i = 0; i < VERIFY_CHAIN_MAX; i++) {
        CRYPTO_BUFFER_free(chain[i]);
    }
    return ok;
}

SSL_CTX *pa_tls_new(struct pa_verifier *verifier, const Tabard__V1__Identity *identity,
                    EVP_PKEY *key, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_index);
    SSL_CTX *ctx = SSL_CTX_new(TLS_with_buffers_method());
    bool ok = ctx != NULL && SSL_CTX_set_ex_data(ctx, verifier_index, verifier) == 1;
    if (ok) {
        verifier->num_refs++;
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_custom_verify(ctx, SSL_VERIFY_PEER, on_verify);
        ok = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
             SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
             SSL_CTX_set_signing_algorithm_prefs(ctx, signature_algorithms,
                                                 NUM_SIGNATURE_ALGORITHMS) == 1 &&
             SSL_CTX_set_verify_algorithm_prefs(ctx, signature_algorithms,
                                                NUM_SIGNATURE_ALGORITHMS) == 1 &&
             (identity == NULL || set_identity(ctx, identity, key));
    }
    ERR_clear_error();
    if (!ok) {
        SSL_CTX_free(ctx);
        err_set(err, "no TLS context for the policy agent: the certificate was not taken");
        return NULL;
    }
    return ctx;
}
