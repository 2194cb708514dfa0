// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/keyring.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/secret/secret.h"
#include "certs/key.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/control/agent/folder.h"

#define SERVER_CONTEXT "TLS 1.3, server CertificateVerify"
#define CLIENT_CONTEXT "TLS 1.3, client CertificateVerify"

// What TLS 1.3 asks to have signed, with a transcript hash of hash_len bytes. Returns its length.
static size_t certificate_verify(uint8_t *out, const char *context, size_t hash_len)
{
    size_t context_len = strlen(context);
    memset(out, 0x20, 64);
    memcpy(out + 64, context, context_len);
    out[64 + context_len] = 0;
    memset(out + 64 + context_len + 1, 0x5a, hash_len);
    return 64 + context_len + 1 + hash_len;
}

struct kind {
    const char *name;
    EVP_PKEY *(*make)(void);
    uint32_t algorithm;
    const EVP_MD *(*digest)(void);
    size_t hash_len;
};

static EVP_PKEY *make_ed25519(void)
{
    return folder_key(MINT_KEY_ED25519);
}
static EVP_PKEY *make_ml_dsa_44(void)
{
    return folder_key(MINT_KEY_ML_DSA_44);
}
static EVP_PKEY *make_ml_dsa_65(void)
{
    return folder_key(MINT_KEY_ML_DSA_65);
}
static EVP_PKEY *make_p256(void)
{
    return folder_key(MINT_KEY_P256);
}
static EVP_PKEY *make_p384(void)
{
    return bad_key_ec(NID_secp384r1);
}
static EVP_PKEY *make_rsa(void)
{
    return bad_key_rsa(2048);
}

static const struct kind kinds[] = {
    {"Ed25519", make_ed25519, 0x0807, NULL, 32},
    {"ML-DSA-44", make_ml_dsa_44, 0x0904, NULL, 32},
    {"ML-DSA-65", make_ml_dsa_65, 0x0905, NULL, 48},
    {"ECDSA P-256", make_p256, 0x0403, EVP_sha256, 48},
    {"ECDSA P-384", make_p384, 0x0503, EVP_sha384, 32},
    {"RSA-PSS SHA-256", make_rsa, 0x0804, EVP_sha256, 32},
    {"RSA-PSS SHA-384", make_rsa, 0x0805, EVP_sha384, 48},
    {"RSA-PSS SHA-512", make_rsa, 0x0806, EVP_sha512, 32},
};

static bool verifies(const struct kind *kind, EVP_PKEY *key, const uint8_t *input, size_t input_len,
                     const uint8_t *signature, size_t signature_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx = NULL;
    bool ok = EVP_DigestVerifyInit(ctx, &pkey_ctx, kind->digest != NULL ? kind->digest() : NULL,
                                   NULL, key) == 1;
    if (ok && EVP_PKEY_id(key) == EVP_PKEY_RSA) {
        ok = EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, -1) == 1;
    }
    ok = ok && EVP_DigestVerify(ctx, signature, signature_len, input, input_len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static struct keyring *keyring_with(EVP_PKEY *key, uint8_t *id)
{
    struct keyring *keyring = keyring_new();
    struct err err = {{0}, {0}};
    cr_assert(keyring_offer(keyring, key, NULL, &err), "%s", err.text);
    cr_assert(keyring_key_id(id, key));
    return keyring;
}

static enum keyring_result sign_with(struct keyring *keyring, const uint8_t *id)
{
    uint8_t input[256];
    uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
    size_t signature_len = 0;
    size_t len = certificate_verify(input, SERVER_CONTEXT, 32);
    return keyring_sign(keyring, id, CONTRACT_KEY_ID_LEN, 0x0807, input, len, signature,
                        &signature_len);
}

Test(keyring, signs_a_certificate_verify_that_verifies, .timeout = 60)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *key = kinds[i].make();
        uint8_t id[CONTRACT_KEY_ID_LEN];
        struct keyring *keyring = keyring_with(key, id);
        const char *contexts[] = {SERVER_CONTEXT, CLIENT_CONTEXT};
        for (size_t j = 0; j < 2; j++) {
            uint8_t input[256];
            uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
            size_t signature_len = 0;
            size_t len = certificate_verify(input, contexts[j], kinds[i].hash_len);
            cr_expect_eq(keyring_sign(keyring, id, sizeof id, kinds[i].algorithm, input, len,
                                      signature, &signature_len),
                         KEYRING_SIGNED, "%s", kinds[i].name);
            cr_expect(verifies(&kinds[i], key, input, len, signature, signature_len), "%s",
                      kinds[i].name);
        }
        cr_expect_eq(keyring_count(keyring, KEYRING_SIGNED), 2, "%s", kinds[i].name);
        keyring_free(keyring);
        EVP_PKEY_free(key);
    }
}

