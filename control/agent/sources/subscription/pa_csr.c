// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/subscription/pa_csr.h"

#include <openssl/evp.h>

#include "base/backoff.h"
#include "certs/ca/csr.h"

#define GRANTED_MS 1000 // the least time between a certificate and the request for the next

// Returns when half of a certificate's life is over, and up to a tenth of that sooner or later, so
// that a fleet's renewals spread. The life begins when the certificate came, and not with a
// notBefore that was dated back.
static int64_t renewal_s(const struct pa_certificate *certificate, int64_t now_s, uint32_t random)
{
    int64_t start = certificate->not_before > now_s ? certificate->not_before : now_s;
    int64_t life = certificate->not_after > start ? certificate->not_after - start : 0;
    int64_t percent = 45 + (int64_t)(random % 11);
    return start + life * percent / 100;
}

static enum mint_key_kind kind_of(Tabard__V1__MeshConfig__PolicyAgentAccess__Key key)
{
    switch (key) {
    case TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__KEY__ED25519:
        return MINT_KEY_ED25519;
    case TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__KEY__ML_DSA_44:
        return MINT_KEY_ML_DSA_44;
    case TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__KEY__ML_DSA_65:
        return MINT_KEY_ML_DSA_65;
    default:
        return MINT_KEY_P256;
    }
}

bool pa_csr_ask(struct pa_csr *csr, Tabard__V1__CertificateRequest *out,
                Tabard__V1__MeshConfig__PolicyAgentAccess__Key kind, const char *spiffe_id,
                struct now now, struct err *err)
{
    pa_csr_forget(csr);
    out->spiffe_id = (char *)spiffe_id;
    if (!csr_new(&csr->key, &out->csr.data, &out->csr.len, kind_of(kind), spiffe_id, err)) {
        return false;
    }
    csr->answer_by_ms = now.ms + PA_CSR_ANSWER_MS_MAX;
    return true;
}

void pa_csr_granted(struct pa_csr *csr, const struct pa_certificate *certificate, bool is_answer,
                    struct now now, uint32_t random)
{
    csr->renew = now_end_at(renewal_s(certificate, now_unix_s(now), random), now);
    csr->num_refused = 0;
    if (is_answer) {
        pa_csr_forget(csr);
        csr->ask_at_ms = now.ms + GRANTED_MS;
    }
}

void pa_csr_hurry(struct pa_csr *csr)
{
    csr->renew = (struct now_end){0};
}

void pa_csr_refused(struct pa_csr *csr, struct now now, uint32_t random)
{
    static const struct backoff waits = {.first_ms = 0,
                                         .min_ms = PA_CSR_WAIT_MS_MIN,
                                         .max_ms = PA_CSR_WAIT_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    pa_csr_forget(csr);
    csr->ask_at_ms = now.ms + backoff_ms(&waits, ++csr->num_refused, random);
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
    return certificate->part == NULL || now_end_left_ms(csr->renew, now) == 0;
}
