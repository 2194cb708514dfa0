// SPDX-License-Identifier: Apache-2.0
#include "certs/chain.h"

#include <pthread.h>

#include "base/must.h"

static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static CRYPTO_BUFFER_POOL *pool;

static void pool_make(void)
{
    pool = must_have(CRYPTO_BUFFER_POOL_new());
}

CRYPTO_BUFFER_POOL *chain_pool(void)
{
    pthread_once(&pool_once, pool_make);
    return pool;
}

bool chain_init(struct chain *out, const ProtobufCBinaryData *ders, size_t num, struct err *err)
{
    *out = (struct chain){.num = 0};
    if (num == 0) {
        return err_set(err, "no certificate: a sidecar needs its own");
    }
    if (num > CHAIN_CERTS_MAX) {
        return err_set(err, "%zu certificates, more than the %d that a peer accepts", num,
                       CHAIN_CERTS_MAX);
    }
    for (; out->num < num; out->num++) {
        const ProtobufCBinaryData *der = &ders[out->num];
        out->certs[out->num] = must_have(CRYPTO_BUFFER_new(der->data, der->len, chain_pool()));
    }
    return true;
}

void chain_cleanup(struct chain *chain)
{
    for (size_t i = 0; i < chain->num; i++) {
        CRYPTO_BUFFER_free(chain->certs[i]);
    }
    *chain = (struct chain){.num = 0};
}

struct chain chain_lent(const STACK_OF(CRYPTO_BUFFER) * sent)
{
    struct chain chain = {.num = 0};
    size_t num = sent == NULL ? 0 : sk_CRYPTO_BUFFER_num(sent);
    for (; chain.num < num && chain.num <= CHAIN_CERTS_MAX; chain.num++) {
        chain.certs[chain.num] = sk_CRYPTO_BUFFER_value(sent, chain.num);
    }
    return chain;
}
