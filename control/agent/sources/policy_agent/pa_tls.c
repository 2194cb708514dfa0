// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_tls.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "certs/chain.h"
#include "certs/tls/context.h"
#include "net/grpc/client.h" // and with it openssl/ssl.h

struct pa_verifier {
    unsigned num_refs;
    struct pa_roots *roots; // owned
    char *spiffe_id;        // owned
    struct err why;
};

static int verifier_index; // of an SSL_CTX's verifier

struct pa_verifier *pa_verifier_new(struct pa_roots *roots, const char *spiffe_id)
{
    struct pa_verifier *verifier = must_alloc(1, sizeof *verifier);
    *verifier =
        (struct pa_verifier){.num_refs = 1, .roots = roots, .spiffe_id = must_strdup(spiffe_id)};
    return verifier;
}

void pa_verifier_unref(struct pa_verifier *verifier)
{
    if (verifier == NULL || --verifier->num_refs > 0) {
        return;
    }
    pa_roots_free(verifier->roots);
    free(verifier->spiffe_id);
    free(verifier);
}

struct pa_roots *pa_verifier_roots(struct pa_verifier *verifier)
{
    return verifier->roots;
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

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct pa_verifier *verifier = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), verifier_index);
    struct chain chain = chain_lent(SSL_get0_peer_certificates(ssl));
    struct err err = {{0}, {0}};
    bool ok = pa_roots_prove(verifier->roots, &chain, verifier->spiffe_id, now_date_s(), &err);
    verifier->why = ok ? (struct err){{0}, {0}} : err;
    ERR_clear_error();
    *out_alert = SSL_AD_CERTIFICATE_UNKNOWN;
    return ok ? ssl_verify_ok : ssl_verify_invalid;
}

SSL_CTX *pa_tls_new(struct pa_verifier *verifier, const Tabard__V1__Identity *identity,
                    EVP_PKEY *key, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_index);
    struct chain chain = {.num = 0};
    struct context_options options = {
        .role = CONTEXT_CLIENT, .key = key, .hooks = {.on_verify = on_verify}};
    bool ok = identity == NULL || chain_init(&chain, identity->chain, identity->n_chain, err);
    options.chain = identity == NULL ? NULL : &chain;
    SSL_CTX *ctx = ok ? context_new(&options, err) : NULL;
    chain_cleanup(&chain);
    if (ctx == NULL) {
        err_prefix(err, "no TLS context for the policy agent");
        return NULL;
    }
    must_have(SSL_CTX_set_ex_data(ctx, verifier_index, verifier) == 1 ? ctx : NULL);
    verifier->num_refs++;
    return ctx;
}
