// SPDX-License-Identifier: Apache-2.0
#include <openssl/digest.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/rsa.h>

#include "base/secret/secret.h"
#include "certs/key.h"

// RFC 8446, section 4.2.3.
#define SCHEME_ECDSA_P256_SHA256 0x0403
#define SCHEME_ECDSA_P384_SHA384 0x0503
#define SCHEME_RSA_PSS_SHA256    0x0804
#define SCHEME_RSA_PSS_SHA384    0x0805
#define SCHEME_RSA_PSS_SHA512    0x0806
#define SCHEME_ED25519           0x0807
#define SCHEME_ML_DSA_44         0x0904 // draft-ietf-tls-mldsa
#define SCHEME_ML_DSA_65         0x0905

struct scheme {
    uint32_t algorithm;
    int key_type;
    int curve; // of an EC key
    const EVP_MD *(*digest)(void);
};

static const struct scheme schemes[] = {
    {SCHEME_ML_DSA_44, EVP_PKEY_ML_DSA_44, 0, NULL},
    {SCHEME_ML_DSA_65, EVP_PKEY_ML_DSA_65, 0, NULL},
    {SCHEME_ED25519, EVP_PKEY_ED25519, 0, NULL},
    {SCHEME_ECDSA_P256_SHA256, EVP_PKEY_EC, NID_X9_62_prime256v1, EVP_sha256},
    {SCHEME_ECDSA_P384_SHA384, EVP_PKEY_EC, NID_secp384r1, EVP_sha384},
    {SCHEME_RSA_PSS_SHA256, EVP_PKEY_RSA, 0, EVP_sha256},
    {SCHEME_RSA_PSS_SHA384, EVP_PKEY_RSA, 0, EVP_sha384},
    {SCHEME_RSA_PSS_SHA512, EVP_PKEY_RSA, 0, EVP_sha512},
};

static const struct scheme *scheme_find(uint32_t algorithm, const EVP_PKEY *key)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const struct scheme *scheme = &schemes[i];
        if (scheme->algorithm != algorithm || scheme->key_type != EVP_PKEY_id(key)) {
            continue;
        }
        if (scheme->curve != 0 && scheme->curve != EC_GROUP_get_curve_name(EC_KEY_get0_group(
                                                       EVP_PKEY_get0_EC_KEY(key)))) {
            continue;
        }
        return scheme;
    }
    return NULL;
}

static bool sign(EVP_PKEY *key, const struct scheme *scheme, const uint8_t *input, size_t input_len,
                 uint8_t *out, size_t *out_len)
{
    EVP_MD_CTX ctx;
    EVP_PKEY_CTX *pkey_ctx = NULL; // borrowed from ctx
    EVP_MD_CTX_init(&ctx);
    const EVP_MD *digest = scheme->digest != NULL ? scheme->digest() : NULL;
    bool ok = EVP_DigestSignInit(&ctx, &pkey_ctx, digest, NULL, key) == 1;
    if (ok && scheme->key_type == EVP_PKEY_RSA) {
        ok = EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, -1) == 1; // as long as the digest
    }
    ok = ok && EVP_DigestSign(&ctx, out, out_len, input, input_len) == 1;
    EVP_MD_CTX_cleanup(&ctx);
    return ok;
}

enum key_sign_result key_sign(EVP_PKEY *key, uint32_t algorithm, const uint8_t *input,
                              size_t input_len, uint8_t *out, size_t *out_len)
{
    const struct scheme *scheme = scheme_find(algorithm, key);
    if (scheme == NULL) {
        return KEY_OTHER_SCHEME;
    }
    secret_begin();
    bool ok = sign(key, scheme, input, input_len, out, out_len);
    secret_end();
    ERR_clear_error();
    return ok ? KEY_SIGNED : KEY_SIGN_FAILED;
}
