// SPDX-License-Identifier: Apache-2.0
//
// The private keys, and the one thing that is done with them: signing a TLS 1.3 CertificateVerify
// (RFC 8446, section 4.4.3). A request of any other shape is refused, so that a captured proxy
// can't have certificates or CSRs signed. For each generation the agent calls keyring_offer, and
// then keyring_settle or keyring_withdraw; proxy_link calls keyring_sign. There is room for
// KEYRING_KEYS_MAX keys: the one that was replaced first goes first. It reads no files, and no key
// leaves it.
#ifndef TABARD_CONTROL_AGENT_PROXY_KEYRING_H
#define TABARD_CONTROL_AGENT_PROXY_KEYRING_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/contract.h"

#define KEYRING_KEYS_MAX        16
#define KEYRING_REPLACED_MS_MAX 120000 // a replaced key signs on for handshakes that began with it

// What came of a request. The texts are stable: metric labels and SignResult errors
// (keyring_result_text).
#define KEYRING_RESULTS(X)                                                                         \
    X(KEYRING_SIGNED, "ok")                                                                        \
    X(KEYRING_UNKNOWN_KEY, "unknown_key")                                                          \
    X(KEYRING_NOT_CERTIFICATE_VERIFY, "not_certificate_verify")                                    \
    X(KEYRING_WRONG_ALGORITHM, "wrong_algorithm")                                                  \
    X(KEYRING_FAILED, "failed")

enum keyring_result {
#define X(name, text) name,
    KEYRING_RESULTS(X)
#undef X
        KEYRING_NUM_RESULTS
};
const char *keyring_result_text(enum keyring_result result);

struct keyring; // opaque

// keyring_key_id writes SHA-256 of the key's SubjectPublicKeyInfo. false: that can't be encoded.
bool keyring_key_id(uint8_t out[CONTRACT_KEY_ID_LEN], const EVP_PKEY *key);

struct keyring *keyring_new(void);
void keyring_free(struct keyring *keyring);

// keyring_offer adds the key of a generation that is about to be sent, and that of its fallback
// (NULL: none), and counts a reference to each. They sign from now on. One generation is offered at
// a time, until keyring_settle or keyring_withdraw. false sets err.
bool keyring_offer(struct keyring *keyring, EVP_PKEY *key, EVP_PKEY *fallback, struct err *err);

// keyring_settle: what was offered is in force; what was in force before it is kept for
// KEYRING_REPLACED_MS_MAX.
void keyring_settle(struct keyring *keyring, uint64_t now_ms);

// keyring_withdraw: what was offered was refused; it goes, unless it is also in force.
void keyring_withdraw(struct keyring *keyring);

// keyring_expire frees replaced keys whose time is over.
void keyring_expire(struct keyring *keyring, uint64_t now_ms);

// keyring_sign signs `input` by the TLS SignatureScheme `algorithm` and counts the result. Only on
// KEYRING_SIGNED are out and *out_len filled.
enum keyring_result keyring_sign(struct keyring *keyring, const uint8_t *key_id, size_t key_id_len,
                                 uint32_t algorithm, const uint8_t *input, size_t input_len,
                                 uint8_t out[CONTRACT_SIGNATURE_LEN_MAX], size_t *out_len);

// keyring_count returns how often a result came since keyring_new.
uint64_t keyring_count(const struct keyring *keyring, enum keyring_result result);

// keyring_num_keys returns how many keys are held. Only tests ask: nothing else shows that a key
// was let go in time.
size_t keyring_num_keys(const struct keyring *keyring);

#endif
