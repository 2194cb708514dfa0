// SPDX-License-Identifier: Apache-2.0
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/hex.h"
#include "base/log.h"
#include "base/must.h"
#include "base/secret/secret.h"
#include "certs/ca/mint.h"

#define SERIAL_DIGITS_MAX 40 // RFC 5280 allows 20 bytes

static BIO *text_begin(void)
{
    return must_have(BIO_new(BIO_s_mem()));
}

// Returns what was written to `bio` as text that the caller owns, and frees by secret_free if it
// is_secret. `ok`, whether the writing
// succeeded, must be true, since only memory was written to.
static char *text_end(BIO *bio, bool ok, bool is_secret)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    invariant(ok && BIO_mem_contents(bio, &data, &len) == 1);
    char *text = must_have(is_secret ? secret_alloc(len + 1) : malloc(len + 1));
    memcpy(text, data, len);
    text[len] = '\0';
    BIO_free(bio);
    return text;
}

char *mint_cert_pem(X509 *cert)
{
    BIO *bio = text_begin();
    return text_end(bio, PEM_write_bio_X509(bio, cert) == 1, false);
}

char *mint_crl_pem(X509_CRL *crl)
{
    BIO *bio = text_begin();
    return text_end(bio, PEM_write_bio_X509_CRL(bio, crl) == 1, false);
}

char *mint_key_pem(EVP_PKEY *key)
{
    secret_begin();
    BIO *bio = text_begin();
    bool ok = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    char *text = text_end(bio, ok, true);
    secret_end();
    return text;
}

// The DER goes through malloc, because that is what protobuf-c frees.
static bool take_der(uint8_t **out_der, size_t *out_len, uint8_t *der, int len)
{
    *out_len = len > 0 ? (size_t)len : 0;
    *out_der = len > 0 ? must_copy(der, *out_len) : NULL;
    OPENSSL_free(der);
    return len > 0;
}

bool mint_cert_der(uint8_t **out_der, size_t *out_len, X509 *cert)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    return take_der(out_der, out_len, der, len);
}

bool mint_crl_der(uint8_t **out_der, size_t *out_len, X509_CRL *crl)
{
    uint8_t *der = NULL;
    int len = i2d_X509_CRL(crl, &der);
    return take_der(out_der, out_len, der, len);
}

bool mint_csr_der(uint8_t **out_der, size_t *out_len, X509_REQ *csr)
{
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(csr, &der);
    return take_der(out_der, out_len, der, len);
}

const char *mint_serial_text(const ASN1_INTEGER *serial, char *buf)
{
    size_t len = (size_t)ASN1_STRING_length(serial);
    bool is_negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
    if (len > SERIAL_DIGITS_MAX / 2) {
        len = SERIAL_DIGITS_MAX / 2;
    }
    buf[0] = '-';
    hex_text(ASN1_STRING_get0_data(serial), len, buf + is_negative);
    return buf;
}

ASN1_INTEGER *mint_serial_parse(const char *text, struct err *err)
{
    char digits[SERIAL_DIGITS_MAX + 1];
    size_t len = 0;
    const char *at = text;
    if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
        at += 2;
    }
    for (; *at != '\0'; at++) {
        if (*at == ':') {
            continue;
        }
        bool is_digit = strchr("0123456789abcdefABCDEF", *at) != NULL;
        if (!is_digit || len == SERIAL_DIGITS_MAX) {
            err_set(err, "\"%.100s\" is not a serial number of at most %d hexadecimal digits", text,
                    SERIAL_DIGITS_MAX);
            return NULL;
        }
        digits[len++] = *at;
    }
    digits[len] = '\0';
    BIGNUM *number = NULL;
    ASN1_INTEGER *serial = NULL;
    if (len == 0) {
        err_set(err, "an empty serial number");
    } else {
        must_have(BN_hex2bn(&number, digits) == 0 ? NULL : number);
        serial = must_have(BN_to_ASN1_INTEGER(number, NULL));
    }
    BN_free(number);
    return serial;
}
