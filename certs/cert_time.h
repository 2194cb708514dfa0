// SPDX-License-Identifier: Apache-2.0
//
// The times of certificates and CRLs as seconds since 1970.
// Pure; any thread; fixed size.
// It reads no clock.
#ifndef TABARD_CERTS_CERT_TIME_H
#define TABARD_CERTS_CERT_TIME_H

#include <openssl/asn1.h>
#include <stdbool.h>
#include <time.h>

// cert_time_read reads an ASN.1 time. false: it is absent (NULL) or not a time.
bool cert_time_read(time_t *out, const ASN1_TIME *time);

#endif
