// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/csr.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "certs/ca/mint.h"

#define ID    "spiffe://demo.example/ns/shop/sa/web"
#define OTHER "spiffe://demo.example/ns/shop/sa/other"
#define NOW   1790000000

Test(csr, asks_for_one_id_or_for_whatever_is_granted, .timeout = 20)
{
    static const struct {
        const char *asked, *granted;
        bool ok;
    } rows[] = {{ID, ID, true}, {"", ID, true}, {OTHER, ID, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        EVP_PKEY *key = NULL;
        EVP_PKEY *found = NULL;
        uint8_t *der = NULL;
        size_t len = 0;
        cr_assert(csr_new(&key, &der, &len, MINT_KEY_P256, rows[i].asked, &err), "%s", err.text);
        const uint8_t *end = der;
        X509_REQ *csr = d2i_X509_REQ(NULL, &end, (long)len);
        cr_assert_not_null(csr);
        cr_expect_eq(end, der + len);
        const struct mint_leaf leaf = {
            .spiffe_id = rows[i].granted, .not_before = NOW, .not_after = NOW + 3600};
        cr_expect_eq(mint_csr_check(&found, csr, &leaf, &err), rows[i].ok, "row %zu: %s", i,
                     err.text);
        cr_expect(!rows[i].ok || EVP_PKEY_cmp(found, key) == 1);
        EVP_PKEY_free(found);
        EVP_PKEY_free(key);
        X509_REQ_free(csr);
        free(der);
    }
}
