// SPDX-License-Identifier: Apache-2.0
#include "certs/key.h"

#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/nid.h>
#include <stdio.h>

static int curve_of(const EVP_PKEY *key)
{
    const EC_KEY *ec = EVP_PKEY_get0_EC_KEY((EVP_PKEY *)key);
    return ec == NULL ? NID_undef : EC_GROUP_get_curve_name(EC_KEY_get0_group(ec));
}

const char *key_text(const EVP_PKEY *key, char *buf)
{
    switch (key == NULL ? EVP_PKEY_NONE : EVP_PKEY_id(key)) {
    case EVP_PKEY_ED25519:
        snprintf(buf, KEY_TEXT_MAX, "Ed25519");
        break;
    case EVP_PKEY_ML_DSA_44:
        snprintf(buf, KEY_TEXT_MAX, "ML-DSA-44");
        break;
    case EVP_PKEY_ML_DSA_65:
        snprintf(buf, KEY_TEXT_MAX, "ML-DSA-65");
        break;
    case EVP_PKEY_ML_DSA_87:
        snprintf(buf, KEY_TEXT_MAX, "ML-DSA-87");
        break;
    case EVP_PKEY_RSA:
        snprintf(buf, KEY_TEXT_MAX, "RSA %d", EVP_PKEY_bits(key));
        break;
    case EVP_PKEY_EC:
        switch (curve_of(key)) {
        case NID_secp224r1:
            snprintf(buf, KEY_TEXT_MAX, "ECDSA P-224");
            break;
        case NID_X9_62_prime256v1:
            snprintf(buf, KEY_TEXT_MAX, "ECDSA P-256");
            break;
        case NID_secp384r1:
            snprintf(buf, KEY_TEXT_MAX, "ECDSA P-384");
            break;
        case NID_secp521r1:
            snprintf(buf, KEY_TEXT_MAX, "ECDSA P-521");
            break;
        default:
            snprintf(buf, KEY_TEXT_MAX, "ECDSA on an unknown curve");
        }
        break;
    default:
        snprintf(buf, KEY_TEXT_MAX, "unknown");
    }
    return buf;
}

static bool is_accepted(const EVP_PKEY *key)
{
    switch (key == NULL ? EVP_PKEY_NONE : EVP_PKEY_id(key)) {
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ML_DSA_44:
    case EVP_PKEY_ML_DSA_65:
        return true;
    case EVP_PKEY_RSA:
        return EVP_PKEY_bits(key) >= KEY_RSA_BITS_MIN && EVP_PKEY_bits(key) <= KEY_RSA_BITS_MAX;
    case EVP_PKEY_EC:
        return curve_of(key) == NID_X9_62_prime256v1 || curve_of(key) == NID_secp384r1;
    default:
        return false;
    }
}

bool key_check(const EVP_PKEY *key, struct err *err)
{
    if (is_accepted(key)) {
        return true;
    }
    char buf[KEY_TEXT_MAX];
    return err_set(err,
                   "the key is %s; accepted are ML-DSA-44, ML-DSA-65, Ed25519, ECDSA P-256, ECDSA "
                   "P-384 and RSA of %d to %d bits",
                   key_text(key, buf), KEY_RSA_BITS_MIN, KEY_RSA_BITS_MAX);
}
