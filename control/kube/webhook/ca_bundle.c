// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/ca_bundle.h"

#include <openssl/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_request.h"
#include "control/kube/api/kube_watch.h"

#define COLLECTION "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

static const struct backoff again = {.first_ms = CA_BUNDLE_AGAIN_MS_MIN,
                                     .min_ms = CA_BUNDLE_AGAIN_MS_MIN,
                                     .max_ms = CA_BUNDLE_AGAIN_MS_MAX,
                                     .jitter = BACKOFF_FROM_HALF};

// What is answered to a patch whose "test" fails, and to one that came together with another.
#define STATUS_OUTRACED 422
#define STATUS_CONFLICT 409

struct ca_bundle {
    struct kube_client *client; // borrowed
    char *namespace;            // owned
    char *roots;                // owned; NULL: not known yet
    struct kube_watch *watch;
    struct kube_request *request; // the patch under way; NULL: none
    json_t *configuration;        // owned; as it was last seen; NULL: it isn't there
    uv_timer_t timer;             // until the next patch
    uint32_t num_failures;        // in a row
    uint64_t num_patched;
    uint64_t num_failed;
    bool is_in_place; // the configuration has our roots
    bool is_synced;
    char said[sizeof(struct err)]; // the trouble that was logged last
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool is_ours(const json_t *webhook, const char *namespace)
{
    const json_t *service = json_object_get(json_object_get(webhook, "clientConfig"), "service");
    return strcmp(text_at(service, "name"), CA_BUNDLE_SERVICE) == 0 &&
           strcmp(text_at(service, "namespace"), namespace) == 0;
}

static char *base64_of(const char *text)
{
    size_t len = 0;
    invariant(EVP_EncodedLength(&len, strlen(text)) == 1);
    uint8_t *encoded = must_alloc(len, 1);
    EVP_EncodeBlock(encoded, (const uint8_t *)text, strlen(text));
    return (char *)encoded;
}

static void append(json_t *patch, json_t *operation)
{
    invariant(json_array_append_new(patch, must_have(operation)) == 0);
}

json_t *ca_bundle_patch(const json_t *configuration, const char *namespace, const char *roots_pem,
                        struct err *err)
{
    const json_t *webhooks = json_object_get(configuration, "webhooks");
    const char *version = text_at(json_object_get(configuration, "metadata"), "resourceVersion");
    char *wanted = base64_of(roots_pem);
    json_t *patch = must_have(json_array());
    const json_t *webhook = NULL;
    size_t num_ours = 0;
    size_t i = 0;
    json_array_foreach(webhooks, i, webhook)
    {
        const json_t *client = json_object_get(webhook, "clientConfig");
        if (!is_ours(webhook, namespace)) {
            continue;
        }
        num_ours++;
        if (strcmp(text_at(client, "caBundle"), wanted) != 0) {
            char path[64];
            snprintf(path, sizeof path, "/webhooks/%zu/clientConfig/caBundle", i);
            append(patch, json_pack("{s:s, s:s, s:s}", "op", "add", "path", path, "value", wanted));
        }
    }
    free(wanted);
    if (num_ours == 0) {
        err_set(err, "none of its webhooks calls the Service %s/" CA_BUNDLE_SERVICE, namespace);
        json_decref(patch);
        return NULL;
    }
    if (json_array_size(patch) > 0) {
        json_t *test = must_have(json_pack("{s:s, s:s, s:s}", "op", "test", "path",
                                           "/metadata/resourceVersion", "value", version));
        invariant(json_array_insert_new(patch, 0, test) == 0);
    }
    return patch;
}

// Logs a trouble once; "" ends it.
static void say(struct ca_bundle *bundle, const char *text)
{
    char quoted[2048];
    if (text[0] != '\0' && strcmp(bundle->said, text) != 0) {
        log_warn("msg=\"the API server can't prove the webhook\" configuration=" //
                 CA_BUNDLE_CONFIGURATION " error=%s",
                 log_quote(quoted, sizeof quoted, text));
    }
    snprintf(bundle->said, sizeof bundle->said, "%s", text);
}

static void on_timer(uv_timer_t *timer);

static void wait(struct ca_bundle *bundle, uint64_t ms)
{
    uv_timer_start(&bundle->timer, on_timer, ms, 0);
}

static void on_patched(void *ctx, const struct kube_answer *answer)
{
    struct ca_bundle *bundle = ctx;
    bundle->request = NULL;
    if (answer->error == NULL) { // the watch brings what it made of it
        bundle->num_patched++;
        bundle->num_failures = 0;
        log_info("msg=\"the API server knows the roots\" configuration=" CA_BUNDLE_CONFIGURATION);
        return;
    }
    bundle->num_failed++;
    if (answer->status != STATUS_OUTRACED && answer->status != STATUS_CONFLICT) {
        say(bundle, answer->error);
    } // else somebody was quicker, and the watch brings what is there now
    wait(bundle, backoff_ms(&again, ++bundle->num_failures, kube_client_random()));
}

// Says what is to be done; NULL: nothing, or nothing can be.
static json_t *look(struct ca_bundle *bundle)
{
    struct err err = {{0}, {0}};
    bundle->is_in_place = false;
    if (bundle->roots == NULL || !bundle->is_synced) {
        return NULL;
    }
    if (bundle->configuration == NULL) {
        say(bundle, "it is not there, so no pod is injected");
        return NULL;
    }
    json_t *patch = ca_bundle_patch(bundle->configuration, bundle->namespace, bundle->roots, &err);
    if (patch == NULL) {
        say(bundle, err.text);
    } else if (json_array_size(patch) == 0) {
        bundle->is_in_place = true;
        say(bundle, "");
        json_decref(patch);
        patch = NULL;
    }
    return patch;
}

static void on_timer(uv_timer_t *timer)
{
    struct ca_bundle *bundle = timer->data;
    json_t *patch = bundle->request == NULL ? look(bundle) : NULL;
    if (patch != NULL) {
        const struct kube_request_options options = {.method = "PATCH",
                                                     .path = COLLECTION "/" CA_BUNDLE_CONFIGURATION,
                                                     .body = patch,
                                                     .content_type = KUBE_JSON_PATCH};
        bundle->request = kube_request(bundle->client, &options, on_patched, bundle);
    }
    json_decref(patch);
}

// Patches, if that is needed, a little later: another replica may be quicker.
static void look_soon(struct ca_bundle *bundle)
{
    json_t *patch = look(bundle);
    if (patch == NULL) {
        uv_timer_stop(&bundle->timer);
    } else if (!uv_is_active((uv_handle_t *)&bundle->timer)) {
        wait(bundle, CA_BUNDLE_DRIFT_MS + kube_client_random() % CA_BUNDLE_DRIFT_MS);
    }
    json_decref(patch);
}

static void on_object(void *ctx, enum kube_change change, json_t *object)
{
    struct ca_bundle *bundle = ctx;
    json_decref(bundle->configuration);
    bundle->configuration = change == KUBE_PUT ? json_incref(object) : NULL;
    if (bundle->is_synced) {
        look_soon(bundle);
    }
}

static void on_synced(void *ctx, const char *version, bool has_news)
{
    struct ca_bundle *bundle = ctx;
    (void)version;
    (void)has_news;
    if (!bundle->is_synced) {
        bundle->is_synced = true;
        wait(bundle, 0);
    }
}

static const struct kube_watch_hooks hooks = {.on_object = on_object, .on_synced = on_synced};

struct ca_bundle *ca_bundle_new(struct kube_client *client, const char *namespace)
{
    struct ca_bundle *bundle = must_alloc(1, sizeof *bundle);
    bundle->client = client;
    bundle->namespace = must_strdup(namespace);
    uv_timer_init(kube_client_loop(client), &bundle->timer);
    bundle->timer.data = bundle;
    bundle->watch = kube_watch_new(
        client, &(struct kube_watch_options){.path = COLLECTION,
                                             .query = "fieldSelector=metadata.name%3D" //
                                             CA_BUNDLE_CONFIGURATION,
                                             .name = "webhook_configuration",
                                             .hooks = &hooks,
                                             .ctx = bundle});
    return bundle;
}

void ca_bundle_set(struct ca_bundle *bundle, const char *roots_pem)
{
    if (bundle->roots == NULL || strcmp(bundle->roots, roots_pem) != 0) {
        free(bundle->roots);
        bundle->roots = must_strdup(roots_pem);
        wait(bundle, 0);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct ca_bundle *bundle = handle->data;
    json_decref(bundle->configuration);
    free(bundle->namespace);
    free(bundle->roots);
    free(bundle);
}

void ca_bundle_close(struct ca_bundle *bundle)
{
    if (bundle != NULL) {
        kube_watch_close(bundle->watch);
        kube_request_cancel(bundle->request);
        uv_close((uv_handle_t *)&bundle->timer, on_closed);
    }
}

void ca_bundle_metrics(const struct ca_bundle *bundle, struct metrics_page *page)
{
    metrics_gauge(page, "tabard_policyd_webhook_ca_bundle_in_place",
                  "1 while the MutatingWebhookConfiguration has the roots in force.",
                  bundle->is_in_place);
    metrics_family(page, "tabard_policyd_webhook_ca_bundle_patches_total", METRICS_COUNTER,
                   "Patches of its caBundle, by what became of them.");
    metrics_uint_by(page, "result", "done", bundle->num_patched);
    metrics_uint_by(page, "result", "failed", bundle->num_failed);
}
