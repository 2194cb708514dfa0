// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/assemble_parts.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/pb_copy.h"
#include "control/agent/snapshot/credentials.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

// Notes when the first CRL of a bundle ends.
void assembled_note_crls(struct assembled *out, const Tabard__V1__TrustBundle *bundle)
{
    struct assembled_crl *crl = &out->crls[out->num_crls];
    for (size_t i = 0; i < bundle->n_crls; i++) {
        const uint8_t *der = bundle->crls[i].data;
        X509_CRL *parsed = d2i_X509_CRL(NULL, &der, (long)bundle->crls[i].len);
        time_t next = 0;
        if (parsed != NULL && credentials_time(&next, X509_CRL_get0_nextUpdate(parsed)) &&
            (crl->next_update == 0 || next < crl->next_update)) {
            crl->next_update = next;
        }
        X509_CRL_free(parsed);
    }
    if (crl->next_update != 0) {
        snprintf(crl->trust_domain, sizeof crl->trust_domain, "%s", bundle->trust_domain);
        out->num_crls++;
    }
    ERR_clear_error();
}

bool assembled_check_rules(struct assembled *out, struct err *err)
{
    Tabard__V1__Snapshot *snapshot = out->snapshot;
    struct policy_index *policies = policy_index_new(snapshot->policies, snapshot->n_policies, err);
    if (policies == NULL) {
        return false;
    }
    policy_index_free(policies);
    struct route_index *routes = route_index_new(snapshot, err);
    if (routes == NULL) {
        return false;
    }
    out->drain_seconds = route_limits(routes)->drain_seconds;
    const struct listen_spec *listens = route_listens(routes);
    for (size_t i = 0; i < route_num_listens(routes); i++) {
        if (listens[i].kind == LISTEN_OUTBOUND) {
            out->outbound_port = listens[i].listen.port;
        } else if (listens[i].kind == LISTEN_INBOUND) {
            out->inbound_port = listens[i].listen.port;
        }
    }
    route_index_free(routes);
    return true;
}

bool assembled_digest(struct assembled *out, struct err *err)
{
    size_t len = tabard__v1__snapshot__get_packed_size(out->snapshot);
    if (len > ASSEMBLED_BYTES_MAX) {
        return err_set(err, "the whole is %zu bytes packed, over the limit of %u", len,
                       ASSEMBLED_BYTES_MAX);
    }
    uint8_t *packed = pb_copy_packed(&out->snapshot->base, &len);
    SHA256(packed, len, out->digest);
    free(packed);
    return true;
}
