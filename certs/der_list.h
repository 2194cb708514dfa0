// SPDX-License-Identifier: Apache-2.0
//
// Reads certificates and CRLs out of PEM text into DER. Its errors name the line.
#ifndef TABARD_CERTS_DER_LIST_H
#define TABARD_CERTS_DER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// A list of DER blobs, which it owns. Zero state: {0}.
struct der_list {
    uint8_t **items; // owned, malloc each
    size_t *lens;
    size_t num;
};
void der_list_cleanup(struct der_list *list);

// der_list_from_pem reads every PEM block labelled `label` ("CERTIFICATE", "X509 CRL"), at most
// num_max. A block of another label, text that looks like a damaged block, or no block at all is an
// error. `what` names the source in err ("bundle/roots.pem"). Each blob is checked to parse.
bool der_list_from_pem(struct der_list *out, const char *label, const char *pem, size_t pem_len,
                       size_t num_max, const char *what, struct err *err);

#endif
