// SPDX-License-Identifier: Apache-2.0
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/secret/secret.h"
#include "certs/key.h"

// Notes that a password would be needed: nobody is there to be asked for one.
static int on_password(char *buf, int size, int is_write, void *ctx)
{
    (void)buf;
    (void)size;
    (void)is_write;
    *(bool *)ctx = true;
    return -1;
}

static bool is_without_seed(void)
{
    uint32_t error = ERR_peek_error();
    return ERR_GET_LIB(error) == ERR_LIB_EVP &&
           ERR_GET_REASON(error) == EVP_R_PRIVATE_KEY_WAS_NOT_SEED;
}

EVP_PKEY *key_pem_read(const char *pem, size_t pem_len, struct err *err)
{
    bool is_encrypted = false;
    secret_begin();
    BIO *bio = BIO_new_mem_buf(pem, (int)pem_len);
    ERR_clear_error();
    EVP_PKEY *key =
        bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, on_password, &is_encrypted);
    bool ok = false;
    if (is_encrypted) {
        err_set(err, "the key is encrypted; a key without a password is needed");
    } else if (key == NULL && is_without_seed()) {
        err_set(err, "the key is of ML-DSA and isn't written as its seed alone; `openssl pkey "
                     "-provparam ml-dsa.output_formats=seed-only` writes it so");
    } else if (key == NULL) {
        err_set(err, "no private key that parses in it; PEM, PKCS#8 or SEC 1, is needed");
    } else {
        ok = key_check(key, err);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (!ok) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    secret_end();
    return key;
}