Test(keyring, refuses_an_algorithm_of_another_kind_of_key, .timeout = 60)
{
    static const uint32_t algorithms[] = {0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0807, 0x0401,
                                          0x0201, 0x0603, 0x0904, 0x0905, 0x0906, 0};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        EVP_PKEY *key = kinds[i].make();
        uint8_t id[CONTRACT_KEY_ID_LEN];
        struct keyring *keyring = keyring_with(key, id);
        uint8_t input[256];
        size_t len = certificate_verify(input, SERVER_CONTEXT, 32);
        for (size_t j = 0; j < sizeof algorithms / sizeof algorithms[0]; j++) {
            bool is_rsa_pss = EVP_PKEY_id(key) == EVP_PKEY_RSA && (algorithms[j] >> 8) == 8 &&
                              algorithms[j] <= 0x0806;
            bool fits = is_rsa_pss || algorithms[j] == kinds[i].algorithm;
            uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
            size_t signature_len = 0;
            cr_expect_eq(keyring_sign(keyring, id, sizeof id, algorithms[j], input, len, signature,
                                      &signature_len),
                         fits ? KEYRING_SIGNED : KEYRING_WRONG_ALGORITHM, "%s with 0x%04x",
                         kinds[i].name, algorithms[j]);
        }
        keyring_free(keyring);
        EVP_PKEY_free(key);
    }
}

// Each row spoils a good CertificateVerify of `len` bytes in place and returns its new length.
static size_t spoil_nothing_signed(uint8_t *input, size_t len)
{
    (void)input;
    (void)len;
    return 0;
}
static size_t spoil_first_space(uint8_t *input, size_t len)
{
    input[0] = 0;
    return len;
}
static size_t spoil_last_space(uint8_t *input, size_t len)
{
    input[63] = 0x21;
    return len;
}
static size_t spoil_context(uint8_t *input, size_t len)
{
    input[64 + 9] = 'S';
    return len;
}
static size_t spoil_separator(uint8_t *input, size_t len)
{
    input[64 + strlen(SERVER_CONTEXT)] = 1;
    return len;
}
static size_t spoil_short_hash(uint8_t *input, size_t len)
{
    (void)input;
    return len - 1;
}
static size_t spoil_long_hash(uint8_t *input, size_t len)
{
    input[len] = 0x5a;
    return len + 1;
}
static size_t spoil_no_hash(uint8_t *input, size_t len)
{
    (void)input;
    return len - 32;
}
static size_t spoil_64_byte_hash(uint8_t *input, size_t len)
{
    memset(input + len, 0x5a, 32);
    return len + 32;
}
// A certificate to be signed (RFC 5280), of a length that would fit.
static size_t spoil_certificate(uint8_t *input, size_t len)
{
    memset(input, 0x30, len);
    return len;
}
// TLS 1.2's ServerKeyExchange: two randoms and parameters.
static size_t spoil_tls12(uint8_t *input, size_t len)
{
    memset(input, 0xa5, 64);
    memcpy(input + 64, "\x03\x00\x1d\x20", 4);
    return len;
}
// Exported authenticators (RFC 9261) sign for another purpose.
static size_t spoil_exported_authenticator(uint8_t *input, size_t len)
{
    memcpy(input + 64, "Exported Authenticator\0..........", 33);
    return len;
}

static const struct {
    const char *name;
    size_t (*spoil)(uint8_t *input, size_t len);
} spoiled[] = {
    {"nothing", spoil_nothing_signed},
    {"first space", spoil_first_space},
    {"last space", spoil_last_space},
    {"context", spoil_context},
    {"separator", spoil_separator},
    {"31-byte hash", spoil_short_hash},
    {"33-byte hash", spoil_long_hash},
    {"no hash", spoil_no_hash},
    {"64-byte hash", spoil_64_byte_hash},
    {"a certificate", spoil_certificate},
    {"TLS 1.2", spoil_tls12},
    {"exported authenticator", spoil_exported_authenticator},
};

