// SPDX-License-Identifier: Apache-2.0
//
// Looks one certificate up in the CRLs of a bundle (RFC 5280, section 6.3). verify.c asks about
// each certificate of a chain below the root, policyd about those that it has issued. Pure; any
// thread.
#ifndef TABARD_CERTS_PATH_REVOCATION_H
#define TABARD_CERTS_PATH_REVOCATION_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <time.h>

#include "base/err.h"
#include "certs/cert.h"
#include "certs/path/verify.h"

// revocation_check asks about a certificate that `issuer`, the next one of the chain that was
// built, has signed. Where the issuer has several CRLs, an entry in any of them revokes, and one
// that is still fresh is enough. An issuer without a CRL revokes nothing. Anything but VERIFY_OK
// sets err: REVOKED; CRL_STALE; CRL_UNUSABLE where a CRL seems to be the issuer's and isn't signed
// by its key, or the issuer may not sign CRLs; CERTIFICATE_UNPARSABLE for a serial number that no
// CRL can hold.
enum verify_failure revocation_check(const struct trust_bundle *bundle, X509 *cert, X509 *issuer,
                                     time_t now, struct err *err);

// revocation_lists says whether a CRL of `issuer` lists a serial number.
bool revocation_lists(const struct trust_bundle *bundle, X509 *issuer,
                      const struct cert_serial *serial);

#endif
