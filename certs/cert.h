// SPDX-License-Identifier: Apache-2.0
//
// Reads a certificate's times, its serial number, and the URIs of its subjectAltName; of a CRL the
// first two. Names a certificate in messages.
#ifndef TABARD_CERTS_CERT_H
#define TABARD_CERTS_CERT_H

#include <openssl/asn1.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

// cert_time_read reads an ASN.1 time as seconds since 1970. false: it is absent (NULL) or not a
// time, and *out is as it was.
bool cert_time_read(time_t *out, const ASN1_TIME *time);

// cert_time_text writes a time for a message ("2026-11-28T12:00:00Z"), in buf of CERT_TIME_TEXT_MAX
// bytes.
#define CERT_TIME_TEXT_MAX 32
const char *cert_time_text(time_t time, char *buf);

// A serial number is the content of its DER INTEGER; RFC 5280 allows 20 bytes, and longer ones are
// refused. Two are equal when all their bytes are.
#define CERT_SERIAL_LEN_MAX 20
struct cert_serial {
    uint8_t len; // 0: none
    bool is_negative;
    uint8_t bytes[CERT_SERIAL_LEN_MAX];
};

// cert_serial_read copies an ASN.1 serial number. false: it is longer than CERT_SERIAL_LEN_MAX, and
// *out is none.
bool cert_serial_read(struct cert_serial *out, const ASN1_INTEGER *number);

// The URIs of a subjectAltName, where SPIFFE ids stand (X509-SVID, section 2); names of other kinds
// are passed over. Zero state: no URIs.
struct cert_uris {
    GENERAL_NAMES *names; // owned
    size_t num;
};

// cert_uris_read reads the URIs of a certificate, none if it has no subjectAltName. false: it has
// one that can't be read, or two of them; *out is then the zero state.
bool cert_uris_read(struct cert_uris *out, const X509 *cert);
void cert_uris_cleanup(struct cert_uris *uris);

// cert_uri returns the text of a URI (index < num), borrowed. It may hold any byte, and no NUL ends
// it.
const char *cert_uri(const struct cert_uris *uris, size_t index, size_t *out_len);

// cert_name_text writes a name for a message ("/CN=mesh root"), in buf of CERT_NAME_TEXT_MAX bytes.
#define CERT_NAME_TEXT_MAX 200
const char *cert_name_text(const X509_NAME *name, char *buf);

// cert_err_prefix puts before a message which certificate it is about: "the leaf" at depth 0, above
// it "certificate 1 of the chain" and so on, with the subject unless cert is NULL. It returns
// false.
bool cert_err_prefix(struct err *err, size_t depth, const X509 *cert);

#endif
