// SPDX-License-Identifier: Apache-2.0
//
// TLS 1.3 to a policy agent. The server must prove a SPIFFE id by the roots (pa_roots.h); we show a
// certificate where there is one, whose key signs in this process, which holds it anyway. A
// verifier is counted, by its user and by every SSL_CTX; one thread.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TLS_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TLS_H

#include <openssl/base.h>

#include "base/err.h"
#include "control/agent/sources/policy_agent/pa_roots.h"
#include "tabard/v1/mesh.pb-c.h"

struct pa_verifier; // opaque

// pa_verifier_new takes over the roots.
struct pa_verifier *pa_verifier_new(struct pa_roots *roots, const char *spiffe_id);
void pa_verifier_unref(struct pa_verifier *verifier); // NULL is allowed

// pa_verifier_roots returns its roots, which are shown each state that comes into force.
struct pa_roots *pa_verifier_roots(struct pa_verifier *verifier);

// pa_verifier_why returns why the last server was refused; empty: it was not.
const char *pa_verifier_why(const struct pa_verifier *verifier);

// pa_tls_new makes a client's context, the caller's. identity may be NULL: no certificate is
// shown. NULL sets err.
SSL_CTX *pa_tls_new(struct pa_verifier *verifier, const Tabard__V1__Identity *identity,
                    EVP_PKEY *key, struct err *err);

#endif
