// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/credentials.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/key.h"

EVP_PKEY *credentials_key_read(const char *pem, size_t pem_len, struct err *err)
{
    EVP_PKEY *key = key_pem_read(pem, pem_len, err);
    if (key != NULL && EVP_PKEY_id(key) == EVP_PKEY_RSA &&
        EVP_PKEY_bits(key) > CREDENTIALS_RSA_BITS_MAX) {
        err_set(err, "an RSA key of %d bits; at most %d are fast enough to sign handshakes",
                EVP_PKEY_bits(key), CREDENTIALS_RSA_BITS_MAX);
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

bool credentials_leaf_read(const Tabard__V1__Identity *identity, EVP_PKEY **out_key,
                           time_t *out_not_before, struct err *err)
{
    const uint8_t *der = identity->chain[0].data;
    X509 *leaf = d2i_X509(NULL, &der, (long)identity->chain[0].len);
    *out_key = leaf != NULL ? X509_get_pubkey(leaf) : NULL;
    bool ok = (*out_key != NULL && cert_time_read(out_not_before, X509_get0_notBefore(leaf))) ||
              err_set(err, "the leaf's public key or validity doesn't parse");
    X509_free(leaf);
    ERR_clear_error();
    return ok;
}

// Says what would be right, for those failures whose own text doesn't.
static const char *hint(enum verify_failure failure)
{
    switch (failure) {
    case VERIFY_UNTRUSTED_CHAIN:
        return "; the file holds the leaf first and then every intermediate, up to one that a root "
               "in trust_bundles issued";
    case VERIFY_UNKNOWN_TRUST_DOMAIN:
        return "; the own trust domain needs its entry in trust_bundles";
    case VERIFY_EXPIRED:
    case VERIFY_NOT_YET_VALID:
        return "; a certificate that is valid now is needed";
    case VERIFY_NO_URI_SAN:
    case VERIFY_MANY_URI_SANS:
        return "; a workload certificate has exactly one URI SAN, its SPIFFE id";
    case VERIFY_LEAF_IS_CA:
        return "; the first certificate of the file is the workload's own, not its CA's";
    default:
        return "";
    }
}

enum verify_failure credentials_chain_verify(struct verified_peer *out,
                                             const Tabard__V1__Identity *identity,
                                             const struct trust_bundles *bundles, time_t now,
                                             struct err *err)
{
    struct chain chain;
    struct err why = {{0}, {0}};
    if (!chain_init(&chain, identity->chain, identity->n_chain, err)) {
        return VERIFY_CERTIFICATE_UNPARSABLE;
    }
    enum verify_failure failure = verify_peer(out, chain.certs, chain.num, bundles, now, &why);
    chain_cleanup(&chain);
    if (failure != VERIFY_OK) {
        err_set(err, "%s%s", why.text, hint(failure));
    }
    return failure;
}
