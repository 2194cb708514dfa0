// SPDX-License-Identifier: Apache-2.0
//
// What libmicrohttpd calls of GnuTLS whether or not anybody asks it for TLS, when it is loaded and
// when the program ends; and the one variable of it that libmicrohttpd 1.0 names, which the linker
// wants to be somewhere. Nobody asks: control/host/http_impl.h starts it without MHD_USE_TLS.
#include <stddef.h>

extern void *(*gnutls_malloc)(size_t len);
int gnutls_global_init(void);
void gnutls_global_deinit(void);

void *(*gnutls_malloc)(size_t len);

int gnutls_global_init(void)
{
    return 0; // success
}

void gnutls_global_deinit(void)
{
}
