// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what a caller sends first: what hello_look says is decided once, by six of them at
// most, and as long as it says that a ClientHello is not whole BoringSSL finds none.
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "proxy/carry/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_met_hello;

static enum ssl_select_cert_result_t on_hello(const SSL_CLIENT_HELLO *hello)
{
    (void)hello;
    has_met_hello = true;
    return ssl_select_cert_error;
}

static void check_library(const uint8_t *data, size_t size, size_t part)
{
    static SSL_CTX *ctx;
    if (ctx == NULL) {
        ctx = SSL_CTX_new(TLS_method());
        invariant(ctx != NULL);
        SSL_CTX_set_select_certificate_cb(ctx, on_hello);
    }
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem());
    invariant(ssl != NULL && in != NULL && BIO_write(in, data, (int)part) == (int)part);
    SSL_set_bio(ssl, in, BIO_new(BIO_s_mem()));
    has_met_hello = false;
    (void)SSL_accept(ssl);
    invariant(!has_met_hello);
    if (part < size) {
        invariant(BIO_write(in, data + part, (int)(size - part)) == (int)(size - part));
        (void)SSL_accept(ssl);
    }
    SSL_free(ssl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t memory[RING_BYTES];
    struct ring ring = {0};
    if (size > sizeof memory) {
        return 0;
    }
    ring_attach(&ring, memory, RING_BYTES);
    enum hello_state last = hello_look(&ring);
    invariant(last == HELLO_UNDECIDED);
    size_t part = 0;
    for (size_t i = 0; i < size; i++) {
        invariant(ring_write(&ring, data + i, 1) == 1);
        enum hello_state state = hello_look(&ring);
        invariant(last == HELLO_UNDECIDED || last == HELLO_PART || state == last);
        invariant((state == HELLO_UNDECIDED) <= (i + 1 < HELLO_DECIDES));
        if (state == HELLO_UNDECIDED || state == HELLO_PART) {
            part = i + 1;
        }
        last = state;
    }
    static uint8_t list[HELLO_BYTES_MAX];
    size_t list_len = hello_alpn(&ring, list);
    invariant(list_len < HELLO_BYTES_MAX && (list_len == 0 || last != HELLO_NONE));
    check_library(data, size, part);
    return 0;
}