Test(keyring, signs_nothing_that_is_no_certificate_verify, .timeout = 20)
{
    EVP_PKEY *key = make_ed25519();
    uint8_t id[CONTRACT_KEY_ID_LEN];
    struct keyring *keyring = keyring_with(key, id);
    for (size_t i = 0; i < sizeof spoiled / sizeof spoiled[0]; i++) {
        uint8_t input[256] = {0};
        uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
        size_t signature_len = 0;
        size_t len = certificate_verify(input, SERVER_CONTEXT, 32);
        len = spoiled[i].spoil(input, len);
        cr_expect_eq(
            keyring_sign(keyring, id, sizeof id, 0x0807, input, len, signature, &signature_len),
            KEYRING_NOT_CERTIFICATE_VERIFY, "%s", spoiled[i].name);
        cr_expect_eq(signature_len, 0, "%s", spoiled[i].name);
    }
    cr_expect_eq(keyring_count(keyring, KEYRING_NOT_CERTIFICATE_VERIFY),
                 sizeof spoiled / sizeof spoiled[0]);
    cr_expect_eq(keyring_count(keyring, KEYRING_SIGNED), 0);
    keyring_free(keyring);
    EVP_PKEY_free(key);
}

Test(keyring, knows_only_keys_that_were_offered, .timeout = 20)
{
    EVP_PKEY *key = make_ed25519();
    EVP_PKEY *other = make_ed25519();
    uint8_t id[CONTRACT_KEY_ID_LEN];
    uint8_t other_id[CONTRACT_KEY_ID_LEN];
    struct keyring *keyring = keyring_with(key, id);
    cr_assert(keyring_key_id(other_id, other));
    cr_expect_eq(sign_with(keyring, other_id), KEYRING_UNKNOWN_KEY);
    uint8_t input[256];
    uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
    size_t signature_len = 0;
    size_t len = certificate_verify(input, SERVER_CONTEXT, 32);
    cr_expect_eq(
        keyring_sign(keyring, id, sizeof id - 1, 0x0807, input, len, signature, &signature_len),
        KEYRING_UNKNOWN_KEY, "a cut key id");
    cr_expect_eq(keyring_sign(keyring, NULL, 0, 0x0807, input, len, signature, &signature_len),
                 KEYRING_UNKNOWN_KEY, "no key id");
    cr_expect_eq(keyring_count(keyring, KEYRING_UNKNOWN_KEY), 3);
    keyring_free(keyring);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

Test(keyring, a_replaced_key_signs_for_two_minutes_more, .timeout = 20)
{
    EVP_PKEY *first = make_ed25519();
    EVP_PKEY *second = make_ed25519();
    uint8_t first_id[CONTRACT_KEY_ID_LEN];
    uint8_t second_id[CONTRACT_KEY_ID_LEN];
    struct keyring *keyring = keyring_with(first, first_id);
    keyring_settle(keyring, 0);
    cr_assert(keyring_offer(keyring, second, NULL, NULL));
    cr_assert(keyring_key_id(second_id, second));
    cr_expect_eq(sign_with(keyring, second_id), KEYRING_SIGNED, "as soon as it is offered");
    keyring_settle(keyring, 1000);
    keyring_expire(keyring, 1000 + KEYRING_REPLACED_MS_MAX - 1);
    cr_expect_eq(sign_with(keyring, first_id), KEYRING_SIGNED);
    keyring_expire(keyring, 1000 + KEYRING_REPLACED_MS_MAX);
    cr_expect_eq(sign_with(keyring, first_id), KEYRING_UNKNOWN_KEY);
    cr_expect_eq(sign_with(keyring, second_id), KEYRING_SIGNED, "the one in force stays");
    cr_expect_eq(keyring_num_keys(keyring), 1);
    keyring_free(keyring);
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
}

Test(keyring, a_refused_key_goes_unless_it_is_in_force, .timeout = 20)
{
    EVP_PKEY *first = make_ed25519();
    EVP_PKEY *second = make_ed25519();
    uint8_t first_id[CONTRACT_KEY_ID_LEN];
    uint8_t second_id[CONTRACT_KEY_ID_LEN];
    struct keyring *keyring = keyring_with(first, first_id);
    keyring_settle(keyring, 0);
    cr_assert(keyring_offer(keyring, first, NULL, NULL), "a new chain for the same key");
    keyring_withdraw(keyring);
    cr_expect_eq(sign_with(keyring, first_id), KEYRING_SIGNED);
    cr_assert(keyring_offer(keyring, second, NULL, NULL));
    cr_assert(keyring_key_id(second_id, second));
    keyring_withdraw(keyring);
    cr_expect_eq(sign_with(keyring, second_id), KEYRING_UNKNOWN_KEY);
    cr_expect_eq(keyring_num_keys(keyring), 1);
    keyring_free(keyring);
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
}

Test(keyring, keeps_a_bounded_number_of_keys_and_always_the_one_in_force, .timeout = 20)
{
    struct keyring *keyring = keyring_new();
    uint8_t id[CONTRACT_KEY_ID_LEN];
    uint8_t previous_id[CONTRACT_KEY_ID_LEN];
    for (unsigned i = 0; i < 3 * KEYRING_KEYS_MAX; i++) {
        EVP_PKEY *key = make_ed25519();
        memcpy(previous_id, id, sizeof id);
        cr_assert(keyring_key_id(id, key));
        cr_assert(keyring_offer(keyring, key, NULL, NULL));
        keyring_settle(keyring, i);
        cr_expect_eq(sign_with(keyring, id), KEYRING_SIGNED, "rotation %u", i);
        cr_expect(i == 0 || sign_with(keyring, previous_id) == KEYRING_SIGNED, "rotation %u", i);
        EVP_PKEY_free(key);
    }
    cr_expect_eq(keyring_num_keys(keyring), KEYRING_KEYS_MAX);
    keyring_free(keyring);
}

Test(keyring, a_key_and_its_fallback_are_replaced_each_by_itself, .timeout = 20)
{
    struct keyring *keyring = keyring_new();
    EVP_PKEY *keys[4];
    uint8_t ids[4][CONTRACT_KEY_ID_LEN];
    for (size_t i = 0; i < 4; i++) {
        keys[i] = make_ed25519();
        cr_assert(keyring_key_id(ids[i], keys[i]));
    }
    cr_assert(keyring_offer(keyring, keys[0], keys[1], NULL));
    keyring_settle(keyring, 0);
    cr_expect_eq(sign_with(keyring, ids[0]), KEYRING_SIGNED);
    cr_expect_eq(sign_with(keyring, ids[1]), KEYRING_SIGNED);
    cr_assert(keyring_offer(keyring, keys[0], keys[2], NULL));
    keyring_withdraw(keyring);
    cr_expect_eq(sign_with(keyring, ids[1]), KEYRING_SIGNED, "it is in force");
    cr_expect_eq(sign_with(keyring, ids[2]), KEYRING_UNKNOWN_KEY, "it was refused");
    cr_assert(keyring_offer(keyring, keys[3], keys[1], NULL));
    keyring_settle(keyring, 1000);
    keyring_expire(keyring, 1000 + KEYRING_REPLACED_MS_MAX);
    cr_expect_eq(sign_with(keyring, ids[0]), KEYRING_UNKNOWN_KEY);
    cr_expect_eq(sign_with(keyring, ids[1]), KEYRING_SIGNED);
    cr_expect_eq(sign_with(keyring, ids[3]), KEYRING_SIGNED);
    cr_assert(keyring_offer(keyring, keys[3], NULL, NULL), "without a fallback from now on");
    keyring_settle(keyring, 200000);
    keyring_expire(keyring, 200000 + KEYRING_REPLACED_MS_MAX);
    cr_expect_eq(sign_with(keyring, ids[1]), KEYRING_UNKNOWN_KEY);
    cr_expect_eq(keyring_num_keys(keyring), 1);
    keyring_free(keyring);
    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY_free(keys[i]);
    }
}

