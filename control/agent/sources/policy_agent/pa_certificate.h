// SPDX-License-Identifier: Apache-2.0
//
// A certificate that a policy agent issued: is it the answer to our request? Pure. Owned by the
// caller; any thread; bounded by the limits of certs/verify.h. Whether peers would accept it is
// asked later, with the trust bundles; see assemble_policy.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CERTIFICATE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CERTIFICATE_H

#include "control/agent/sources/policy_agent/subscription.h"

// pa_certificate_take moves the chain out of `certificate` and counts a reference to the key that
// was made for it. Refused: a chain whose leaf has another key, no SPIFFE id, or another one than
// expected_id (empty: any). false sets err.
bool pa_certificate_take(struct pa_certificate *out, Tabard__V1__IssuedCertificate *certificate,
                         EVP_PKEY *key, const char *expected_id, struct err *err);
void pa_certificate_clear(struct pa_certificate *issued);

#endif
