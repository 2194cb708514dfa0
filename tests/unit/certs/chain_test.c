// SPDX-License-Identifier: Apache-2.0
#include "certs/chain.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(chain, .timeout = 10);

Test(chain, holds_copies_in_their_order)
{
    uint8_t leaf[] = "leaf";
    uint8_t issuer[] = "its issuer";
    ProtobufCBinaryData ders[] = {{.data = leaf, .len = 4}, {.data = issuer, .len = 10}};
    struct chain chain;
    struct err err = {0};
    cr_assert(chain_init(&chain, ders, 2, &err), "%s", err.text);
    memset(leaf, 0, sizeof leaf);
    cr_assert_eq(chain.num, 2);
    cr_expect_eq(CRYPTO_BUFFER_len(chain.certs[0]), 4);
    cr_expect_arr_eq(CRYPTO_BUFFER_data(chain.certs[0]), "leaf", 4);
    cr_expect_arr_eq(CRYPTO_BUFFER_data(chain.certs[1]), "its issuer", 10);
    struct chain again;
    cr_assert(chain_init(&again, &ders[1], 1, &err));
    cr_expect_eq(again.certs[0], chain.certs[1], "equal certificates are held once");
    chain_cleanup(&again);
    chain_cleanup(&chain);
    cr_expect_eq(chain.num, 0);
    chain_cleanup(&chain);
}

Test(chain, none_and_more_than_a_peer_accepts_are_refused)
{
    uint8_t byte = 1;
    ProtobufCBinaryData ders[CHAIN_CERTS_MAX + 1];
    struct chain chain;
    struct err err = {0};
    for (size_t i = 0; i < CHAIN_CERTS_MAX + 1; i++) {
        ders[i] = (ProtobufCBinaryData){.data = &byte, .len = 1};
    }
    cr_expect_not(chain_init(&chain, ders, 0, &err));
    cr_expect(strstr(err.text, "no certificate") != NULL, "%s", err.text);
    cr_expect_not(chain_init(&chain, ders, CHAIN_CERTS_MAX + 1, &err));
    cr_expect(strstr(err.text, "11 certificates") != NULL, "%s", err.text);
    cr_expect_eq(chain.num, 0);
    cr_expect(chain_init(&chain, ders, CHAIN_CERTS_MAX, &err), "%s", err.text);
    chain_cleanup(&chain);
}

// The verifier must see that a chain is too long, and nobody needs to see how much.
Test(chain, one_that_a_peer_sent_shows_one_certificate_more_than_is_accepted)
{
    static const struct {
        size_t num_sent;
        size_t num_lent;
    } rows[] = {
        {0, 0},
        {1, 1},
        {CHAIN_CERTS_MAX, CHAIN_CERTS_MAX},
        {CHAIN_CERTS_MAX + 1, CHAIN_CERTS_MAX + 1},
        {CHAIN_CERTS_MAX + 2, CHAIN_CERTS_MAX + 1},
        {100, CHAIN_CERTS_MAX + 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        STACK_OF(CRYPTO_BUFFER) *sent = sk_CRYPTO_BUFFER_new_null();
        for (size_t k = 0; k < rows[i].num_sent; k++) {
            uint8_t byte = (uint8_t)k;
            sk_CRYPTO_BUFFER_push(sent, CRYPTO_BUFFER_new(&byte, 1, NULL));
        }
        struct chain chain = chain_lent(sent);
        cr_assert_eq(chain.num, rows[i].num_lent, "row %zu", i);
        for (size_t k = 0; k < chain.num; k++) {
            cr_expect_eq(chain.certs[k], sk_CRYPTO_BUFFER_value(sent, k));
        }
        sk_CRYPTO_BUFFER_pop_free(sent, CRYPTO_BUFFER_free);
    }
    cr_expect_eq(chain_lent(NULL).num, 0);
}