static size_t num_overflows;

static void on_overflow(size_t locked_len)
{
    (void)locked_len;
    num_overflows++;
}

Test(keyring, keys_that_came_and_went_leave_nothing_in_locked_memory, .timeout = 60)
{
    struct keyring *keyring = keyring_new();
    secret_open(on_overflow);
    for (unsigned i = 0; i < 400; i++) {
        const struct kind *kind = &kinds[i % 4];
        uint8_t id[CONTRACT_KEY_ID_LEN];
        uint8_t input[256];
        uint8_t signature[CONTRACT_SIGNATURE_LEN_MAX];
        size_t signature_len = 0;
        EVP_PKEY *key = kind->make();
        char *pem = mint_key_pem(key);
        EVP_PKEY_free(key);
        key = key_pem_read(pem, strlen(pem), NULL);
        secret_free(pem);
        cr_assert(key != NULL && keyring_key_id(id, key));
        cr_assert(keyring_offer(keyring, key, NULL, NULL));
        keyring_settle(keyring, i);
        size_t len = certificate_verify(input, SERVER_CONTEXT, kind->hash_len);
        cr_assert_eq(keyring_sign(keyring, id, sizeof id, kind->algorithm, input, len, signature,
                                  &signature_len),
                     KEYRING_SIGNED);
        EVP_PKEY_free(key);
    }
    keyring_free(keyring);
    secret_free(secret_alloc(SECRET_BYTES - (8 << 10)));
    cr_expect_eq(num_overflows, 0);
}
