// SPDX-License-Identifier: Apache-2.0
//
// Whose a CRL is, and which of two is the older.
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/crl.h"

struct crl_proof {
    struct crl_proof *next; // owned
    uint8_t key_digest[32];
    bool is_signer;
};

struct crl_key_id crl_key_id_of(const ASN1_OCTET_STRING *id)
{
    struct crl_key_id out = {.is_given = id != NULL};
    if (id != NULL) {
        SHA256(ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id), out.digest);
    }
    return out;
}

static bool differs(const struct crl_key_id *a, const struct crl_key_id *b)
{
    return a->is_given && b->is_given && memcmp(a->digest, b->digest, sizeof a->digest) != 0;
}

// Remembers a verdict for all threads. Two threads may find out the same at once, and remember it
// twice.
static void remember(struct crl *crl, const uint8_t key_digest[32], bool is_signer)
{
    if (atomic_fetch_add_explicit(&crl->num_proofs, 1, memory_order_relaxed) >= CRL_PROOFS_MAX) {
        atomic_fetch_sub_explicit(&crl->num_proofs, 1, memory_order_relaxed);
        return;
    }
    struct crl_proof *proof = must_alloc(1, sizeof *proof);
    memcpy(proof->key_digest, key_digest, sizeof proof->key_digest);
    proof->is_signer = is_signer;
    proof->next = atomic_load_explicit(&crl->proofs, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&crl->proofs, &proof->next, proof,
                                                  memory_order_release, memory_order_relaxed)) {
    }
}

static bool is_signed_by(const struct crl *crl, X509 *issuer, const uint8_t key_digest[32])
{
    if (crl->unproved == NULL) {
        return memcmp(crl->key_digest, key_digest, sizeof crl->key_digest) == 0;
    }
    for (const struct crl_proof *proof = atomic_load_explicit(&crl->proofs, memory_order_acquire);
         proof != NULL; proof = proof->next) {
        if (memcmp(proof->key_digest, key_digest, sizeof proof->key_digest) == 0) {
            return proof->is_signer;
        }
    }
    EVP_PKEY *key = X509_get_pubkey(issuer);
    bool is_signer = key != NULL && X509_CRL_verify(crl->unproved, key) == 1;
    EVP_PKEY_free(key);
    ERR_clear_error();
    remember((struct crl *)crl, key_digest, is_signer);
    return is_signer;
}

enum crl_relation crl_of(const struct crl *crl, X509 *issuer, const uint8_t key_digest[32])
{
    if (X509_NAME_cmp(crl->issuer, X509_get_subject_name(issuer)) != 0) {
        return CRL_OF_ANOTHER;
    }
    if (is_signed_by(crl, issuer, key_digest)) {
        return CRL_OF_ISSUER;
    }
    if (crl->unproved == NULL) {
        return CRL_OF_ANOTHER; // whose it is, is known
    }
    const struct crl_key_id id = crl_key_id_of(X509_get0_subject_key_id(issuer));
    return differs(&id, &crl->key_id) ? CRL_OF_ANOTHER : CRL_DOUBTFUL;
}

void crl_forget_proofs(struct crl *crl)
{
    struct crl_proof *proof = atomic_load_explicit(&crl->proofs, memory_order_relaxed);
    while (proof != NULL) {
        struct crl_proof *next = proof->next;
        free(proof);
        proof = next;
    }
}

static int compare_numbers(const struct cert_serial *a, const struct cert_serial *b)
{
    return a->len != b->len ? (int)a->len - (int)b->len : memcmp(a->bytes, b->bytes, a->len);
}

bool crl_is_older(const struct crl *crl, const struct crl *than)
{
    int order = crl->number.len == 0 || than->number.len == 0
                    ? 0
                    : compare_numbers(&crl->number, &than->number);
    return order != 0 ? order < 0 : crl->this_update < than->this_update;
}

bool crl_same_issuer(const struct crl *a, const struct crl *b)
{
    if (X509_NAME_cmp(a->issuer, b->issuer) != 0 || differs(&a->key_id, &b->key_id)) {
        return false;
    }
    return a->unproved != NULL || b->unproved != NULL ||
           memcmp(a->key_digest, b->key_digest, sizeof a->key_digest) == 0;
}

const char *crl_issuer_text(const struct crl *crl, char *buf)
{
    return must_have(X509_NAME_oneline(crl->issuer, buf, CRL_ISSUER_TEXT));
}
