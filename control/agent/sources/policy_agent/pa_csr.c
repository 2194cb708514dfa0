// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_csr.h"

#include <openssl/evp.h>

#include "certs/ca/csr.h"
#include "control/agent/sources/policy_agent/subscription_waits.h"

#define GRANTED_MS 1000 // the least time between a certificate and the request for the next

bool pa_csr_ask(struct pa_csr *csr, Tabard__V1__CertificateRequest *out, const char *spiffe_id,
                struct now now, struct err *err)
{
    pa_csr_forget(csr);
    out->spiffe_id = (char *)spiffe_id;
    if (!csr_new(&csr->key, &out->csr.data, &out->csr.len, spiffe_id, err)) {
        return false;
    }
    csr->answer_by_ms = now.ms + PA_CSR_ANSWER_MS_MAX;
    return true;
}

void pa_csr_granted(struct pa_csr *csr, const struct pa_certificate *certificate, bool is_answer,
                    struct now now, uint32_t random)
{
    csr->renew_unix_s = subscription_renewal_s(certificate->not_before, certificate->not_after,
                                               now_unix_s(now), random);
    csr->num_refused = 0;
    if (is_answer) {
        pa_csr_forget(csr);
        csr->ask_at_ms = now.ms + GRANTED_MS;
    }
}

void pa_csr_refused(struct pa_csr *csr, struct now now, uint32_t random)
{
    pa_csr_forget(csr);
    csr->ask_at_ms = now.ms + subscription_csr_ms(csr->num_refused++, random);
}

void pa_csr_forget(struct pa_csr *csr)
{
    EVP_PKEY_free(csr->key);
    csr->key = NULL;
    csr->answer_by_ms = 0;
}

void pa_csr_start_anew(struct pa_csr *csr)
{
    pa_csr_forget(csr);
    csr->ask_at_ms = 0;
}

bool pa_csr_is_due(const struct pa_csr *csr, const struct pa_certificate *certificate,
                   struct now now)
{
    return certificate->part == NULL || now_unix_s(now) >= csr->renew_unix_s;
}
