// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/hello.h"

#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

static uint8_t memory[RING_BYTES];

static enum hello_state look(const uint8_t *bytes, size_t len)
{
    struct ring ring = {0};
    ring_attach(&ring, memory, RING_BYTES);
    cr_assert(ring_write(&ring, bytes, len) == len);
    return hello_look(&ring);
}

// The ClientHello of a client of BoringSSL, as one record.
static size_t real_hello_with(uint8_t *out, size_t out_len, const char *alpn)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl = SSL_new(ctx);
    BIO *wire = BIO_new(BIO_s_mem());
    cr_assert(SSL_set_alpn_protos(ssl, (const uint8_t *)alpn, (unsigned)strlen(alpn)) == 0);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), wire);
    cr_assert(SSL_connect(ssl) < 0);
    int len = BIO_read(wire, out, (int)out_len);
    cr_assert(len > 100 && (size_t)len < out_len);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)len;
}

static size_t real_hello(uint8_t *out, size_t out_len)
{
    return real_hello_with(out, out_len, "");
}

Test(hello, says_which_protocols_it_offers, .timeout = 20)
{
    static const char *const lists[] = {"\x02h2\x08tabard/1", "\x01x", ""};
    static uint8_t bytes[HELLO_BYTES_MAX], list[HELLO_BYTES_MAX];
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct ring ring = {0};
        ring_attach(&ring, memory, sizeof memory);
        size_t len = real_hello_with(bytes, sizeof bytes, lists[i]);
        for (size_t at = 5; at < len; at += 7) { // in records of seven bytes
            const uint8_t header[] = {22, 3, 3, 0, (uint8_t)(len - at < 7 ? len - at : 7)};
            cr_assert(ring_write(&ring, header, 5) == 5);
            cr_assert(ring_write(&ring, bytes + at, header[4]) == header[4]);
        }
        cr_assert(hello_look(&ring) == HELLO_WHOLE);
        cr_expect_eq(hello_alpn(&ring, list), strlen(lists[i]), "list %zu", i);
        cr_expect_eq(memcmp(list, lists[i], strlen(lists[i])), 0, "list %zu", i);
    }
}

Test(hello, that_lies_about_a_length_offers_nothing, .timeout = 20)
{
    uint8_t bytes[4096], list[HELLO_BYTES_MAX];
    size_t len = real_hello_with(bytes, sizeof bytes, "\x08tabard/1");
    unsigned num_found = 0;
    for (size_t i = 0; i < len; i++) {
        struct ring ring = {0};
        ring_attach(&ring, memory, sizeof memory);
        bytes[i] ^= 0xff;
        cr_assert(ring_write(&ring, bytes, len) == len);
        num_found += hello_alpn(&ring, list) == 9;
        bytes[i] ^= 0xff;
        struct ring part = {0};
        ring_attach(&part, memory, sizeof memory);
        cr_assert(ring_write(&part, bytes, i) == i);
        cr_assert(hello_alpn(&part, list) == 0 || i > len - 200);
    }
    cr_expect(num_found > 0 && num_found < len);
}

Test(hello, is_a_part_until_its_last_byte_has_come, .timeout = 20)
{
    uint8_t bytes[4096];
    size_t len = real_hello(bytes, sizeof bytes);
    for (size_t i = 0; i < len; i++) {
        cr_assert(look(bytes, i) == (i < HELLO_DECIDES ? HELLO_UNDECIDED : HELLO_PART),
                  "%zu of %zu bytes", i, len);
    }
    cr_assert(look(bytes, len) == HELLO_WHOLE);
    cr_assert(look(bytes, len + 1) == HELLO_WHOLE, "what comes behind it is another's matter");
}

Test(hello, may_lie_in_records_of_any_size, .timeout = 20)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 100};
    uint8_t whole[4096];
    uint8_t bytes[HELLO_BYTES_MAX];
    size_t whole_len = real_hello(whole, sizeof whole);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        size_t len = 0;
        for (size_t at = 5; at < whole_len; at += sizes[k]) {
            size_t part = whole_len - at < sizes[k] ? whole_len - at : sizes[k];
            const uint8_t header[] = {22, 3, 3, 0, (uint8_t)part};
            memcpy(bytes + len, header, sizeof header);
            memcpy(bytes + len + sizeof header, whole + at, part);
            len += sizeof header + part;
        }
        cr_assert(look(bytes, len - 1) == HELLO_PART, "records of %zu bytes", sizes[k]);
        cr_assert(look(bytes, len) == HELLO_WHOLE, "records of %zu bytes", sizes[k]);
    }
}

