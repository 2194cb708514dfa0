// SPDX-License-Identifier: Apache-2.0
//
// Decides when a subscription asks its policy agent for a certificate, and keeps the key of the
// request that has no answer yet. Each request has a key of its own, which leaves this only with
// its certificate. Owned by the subscription; one thread. It sends nothing and reads no clock.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CSR_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_CSR_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/now.h"
#include "control/agent/sources/subscription/pa_certificate.h"
#include "tabard/v1/mesh.pb-c.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define PA_CSR_ANSWER_MS_MAX 30000 // a policy agent that takes longer loses the stream
#define PA_CSR_WAIT_MS_MIN   5000  // between two requests, from the second refusal on
#define PA_CSR_WAIT_MS_MAX   60000

// Zero state: {0}.
struct pa_csr {
    EVP_PKEY *key;         // owned; of the request without an answer; NULL: none
    uint64_t answer_by_ms; // 0: no answer is waited for
    uint64_t ask_at_ms;    // not before
    struct now_end renew;  // until half of the issued certificate's life is over; zero: at once
    uint32_t num_refused;  // in a row
};

// pa_csr_ask makes a key of a kind and a request for `spiffe_id` (empty: any) in place of one
// without an answer. out->csr.data is to be free()d; the text is borrowed. false sets err.
bool pa_csr_ask(struct pa_csr *csr, Tabard__V1__CertificateRequest *out,
                Tabard__V1__MeshConfig__PolicyAgentAccess__Key kind, const char *spiffe_id,
                struct now now, struct err *err);

// pa_csr_granted notes when a certificate that came into force is to be renewed; is_answer: it
// answers the request at hand.
void pa_csr_granted(struct pa_csr *csr, const struct pa_certificate *certificate, bool is_answer,
                    struct now now, uint32_t random);

// pa_csr_hurry says that the issued certificate is useless to what is to come into force: the next
// one is due at once, as soon as the waits allow.
void pa_csr_hurry(struct pa_csr *csr);

// pa_csr_refused waits before the next request: this one was refused, or its answer was.
void pa_csr_refused(struct pa_csr *csr, struct now now, uint32_t random);

// pa_csr_forget gives up the request without an answer; pa_csr_start_anew does so for a new stream,
// which need not wait.
void pa_csr_forget(struct pa_csr *csr);
void pa_csr_start_anew(struct pa_csr *csr);

// pa_csr_is_due says whether it is time to ask: there is no certificate, or it has to be renewed.
bool pa_csr_is_due(const struct pa_csr *csr, const struct pa_certificate *certificate,
                   struct now now);

#endif
