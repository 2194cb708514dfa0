// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/ca_keeper.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "control/kube/api/kube_request.h"
#include "control/policyd/kubernetes/ca_root.h"
#include "control/policyd/kubernetes/ca_secret.h"

#define CONFLICT 409

// What a timer is for.
enum { TIMER_WRITE, TIMER_CHECK, NUM_TIMERS };

struct ca_keeper {
    uv_timer_t timers[NUM_TIMERS];
    unsigned handles_open;
    struct ca_keeper_config config; // `dir` and `namespace` are owned
    char *scratch;                  // owned, with the next two
    char *path;                     // of the Secrets of the namespace
    char *domain;                   // NULL: not named yet
    struct kube_watch *watch;
    struct ca_secret secret;           // as it was read last; no version: there is none
    struct ca_secret laid;             // the last one that could be used
    bool is_listed;                    // what `secret` says is so
    bool was_listed;                   // a Secret was seen, be it one that can't be used
    bool is_laid;                      // and lies in the folder
    bool is_gone;                      // the Secret was deleted since
    struct kube_request *request;      // that writes the Secret
    json_t *made_root;                 // of the Secret that is being made
    struct ca_root *root;              // that we made; NULL: none
    uint32_t num_failures;             // of writes, in a row
    char reported[sizeof(struct err)]; // the failure passed on; empty: none
    struct ca_keeper_stats stats;
};

static void look(struct ca_keeper *keeper);
static void on_write(uv_timer_t *timer);

static void report(struct ca_keeper *keeper, const char *text)
{
    if (strcmp(keeper->reported, text) != 0) {
        snprintf(keeper->reported, sizeof keeper->reported, "%s", text);
        if (text[0] != '\0') {
            keeper->config.on_failed(keeper->config.ctx, text);
        }
    }
}

