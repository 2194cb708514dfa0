// SPDX-License-Identifier: Apache-2.0
//
// Shows a certificate chain, a CRL or a signing request in words, "key: value" line by line, to a
// stream of the caller's. Whatever the file holds, only printable ASCII comes out. Nothing is
// verified: a certificate that is shown may be worthless.
#ifndef TABARD_CERTS_CA_CA_SHOW_H
#define TABARD_CERTS_CA_CA_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"

#define SHOW_BYTES_MAX (16u << 20)
#define SHOW_CERTS_MAX 1000

// ca_show prints what the PEM text (NUL-terminated) is. `what` names it in err. false sets err.
bool ca_show(FILE *out, const char *pem, size_t pem_len, const char *what, time_t now,
             struct err *err);

#endif