#define ROW(state, ...)                                                                            \
    {                                                                                              \
        state, sizeof(uint8_t[]){__VA_ARGS__},                                                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
static const struct {
    enum hello_state state;
    size_t len;
    uint8_t bytes[16];
} beginnings[] = {
    ROW(HELLO_UNDECIDED, 22), ROW(HELLO_UNDECIDED, 22, 3), ROW(HELLO_UNDECIDED, 22, 3, 1, 0),
    ROW(HELLO_UNDECIDED, 22, 3, 4, 0x40), ROW(HELLO_UNDECIDED, 22, 3, 1, 2, 0),
    ROW(HELLO_UNDECIDED, 22, 3, 1, 0x40, 0), ROW(HELLO_PART, 22, 3, 1, 2, 0, 1),
    ROW(HELLO_PART, 22, 3, 0, 0, 1, 1),    // SSL 3.0's version, and a record of one byte
    ROW(HELLO_PART, 22, 3, 4, 0x40, 0, 1), // TLS 1.3's, and a record of 2^14
    ROW(HELLO_NONE, 'G'), ROW(HELLO_NONE, 0), ROW(HELLO_NONE, 21), ROW(HELLO_NONE, 23),
    ROW(HELLO_NONE, 22, 2), ROW(HELLO_NONE, 22, 4), // another major version
    ROW(HELLO_NONE, 22, 3, 5), ROW(HELLO_NONE, 22, 3, 255),
    ROW(HELLO_NONE, 22, 3, 1, 0, 0),                                     // a record without content
    ROW(HELLO_NONE, 22, 3, 1, 0x41), ROW(HELLO_NONE, 22, 3, 1, 0x40, 1), // a record too long
    ROW(HELLO_NONE, 22, 3, 1, 2, 0, 2),                                  // a ServerHello
    ROW(HELLO_NONE, 22, 3, 1, 0, 1, 0),                                  // a HelloRequest
    // What others begin with.
    ROW(HELLO_NONE, 0x16, 0x01, 0, 0),                    // a message of MongoDB's of 278 bytes
    ROW(HELLO_NONE, 0x16, 0x03, 0, 0, 0, 0),              // of 790, as its client's first request
    ROW(HELLO_NONE, 0x16, 0x03, 0, 0, 7, 0),              // as a later one
    ROW(HELLO_NONE, 0x16, 'y', 'y'),                      // a length of one byte, 22
    ROW(HELLO_NONE, 0x16, 0x03, 'y', 'y'),                // of two bytes, little-endian
    ROW(HELLO_NONE, 0, 22), ROW(HELLO_NONE, 0, 0, 0, 22), // and big-endian
    ROW(HELLO_NONE, 0x80, 46, 1, 3, 1, 0),                // a ClientHello in SSL 2.0's form
    // From here on the library will refuse it, and need not wait for more.
    ROW(HELLO_WHOLE, 22, 3, 1, 0, 1, 1, 22, 3, 3, 0, 0),     // a record without content behind it
    ROW(HELLO_WHOLE, 22, 3, 1, 0, 1, 1, 21, 3, 3, 0, 2),     // an alert in the middle
    ROW(HELLO_WHOLE, 22, 3, 1, 0, 1, 1, 22, 2, 3, 0, 2),     // another version in the middle
    ROW(HELLO_WHOLE, 22, 3, 1, 0, 4, 1, 0, 0, 0),            // an empty one
    ROW(HELLO_TOO_LONG, 22, 3, 1, 0, 4, 1, 1, 0, 0),         // 65536 bytes
    ROW(HELLO_TOO_LONG, 22, 3, 1, 0, 4, 1, 0, 0x40, 0),      // 16384, and its header
    ROW(HELLO_PART, 22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xf0), // the longest that there may be
};

Test(hello, is_told_by_its_first_six_bytes, .timeout = 20)
{
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        cr_expect(look(beginnings[i].bytes, beginnings[i].len) == beginnings[i].state,
                  "row %zu: %d", i, look(beginnings[i].bytes, beginnings[i].len));
    }
    cr_assert(hello_look(&(struct ring){0}) == HELLO_UNDECIDED);
}

Test(hello, of_records_too_small_is_too_long, .timeout = 20)
{
    static const uint8_t start[] = {1, 0, 0x3f, 0xf0};
    static uint8_t bytes[HELLO_BYTES_MAX];
    for (size_t at = 0; at + 6 <= sizeof bytes; at += 6) {
        memcpy(bytes + at, (const uint8_t[]){22, 3, 1, 0, 1, at < 24 ? start[at / 6] : 0}, 6);
    }
    cr_assert(look(bytes, sizeof bytes - 10) == HELLO_PART);
    cr_assert(look(bytes, sizeof bytes) == HELLO_TOO_LONG);
}
