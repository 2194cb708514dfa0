// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/keyring.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/key.h"

struct slot {
    EVP_PKEY *key; // owned, counted; NULL: an empty slot
    uint8_t id[CONTRACT_KEY_ID_LEN];
    bool is_offered;
    bool is_in_force;
    bool is_replaced; // was in force until replaced_ms
    uint64_t replaced_ms;
};

struct keyring {
    struct slot slots[KEYRING_KEYS_MAX];
    uint64_t counts[KEYRING_NUM_RESULTS];
};

const char *keyring_result_text(enum keyring_result result)
{
    static const char *const texts[] = {
#define X(name, text) text,
        KEYRING_RESULTS(X)
#undef X
    };
    return texts[result];
}

bool keyring_key_id(uint8_t out[CONTRACT_KEY_ID_LEN], const EVP_PKEY *key)
{
    CBB cbb;
    uint8_t *spki = NULL;
    size_t spki_len = 0;
    if (!CBB_init(&cbb, 512) || !EVP_marshal_public_key(&cbb, key) ||
        !CBB_finish(&cbb, &spki, &spki_len)) {
        CBB_cleanup(&cbb);
        ERR_clear_error();
        return false;
    }
    SHA256(spki, spki_len, out);
    OPENSSL_free(spki);
    return true;
}

struct keyring *keyring_new(void)
{
    return must_alloc(1, sizeof(struct keyring));
}

static void slot_clear(struct slot *slot)
{
    EVP_PKEY_free(slot->key); // BoringSSL wipes what it frees
    *slot = (struct slot){0};
}

void keyring_free(struct keyring *keyring)
{
    if (keyring == NULL) {
        return;
    }
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        slot_clear(&keyring->slots[i]);
    }
    free(keyring);
}

static struct slot *find(struct keyring *keyring, const uint8_t *key_id)
{
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        struct slot *slot = &keyring->slots[i];
        if (slot->key != NULL && memcmp(slot->id, key_id, CONTRACT_KEY_ID_LEN) == 0) {
            return slot;
        }
    }
    return NULL;
}

// An empty slot, else the one that was replaced longest ago. At most four slots are offered or
// in force, so there is one.
static struct slot *make_room(struct keyring *keyring)
{
    struct slot *oldest = NULL;
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        struct slot *slot = &keyring->slots[i];
        if (slot->key == NULL) {
            return slot;
        }
        if (!slot->is_offered && !slot->is_in_force &&
            (oldest == NULL || slot->replaced_ms < oldest->replaced_ms)) {
            oldest = slot;
        }
    }
    slot_clear(oldest);
    return oldest;
}

static bool add(struct keyring *keyring, EVP_PKEY *key, struct err *err)
{
    uint8_t id[CONTRACT_KEY_ID_LEN];
    if (!keyring_key_id(id, key)) {
        return err_set(err, "the public key can't be encoded");
    }
    struct slot *slot = find(keyring, id);
    if (slot == NULL) {
        slot = make_room(keyring);
        EVP_PKEY_up_ref(key);
        slot->key = key;
        memcpy(slot->id, id, sizeof slot->id);
    }
    slot->is_offered = true;
    return true;
}

bool keyring_offer(struct keyring *keyring, EVP_PKEY *key, EVP_PKEY *fallback, struct err *err)
{
    keyring_withdraw(keyring);
    bool ok = add(keyring, key, err) && (fallback == NULL || add(keyring, fallback, err));
    if (!ok) {
        keyring_withdraw(keyring);
    }
    return ok;
}

void keyring_settle(struct keyring *keyring, uint64_t now_ms)
{
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        struct slot *slot = &keyring->slots[i];
        if (slot->is_in_force && !slot->is_offered) {
            slot->is_replaced = true;
            slot->replaced_ms = now_ms;
        }
        if (slot->is_offered) {
            slot->is_replaced = false;
        }
        slot->is_in_force = slot->is_offered;
        slot->is_offered = false;
    }
}

void keyring_withdraw(struct keyring *keyring)
{
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        struct slot *slot = &keyring->slots[i];
        if (slot->is_offered && !slot->is_in_force && !slot->is_replaced) {
            slot_clear(slot);
        }
        slot->is_offered = false;
    }
}

void keyring_expire(struct keyring *keyring, uint64_t now_ms)
{
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        struct slot *slot = &keyring->slots[i];
        if (slot->key != NULL && !slot->is_offered && !slot->is_in_force &&
            now_ms - slot->replaced_ms >= KEYRING_REPLACED_MS_MAX) {
            slot_clear(slot);
        }
    }
}

// The whole shape of RFC 8446, section 4.4.3: 64 spaces, one of two context strings, a zero byte, a
// transcript hash of 32 or 48 bytes (SHA-256 or SHA-384: no TLS 1.3 suite has another).
static bool is_certificate_verify(const uint8_t *input, size_t input_len)
{
    static const char *const contexts[] = {"TLS 1.3, server CertificateVerify",
                                           "TLS 1.3, client CertificateVerify"};
    const size_t context_len = strlen(contexts[0]);
    const size_t head_len = 64 + context_len + 1;
    if (input_len != head_len + 32 && input_len != head_len + 48) {
        return false;
    }
    for (size_t i = 0; i < 64; i++) {
        if (input[i] != 0x20) {
            return false;
        }
    }
    // With its NUL: that is the zero byte.
    return memcmp(input + 64, contexts[0], context_len + 1) == 0 ||
           memcmp(input + 64, contexts[1], context_len + 1) == 0;
}

static enum keyring_result try_sign(struct keyring *keyring, const uint8_t *key_id,
                                    size_t key_id_len, uint32_t algorithm, const uint8_t *input,
                                    size_t input_len, uint8_t *out, size_t *out_len)
{
    if (!is_certificate_verify(input, input_len)) {
        return KEYRING_NOT_CERTIFICATE_VERIFY;
    }
    struct slot *slot = key_id_len == CONTRACT_KEY_ID_LEN ? find(keyring, key_id) : NULL;
    if (slot == NULL) {
        return KEYRING_UNKNOWN_KEY;
    }
    *out_len = CONTRACT_SIGNATURE_LEN_MAX;
    switch (key_sign(slot->key, algorithm, input, input_len, out, out_len)) {
    case KEY_SIGNED:
        return KEYRING_SIGNED;
    case KEY_OTHER_SCHEME:
        return KEYRING_WRONG_ALGORITHM;
    default:
        return KEYRING_FAILED;
    }
}

enum keyring_result keyring_sign(struct keyring *keyring, const uint8_t *key_id, size_t key_id_len,
                                 uint32_t algorithm, const uint8_t *input, size_t input_len,
                                 uint8_t out[CONTRACT_SIGNATURE_LEN_MAX], size_t *out_len)
{
    enum keyring_result result =
        try_sign(keyring, key_id, key_id_len, algorithm, input, input_len, out, out_len);
    keyring->counts[result]++;
    return result;
}

uint64_t keyring_count(const struct keyring *keyring, enum keyring_result result)
{
    return keyring->counts[result];
}

size_t keyring_num_keys(const struct keyring *keyring)
{
    size_t num = 0;
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) {
        num += keyring->slots[i].key != NULL;
    }
    return num;
}
