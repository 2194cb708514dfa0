// SPDX-License-Identifier: Apache-2.0
//
// What a subscription sends: a stream's first request, and signing requests.
#include "control/agent/sources/subscription/subscription_impl.h"

#include <stdlib.h>

const char *subscription_expected_id(const struct subscription *sub)
{
    return sub->config.spiffe_id[0] != '\0' ? sub->config.spiffe_id
           : sub->issued.spiffe_id != NULL  ? sub->issued.spiffe_id
                                            : "";
}

bool subscription_send(struct subscription *sub, const Tabard__V1__SubscribeRequest *request,
                       struct now now)
{
    struct err err = {{0}, {0}};
    bool ok = sub->hooks.send(sub->hooks.ctx, request, &err);
    if (!ok) {
        subscription_give_up(sub, err.text, now);
    }
    return ok;
}

// Sends a request with a certificate_request in it, which brings the service account's token.
static bool send_csr(struct subscription *sub, Tabard__V1__SubscribeRequest *request, char *token,
                     struct now now)
{
    struct err err = {{0}, {0}};
    Tabard__V1__CertificateRequest csr = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    if (!pa_csr_ask(&sub->csr, &csr, sub->config.key, subscription_expected_id(sub), now, &err)) {
        subscription_give_up(sub, err.text, now);
        return false;
    }
    csr.service_account_token = token;
    request->certificate_request = &csr;
    bool ok = subscription_send(sub, request, now);
    request->certificate_request = NULL;
    free(csr.csr.data);
    return ok;
}

static bool needs_csr(const struct subscription *sub, struct now now)
{
    // Where no certificate can be shown, only a certificate_request says which identity this is.
    return !sub->config.keeps_identity &&
           (pa_csr_is_due(&sub->csr, &sub->issued, now) || !sub->config.shows_certificate);
}

void subscription_connect(struct subscription *sub, struct now now)
{
    struct err err = {{0}, {0}};
    char *token = sub->hooks.token_read(sub->hooks.ctx, &err);
    if (token == NULL || !sub->hooks.open(sub->hooks.ctx, &err)) {
        sub->hooks.token_free(sub->hooks.ctx, token);
        subscription_ended(sub, err.text, now);
        return;
    }
    sub->is_open = true;
    sub->opened_ms = now.ms;
    sub->answer_by_ms = now.ms + SUBSCRIPTION_ANSWER_MS_MAX;
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    sub->hooks.fill_node(sub->hooks.ctx, &node);
    node.service_account_token = token;
    request.node = &node;
    request.version_in_force = sub->version;
    if (needs_csr(sub, now)) {
        send_csr(sub, &request, token, now);
    } else {
        subscription_send(sub, &request, now);
    }
    sub->hooks.token_free(sub->hooks.ctx, token);
}

void subscription_renew(struct subscription *sub, struct now now)
{
    struct err err = {{0}, {0}};
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    char *token = sub->hooks.token_read(sub->hooks.ctx, &err);
    if (token == NULL) {
        pa_csr_refused(&sub->csr, now, sub->hooks.random(sub->hooks.ctx));
        sub->hooks.refused(sub->hooks.ctx, err.text);
        return;
    }
    send_csr(sub, &request, token, now);
    sub->hooks.token_free(sub->hooks.ctx, token);
}
