// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd_webhook.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "certs/tls/known_client.h"
#include "control/kube/webhook/inject_file.h"
#include "control/kube/webhook/webhook.h"

#define CLIENT_CA_BYTES_MAX (1u << 20)
#define CLIENT_CA_ROOTS_MAX 64

static void on_config(void *ctx, Tabard__V1__InjectConfig *config)
{
    struct policyd_webhook *webhook = ctx;
    char quoted[512];
    log_info("msg=\"injection in force\" image=%s",
             log_quote(quoted, sizeof quoted, config->image));
    webhook->has_config = true;
    if (webhook->webhook != NULL) {
        webhook_set_config(webhook->webhook, config);
    } else {
        inject_config_free(webhook->early);
        webhook->early = config;
    }
}

static void on_failed(void *ctx, const char *text)
{
    struct policyd_webhook *webhook = ctx;
    char quoted[2048];
    snprintf(webhook->failure, sizeof webhook->failure, "%s", text);
    log_error("msg=\"update refused\" what=injection error=%s",
              log_quote(quoted, sizeof quoted, text));
}

void policyd_webhook_start(struct policyd_webhook *webhook, uv_loop_t *loop,
                           const struct policyd_flags *flags)
{
    const struct inject_file_hooks hooks = {
        .ctx = webhook, .on_config = on_config, .on_failed = on_failed};
    webhook->loop = loop;
    webhook->flags = flags;
    if (flags->has_webhook) {
        webhook->file = inject_file_watch(loop, flags->inject_config, &hooks);
    }
}

// Has it serve those alone whom the operator's roots prove. The file is read with each certificate.
static bool demand_clients(const struct policyd_flags *flags, SSL_CTX *tls, struct err *err)
{
    struct der_list roots = {.num = 0};
    char *text = NULL;
    size_t len = 0;
    if (flags->webhook_client_ca == NULL) {
        return true;
    }
    bool ok = file_read_text(&text, &len, flags->webhook_client_ca, CLIENT_CA_BYTES_MAX, err) &&
              der_list_from_pem(&roots, "CERTIFICATE", text, len, CLIENT_CA_ROOTS_MAX,
                                flags->webhook_client_ca, err) &&
              known_client_demand(tls, &roots, err);
    der_list_cleanup(&roots);
    free(text);
    return ok || err_prefix(err, "--webhook-client-ca");
}

bool policyd_webhook_trust(struct policyd_webhook *webhook, struct ssl_ctx_st *tls,
                           const char *trust_domain, const char *roots, struct err *err)
{
    const struct policyd_flags *flags = webhook->flags;
    if (!flags->has_webhook) {
        return true;
    }
    if (!demand_clients(flags, tls, err)) {
        return false;
    }
    if (webhook->webhook != NULL) {
        webhook_set_tls(webhook->webhook, tls);
    } else {
        const struct listen_addrs at = {.addrs = {flags->webhook}, .num = 1};
        webhook->webhook = webhook_new(webhook->loop, &at, tls, err);
        if (webhook->webhook == NULL) {
            return false;
        }
    }
    webhook_set_trust(webhook->webhook, trust_domain, roots);
    if (webhook->early != NULL) {
        webhook_set_config(webhook->webhook, webhook->early);
        webhook->early = NULL;
    }
    return true;
}

bool policyd_webhook_is_ready(const struct policyd_webhook *webhook, struct err *why)
{
    if (webhook->file == NULL || (webhook->has_config && webhook->webhook != NULL)) {
        return true;
    }
    if (webhook->webhook == NULL) {
        return err_set(why, "the webhook has no certificate yet");
    }
    return err_set(why, "%s",
                   webhook->failure[0] != '\0' ? webhook->failure
                                               : "how pods are injected is not read yet");
}

size_t policyd_webhook_num_held(const struct policyd_webhook *webhook)
{
    return inject_file_num_held(webhook->file);
}

void policyd_webhook_metrics(const struct policyd_webhook *webhook, struct metrics_page *page)
{
    if (webhook->webhook != NULL) {
        webhook_metrics(webhook->webhook, page);
    }
}

void policyd_webhook_drain(struct policyd_webhook *webhook)
{
    if (webhook->webhook != NULL) {
        webhook_drain(webhook->webhook);
    }
}

void policyd_webhook_stop(struct policyd_webhook *webhook)
{
    inject_file_close(webhook->file);
    webhook_close(webhook->webhook);
    inject_config_free(webhook->early);
    *webhook = (struct policyd_webhook){.file = NULL};
}
