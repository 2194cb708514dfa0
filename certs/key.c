// SPDX-License-Identifier: Apache-2.0
#include "certs/key.h"

#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
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
        return true;
    case EVP_PKEY_RSA:
        return EVP_PKEY_bits(key) >= KEY_RSA_BITS_MIN;
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
                   "the key is %s; accepted are Ed25519, ECDSA P-256, ECDSA P-384 and RSA of %d "
                   "bits and more",
                   key_text(key, buf), KEY_RSA_BITS_MIN);
}

bool key_signature_check(int signature_nid, struct err *err)
{
    switch (signature_nid) {
    case NID_ED25519:
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
    case NID_sha256WithRSAEncryption:
    case NID_sha384WithRSAEncryption:
    case NID_sha512WithRSAEncryption:
    case NID_rsassaPss:
        return true;
    default:
        break;
    }
    const char *name =
        signature_nid == NID_undef ? "an unknown algorithm" : OBJ_nid2sn(signature_nid);
    return err_set(err,
                   "signed with %s; accepted are Ed25519, and ECDSA or RSA with SHA-256 or better",
                   name == NULL ? "an unknown algorithm" : name);
}