static uint32_t wait_after(uint32_t num_failures)
{
    static const struct backoff waits = {.first_ms = CA_KEEPER_AGAIN_MS_MIN,
                                         .min_ms = 2 * CA_KEEPER_AGAIN_MS_MIN,
                                         .max_ms = CA_KEEPER_AGAIN_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    return backoff_ms(&waits, num_failures, kube_client_random());
}

static void write_again(struct ca_keeper *keeper)
{
    uv_timer_start(&keeper->timers[TIMER_WRITE], on_write, wait_after(++keeper->num_failures), 0);
}

static void on_made(void *ctx, const struct kube_answer *answer)
{
    struct ca_keeper *keeper = ctx;
    struct err err = {{0}, {0}};
    keeper->request = NULL;
    json_t *root = keeper->made_root;
    keeper->made_root = NULL;
    if (answer->error == NULL) {
        log_info("msg=\"made a CA\" secret=" CA_SECRET_NAME " trust_domain=%s", keeper->domain);
        keeper->stats.num_made++;
        keeper->num_failures = 0;
        keeper->root = ca_root_store(keeper->config.client, keeper->path, root);
        return; // the watch brings the Secret
    }
    json_decref(root);
    if (answer->status == CONFLICT) {
        keeper->stats.num_outraced++;
        log_info("msg=\"another replica has made the CA\"");
        return;
    }
    err_set(&err, "the Secret " CA_SECRET_NAME " can't be made: %s", answer->error);
    report(keeper, err.text);
    write_again(keeper);
}

static void make(struct ca_keeper *keeper)
{
    struct err err = {{0}, {0}};
    json_t *secret = ca_secret_new(keeper->scratch, keeper->config.namespace, keeper->domain,
                                   now_date_s(), &keeper->made_root, &err);
    if (secret == NULL) {
        err_prefix(&err, "a CA can't be made");
        report(keeper, err.text);
        write_again(keeper);
        return;
    }
    const struct kube_request_options options = {
        .method = "POST", .path = keeper->path, .body = secret};
    keeper->request = kube_request(keeper->config.client, &options, on_made, keeper);
    json_decref(secret);
}

static void on_put_back(void *ctx, const struct kube_answer *answer)
{
    struct ca_keeper *keeper = ctx;
    struct err err = {{0}, {0}};
    keeper->request = NULL;
    if (answer->error == NULL || answer->status == CONFLICT) {
        keeper->stats.num_put_back += answer->error == NULL;
        return; // the watch brings the Secret
    }
    err_set(&err, "the Secret " CA_SECRET_NAME " can't be put back: %s", answer->error);
    report(keeper, err.text);
    write_again(keeper);
}

static void put_back(struct ca_keeper *keeper)
{
    json_t *secret = ca_secret_write(&keeper->laid, keeper->config.namespace);
    const struct kube_request_options options = {
        .method = "POST", .path = keeper->path, .body = secret};
    keeper->request = kube_request(keeper->config.client, &options, on_put_back, keeper);
    json_decref(secret);
}

static void on_renewed(void *ctx, const struct kube_answer *answer)
{
    struct ca_keeper *keeper = ctx;
    struct err err = {{0}, {0}};
    keeper->request = NULL;
    if (answer->error == NULL) {
        keeper->stats.num_crls++;
        keeper->num_failures = 0;
        log_info("msg=\"wrote a CRL\" secret=" CA_SECRET_NAME);
        return; // the watch brings the Secret
    }
    if (answer->status == CONFLICT) {
        keeper->stats.num_outraced++;
    } else {
        err_set(&err, "the CRL can't be written to the Secret " CA_SECRET_NAME ": %s",
                answer->error);
        report(keeper, err.text);
    }
    write_again(keeper); // unless the Secret that comes meanwhile has it
}

static void renew(struct ca_keeper *keeper)
{
    struct err err = {{0}, {0}};
    const char *bad = NULL;
    json_t *patch = ca_secret_renew(&keeper->secret, keeper->scratch, now_date_s(), &bad, &err);
    if (bad != NULL && err.text[0] == '\0') {
        err_set(&err,
                "revoked.%.100s: no certificate has such a serial number: up to 20 bytes in "
                "hexadecimal are one",
                bad);
    }
    if (err.text[0] != '\0') {
        err_prefix(&err, "the Secret " CA_SECRET_NAME);
        report(keeper, err.text);
    }
    if (patch == NULL) {
        return;
    }
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" CA_SECRET_NAME, keeper->path);
    const struct kube_request_options options = {
        .method = "PATCH", .path = path, .body = patch, .content_type = KUBE_MERGE_PATCH};
    keeper->request = kube_request(keeper->config.client, &options, on_renewed, keeper);
    json_decref(patch);
}

// Writes what the Secret lacks.
static void on_write(uv_timer_t *timer)
{
    struct ca_keeper *keeper = timer->data;
    if (!keeper->is_listed || keeper->domain == NULL || keeper->request != NULL) {
        return;
    }
    if (keeper->secret.version == NULL) {
        make(keeper);
    } else if (keeper->is_gone && keeper->is_laid) {
        put_back(keeper);
    } else if (keeper->is_laid) {
        renew(keeper);
    }
}

// The Secret may be as it was, and yet it is looked at: certificates and CRLs expire.
static void take(struct ca_keeper *keeper, bool is_news)
{
    const struct ca_trust *in_force = keeper->config.in_force(keeper->config.ctx);
    char *const *files = keeper->secret.files;
    const struct ca_trust_texts texts = {
        .ca = files[CA_SECRET_CA], .crl = files[CA_SECRET_CRL], .roots = files[CA_SECRET_ROOTS]};
    struct err err = {{0}, {0}};
    uint64_t began_ns = uv_hrtime();
    char text[sizeof err];
    struct ca_trust *trust = ca_trust_new(&texts, in_force, now_date_s(), &err);
    bool ok = trust != NULL;
    if (ok && strcmp(trust->domain, keeper->domain) != 0) {
        ok = err_set(&err, "its CA is one of the trust domain %s, and MeshSettings says %s",
                     trust->domain, keeper->domain);
    }
    if (ok && (is_news || !keeper->is_laid)) {
        ok = ca_secret_lay(&keeper->secret, keeper->config.dir, &err);
    }
    if (!ok) {
        ca_trust_free(trust);
        err_prefix(&err, "the Secret " CA_SECRET_NAME);
        report(keeper, err_text(&err, text, sizeof text));
        return;
    }
    bool was_laid = keeper->is_laid;
    report(keeper, "");
    ca_secret_cleanup(&keeper->laid);
    ca_secret_copy(&keeper->laid, &keeper->secret);
    keeper->is_laid = true;
    if (is_news || !was_laid) {
        keeper->config.on_trust(keeper->config.ctx, trust, began_ns);
    } else {
        ca_trust_free(trust);
    }
}

static void write_soon(struct ca_keeper *keeper)
{
    uint32_t wait_ms = kube_client_random() % CA_KEEPER_JITTER_MS;
    uv_timer_start(&keeper->timers[TIMER_WRITE], on_write, wait_ms, 0);
}

static void look(struct ca_keeper *keeper)
{
    if (keeper->domain == NULL || !keeper->is_listed) {
        return;
    }
    if (keeper->secret.version == NULL) {
        on_write(&keeper->timers[TIMER_WRITE]); // at once: the API server decides who was first
        return;
    }
    take(keeper, false);
    write_soon(keeper);
}

static void take_secret(struct ca_keeper *keeper, const json_t *object)
{
    struct ca_secret secret;
    struct err err = {{0}, {0}};
    if (!ca_secret_read(&secret, object, &err)) {
        err_prefix(&err, "the Secret " CA_SECRET_NAME);
        report(keeper, err.text);
        return;
    }
    bool is_news = !ca_secret_same_files(&keeper->secret, &secret);
    ca_secret_cleanup(&keeper->secret);
    keeper->secret = secret;
    keeper->is_gone = false;
    keeper->num_failures = 0;
    if (keeper->domain != NULL) {
        take(keeper, is_news);
        write_soon(keeper);
    }
}

// What was in force stays in force, and is put back before a replica that starts makes another CA,
// which would part the mesh.
static void on_object(void *ctx, enum kube_change change, json_t *object)
{
    struct ca_keeper *keeper = ctx;
    const char *name =
        json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));
    if (strcmp(name, CA_SECRET_NAME) != 0) {
        return; // the server knows no selectors
    }
    keeper->was_listed = true;
    if (change == KUBE_PUT) {
        take_secret(keeper, object);
        return;
    }
    keeper->is_gone = keeper->secret.version != NULL;
    report(keeper, "the Secret " CA_SECRET_NAME " was deleted; its CA stays in force");
    uv_timer_start(&keeper->timers[TIMER_WRITE], on_write, CA_KEEPER_GONE_MS, 0);
}

