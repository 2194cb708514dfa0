// SPDX-License-Identifier: Apache-2.0
//
// A certificate that a policy agent issued, checked to be the answer to our request. assemble,
// which has the trust bundles, asks whether peers would accept it. Pure.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CERTIFICATE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CERTIFICATE_H

#include <stdint.h>

#include "base/err.h"
#include "control/agent/snapshot/slots.h"
#include "tabard/v1/policy_agent.pb-c.h"

// Zero state: none.
struct pa_certificate {
    struct part *part; // counted; the identity and its key; NULL: none
    char *spiffe_id;   // owned; stays when the rest has expired
    int64_t not_before;
    int64_t not_after;
};

// pa_certificate_take moves the chain out of `certificate` and counts a reference to the key that
// was made for it. Refused: a chain whose leaf has another key, no SPIFFE id, or another one than
// expected_id (empty: any). false sets err.
bool pa_certificate_take(struct pa_certificate *out, Tabard__V1__IssuedCertificate *certificate,
                         EVP_PKEY *key, const char *expected_id, struct err *err);
void pa_certificate_clear(struct pa_certificate *issued);

#endif
