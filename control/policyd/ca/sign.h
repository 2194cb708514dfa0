// SPDX-License-Identifier: Apache-2.0
//
// Signs with an open CA: makes a chain of DER certificates out of a request and what it is granted.
// issue.c calls it on a worker, tls.c for our own certificate. Results are the caller's; one thread
// at a time. The queue and the limits are in issue.h.
#ifndef TABARD_CONTROL_POLICYD_CA_SIGN_H
#define TABARD_CONTROL_POLICYD_CA_SIGN_H

#include "certs/ca/ca_store.h"
#include "control/policyd/ca/issue.h"

// Zero state: {0}.
struct signed_chain {
    uint8_t *certs[STORE_CHAIN_MAX + 1]; // owned
    size_t lens[STORE_CHAIN_MAX + 1];
    size_t num_certs;
    struct cert_serial serial;
    X509 *issuer; // owned, counted: the CA that signed
    time_t not_after;
};

// sign_request checks the request and signs. It notes the certificate in *notes, which the caller
// records (ca_store_record_notes) before it hands anything out. sign_key signs a key of our own,
// and records that. The life is cut at the CA's own end. `now` is now_date_s; while the wall clock
// is behind it, the life begins by the wall clock, and what would be over by `now` is refused.
// false sets err.
bool sign_request(struct signed_chain *out, const struct ca_store *store,
                  const struct issue_request *request, time_t now, struct bytes *notes,
                  struct err *err);
bool sign_key(struct signed_chain *out, const struct ca_store *store, EVP_PKEY *key,
              const struct issue_request *request, time_t now, struct err *err);
void signed_chain_cleanup(struct signed_chain *chain);

// sign_crl writes the CA's crl.pem anew if it is there and half of its life is over, or if it was
// made by a clock that was ahead, so that it is not fresh for too long. *out_did says whether it
// did. false sets err.
bool sign_crl(const struct ca_store *store, time_t now, bool *out_did, struct err *err);

#endif