static void on_synced(void *ctx, const char *version, bool has_news)
{
    struct ca_keeper *keeper = ctx;
    (void)version;
    (void)has_news;
    if (!keeper->is_listed) {
        keeper->is_listed = true;
        if (keeper->config.on_listed != NULL) {
            keeper->config.on_listed(keeper->config.ctx, keeper->was_listed);
        }
        look(keeper);
    }
}

static void on_check(uv_timer_t *timer)
{
    struct ca_keeper *keeper = timer->data;
    char path[PATH_MAX];
    look(keeper);
    // It would grow for ever in memory; the log says what was issued.
    snprintf(path, sizeof path, "%s/ca/issued", keeper->config.dir);
    unlink(path);
}

void ca_keeper_set_domain(struct ca_keeper *keeper, const char *trust_domain)
{
    if (keeper->domain == NULL || strcmp(keeper->domain, trust_domain) != 0) {
        free(keeper->domain);
        keeper->domain = must_strdup(trust_domain);
        look(keeper);
    }
}

struct ca_keeper *ca_keeper_new(const struct ca_keeper_config *config)
{
    static const struct kube_watch_hooks hooks = {.on_object = on_object, .on_synced = on_synced};
    struct ca_keeper *keeper = must_alloc(1, sizeof *keeper);
    struct bytes path = {0}, scratch = {0};
    keeper->config = *config;
    keeper->config.dir = must_strdup(config->dir);
    keeper->config.namespace = must_strdup(config->namespace);
    bytes_push_format(&scratch, "%s/scratch", config->dir);
    keeper->scratch = bytes_take_text(&scratch);
    bytes_push_format(&path, "/api/v1/namespaces/%s/secrets", config->namespace);
    keeper->path = bytes_take_text(&path);
    for (size_t i = 0; i < NUM_TIMERS; i++) {
        uv_timer_init(kube_client_loop(config->client), &keeper->timers[i]);
        keeper->timers[i].data = keeper;
    }
    keeper->handles_open = NUM_TIMERS;
    uv_timer_start(&keeper->timers[TIMER_CHECK], on_check, CA_KEEPER_CHECK_MS, CA_KEEPER_CHECK_MS);
    const struct kube_watch_options options = {.path = keeper->path,
                                               .query =
                                                   "fieldSelector=metadata.name%3D" CA_SECRET_NAME,
                                               .name = "Secret",
                                               .hooks = &hooks,
                                               .ctx = keeper};
    keeper->watch = kube_watch_new(config->client, &options);
    return keeper;
}

static void on_closed(uv_handle_t *handle)
{
    struct ca_keeper *keeper = handle->data;
    if (--keeper->handles_open > 0) {
        return;
    }
    ca_secret_cleanup(&keeper->secret);
    ca_secret_cleanup(&keeper->laid);
    json_decref(keeper->made_root);
    free((char *)keeper->config.dir);
    free((char *)keeper->config.namespace);
    free(keeper->scratch);
    free(keeper->path);
    free(keeper->domain);
    free(keeper);
}

void ca_keeper_close(struct ca_keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    kube_watch_close(keeper->watch);
    kube_request_cancel(keeper->request);
    ca_root_close(keeper->root);
    for (size_t i = 0; i < NUM_TIMERS; i++) {
        uv_close((uv_handle_t *)&keeper->timers[i], on_closed);
    }
}

const struct kube_watch_stats *ca_keeper_watch_stats(const struct ca_keeper *keeper)
{
    return kube_watch_stats(keeper->watch);
}

const struct ca_keeper_stats *ca_keeper_stats(const struct ca_keeper *keeper)
{
    return &keeper->stats;
}
