// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/source_kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"
#include "base/log.h"
#include "base/must.h"
#include "control/policyd/kubernetes/source_kubernetes_impl.h"

#define REVISION_BITS 16 // that versions have below a revision
#define TABARD_API    "/apis/tabard.dev/v1alpha1/"

// Which collections are followed. A pod that has ended has no address and no sidecar.
static const struct {
    const char *path;
    const char *query;
} collections[KUBE_NUM_KINDS] = {
    [KUBE_POD] = {"/api/v1/pods",
                  "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"},
    [KUBE_SERVICE] = {"/api/v1/services", NULL},
    [KUBE_ENDPOINT_SLICE] = {"/apis/discovery.k8s.io/v1/endpointslices", NULL},
    [KUBE_NAMESPACE] = {"/api/v1/namespaces", NULL},
    [KUBE_MESH_POLICY] = {TABARD_API "meshpolicies", NULL},
    [KUBE_MESH_DESTINATION] = {TABARD_API "meshdestinations", NULL},
    [KUBE_MESH_SETTINGS] = {TABARD_API "meshsettings", NULL},
};

static void report(struct source_kubernetes *source, enum source_part part, const char *text)
{
    static const char *const names[] = {"fleet", "trust"};
    if (strcmp(source->reported[part], text) != 0) {
        snprintf(source->reported[part], sizeof source->reported[part], "%s", text);
        if (text[0] != '\0') {
            source->hooks.on_failed(source->hooks.ctx, names[part], text);
        }
    }
}

static bool is_listed(const struct source_kubernetes *source)
{
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        if (!kube_watch_stats(source->followed[kind].watch)->is_synced) {
            return false;
        }
    }
    return true;
}

// Makes a fleet of the update's config, or returns NULL.
static struct fleet *make_fleet(struct source_kubernetes *source, struct kube_update *update)
{
    struct err err = {{0}, {0}};
    char text[sizeof err];
    struct fleet *fleet = NULL;
    if (update->config != NULL) {
        fleet = fleet_new_of(update->config, update->trust_domain, &err);
        report(source, SOURCE_FLEET, fleet == NULL ? err_text(&err, text, sizeof text) : "");
        update->config = NULL;
    }
    return fleet;
}

static void tell_verdicts(struct source_kubernetes *source)
{
    struct kube_verdict verdict;
    char quoted[2048];
    while (kube_model_take_verdict(source->model, &verdict)) {
        if (!verdict.is_accepted) {
            log_warn("msg=\"not in force as it is written\" kind=%s name=%s%s%s error=%s",
                     kube_kind_name(verdict.kind), verdict.ns, verdict.ns[0] != '\0' ? "/" : "",
                     verdict.name, log_quote(quoted, sizeof quoted, verdict.message));
        }
        if (source->statuses != NULL) {
            statuses_judge(source->statuses, &verdict);
        }
    }
}

// A resourceVersion is a number that grows, for all kinds alike: that of etcd. 0: it is none.
static uint64_t read_version(const char *text)
{
    uint64_t version = 0;
    if (text != NULL) {
        digits_read(&version, text, strlen(text), DIGITS_TAKE_ZEROS, UINT64_MAX >> REVISION_BITS);
    }
    return version;
}

static void see_version(struct source_kubernetes *source, const char *text)
{
    uint64_t version = read_version(text);
    source->revision = version > source->revision ? version : source->revision;
}

// Of the collection that is furthest behind. One that is being listed is where it was.
static uint64_t complete_of(const struct source_kubernetes *source)
{
    uint64_t complete = UINT64_MAX;
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        uint64_t version = read_version(kube_watch_version(source->followed[kind].watch));
        complete = version < complete ? version : complete;
    }
    return complete > source->complete ? complete : source->complete;
}

// Passes on what has changed since the last time.
static void pass_on(struct source_kubernetes *source)
{
    struct kube_update update;
    uint64_t started_ns = uv_hrtime();
    uint64_t began_ns = source->began_ns != 0 ? source->began_ns : started_ns;
    source->began_ns = 0;
    kube_model_take(source->model, &update);
    struct fleet *fleet = make_fleet(source, &update);
    tell_verdicts(source);
    source->complete = complete_of(source);
    source->hooks.on_revised(source->hooks.ctx, source->revision, source->complete);
    source->has_passed = source->has_passed || fleet != NULL;
    if (source->has_passed && (fleet != NULL || update.num_places > 0 || update.num_moved > 0)) {
        source->num_passes++;
        source->hooks.on_update(source->hooks.ctx, fleet, &update, began_ns);
    }
    if (source->statuses != NULL && (fleet != NULL || update.num_moved > 0)) {
        statuses_look(source->statuses);
    }
    source->took_ms = (uv_hrtime() - started_ns) / 1000000;
    source->passed_ms = uv_now(source->timer.loop);
    if (source->is_relisted) {
        source->is_relisted = false;
        source->hooks.on_relisted(source->hooks.ctx);
    }
}

// The first time: as soon as all is there that a sidecar must know.
static void begin_if_whole(struct source_kubernetes *source)
{
    if (source->is_begun || source->trust == NULL || !is_listed(source)) {
        return;
    }
    struct ca_trust *trust = source->trust;
    source->trust = NULL;
    source->is_begun = true;
    source->hooks.on_trust(source->hooks.ctx, trust, uv_hrtime());
    pass_on(source);
}

static void on_timer(uv_timer_t *timer)
{
    struct source_kubernetes *source = timer->data;
    if (source->is_begun) {
        pass_on(source);
        return;
    }
    // The settings alone say for what trust domain the CA is.
    const char *domain = is_listed(source) ? kube_model_trust_domain(source->model) : NULL;
    if (domain != NULL) {
        ca_keeper_set_domain(source->keeper, domain);
        begin_if_whole(source);
    }
}

static void gather(struct source_kubernetes *source)
{
    uint64_t now_ms = uv_now(source->timer.loop);
    uint64_t wait_ms = SOURCE_KUBERNETES_GATHER_MS;
    uint64_t next_ms = source->passed_ms + source->took_ms * SOURCE_KUBERNETES_SHARE;
    if (source->began_ns == 0) {
        source->began_ns = uv_hrtime();
    }
    if (uv_is_active((uv_handle_t *)&source->timer)) {
        return;
    }
    if (next_ms > now_ms + wait_ms) {
        wait_ms = next_ms - now_ms;
    }
    if (wait_ms > SOURCE_KUBERNETES_GATHER_MS_MAX) {
        wait_ms = SOURCE_KUBERNETES_GATHER_MS_MAX;
    }
    uv_timer_start(&source->timer, on_timer, wait_ms, 0);
}

static void put(struct followed *followed, const json_t *object)
{
    struct source_kubernetes *source = followed->source;
    struct err err = {{0}, {0}};
    char quoted[1024];
    if (!kube_model_put(source->model, followed->kind, object, &err)) {
        log_warn("msg=\"an object was passed over\" kind=%s error=%s",
                 kube_kind_name(followed->kind), log_quote(quoted, sizeof quoted, err.text));
    } else if (source->statuses != NULL) {
        statuses_put(source->statuses, followed->kind, object);
    }
}

static void forget(struct followed *followed, const json_t *meta)
{
    struct source_kubernetes *source = followed->source;
    const char *name = json_string_value(json_object_get(meta, "name"));
    const char *namespace = json_string_value(json_object_get(meta, "namespace"));
    namespace = namespace != NULL ? namespace : "";
    kube_model_delete(source->model, followed->kind, namespace, name);
    if (source->statuses != NULL) {
        statuses_delete(source->statuses, followed->kind, namespace, name);
    }
}

static void on_object(void *ctx, enum kube_change change, json_t *object)
{
    struct followed *followed = ctx;
    struct source_kubernetes *source = followed->source;
    const json_t *meta = json_object_get(object, "metadata");
    see_version(source, json_string_value(json_object_get(meta, "resourceVersion")));
    if (change == KUBE_PUT) {
        put(followed, object);
    } else {
        forget(followed, meta);
    }
    gather(source);
}

static void on_synced(void *ctx, const char *version, bool has_news)
{
    struct followed *followed = ctx;
    struct source_kubernetes *source = followed->source;
    bool is_first = kube_watch_stats(followed->watch)->num_lists == 1;
    if (is_first || has_news || followed->is_relisting) {
        see_version(source, version);
    }
    if (followed->is_relisting) {
        followed->is_relisting = false;
        source->is_relisted = true;
        for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
            source->is_relisted = source->is_relisted && !source->followed[kind].is_relisting;
        }
    }
    if (is_first && followed->kind == KUBE_MESH_SETTINGS && source->first != NULL) {
        bool is_there = kube_watch_stats(followed->watch)->num_objects > 0;
        first_settings_see_settings(source->first, is_there);
    }
    gather(source);
}

static const struct ca_trust *in_force(void *ctx)
{
    struct source_kubernetes *source = ctx;
    return source->is_begun ? source->hooks.in_force(source->hooks.ctx) : source->trust;
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    struct source_kubernetes *source = ctx;
    report(source, SOURCE_TRUST, "");
    if (source->is_begun) {
        source->hooks.on_trust(source->hooks.ctx, trust, began_ns);
        return;
    }
    ca_trust_free(source->trust);
    source->trust = trust;
    begin_if_whole(source);
}

static void on_ca_listed(void *ctx, bool is_there)
{
    struct source_kubernetes *source = ctx;
    if (source->first != NULL) {
        first_settings_see_ca(source->first, is_there);
    }
}

static void on_settings_failed(void *ctx, const char *text)
{
    struct source_kubernetes *source = ctx;
    source->hooks.on_failed(source->hooks.ctx, "fleet", text);
}

static void on_trust_failed(void *ctx, const char *text)
{
    report(ctx, SOURCE_TRUST, text);
}

struct source_kubernetes *source_kubernetes_new(const struct source_kubernetes_config *config)
{
    static const struct kube_watch_hooks hooks = {.on_object = on_object, .on_synced = on_synced};
    struct source_kubernetes *source = must_alloc(1, sizeof *source);
    source->hooks = config->hooks;
    source->client = config->client;
    source->model = kube_model_new(config->namespace);
    uv_timer_init(kube_client_loop(config->client), &source->timer);
    source->timer.data = source;
    if (config->hooks.each_sidecar != NULL) {
        source->statuses =
            statuses_new(&(struct statuses_config){.client = config->client,
                                                   .model = source->model,
                                                   .namespace = config->namespace,
                                                   .replica = config->replica,
                                                   .ctx = config->hooks.ctx,
                                                   .num_changes = config->hooks.num_sidecar_changes,
                                                   .each_sidecar = config->hooks.each_sidecar});
    }
    if (config->first_settings != NULL) {
        source->first =
            first_settings_new(&(struct first_settings_config){.client = config->client,
                                                               .path = config->first_settings,
                                                               .ctx = source,
                                                               .on_failed = on_settings_failed});
    }
    source->keeper = ca_keeper_new(&(struct ca_keeper_config){.client = config->client,
                                                              .dir = config->dir,
                                                              .namespace = config->namespace,
                                                              .ctx = source,
                                                              .in_force = in_force,
                                                              .on_trust = on_trust,
                                                              .on_listed = on_ca_listed,
                                                              .on_failed = on_trust_failed});
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        struct followed *followed = &source->followed[kind];
        *followed = (struct followed){.source = source, .kind = (enum kube_kind)kind};
        followed->watch = kube_watch_new(
            config->client, &(struct kube_watch_options){.path = collections[kind].path,
                                                         .query = collections[kind].query,
                                                         .name = kube_kind_name(followed->kind),
                                                         .hooks = &hooks,
                                                         .ctx = followed});
    }
    return source;
}

static void on_closed(uv_handle_t *handle)
{
    struct source_kubernetes *source = handle->data;
    kube_model_free(source->model);
    ca_trust_free(source->trust);
    free(source);
}

void source_kubernetes_close(struct source_kubernetes *source)
{
    if (source == NULL) {
        return;
    }
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        kube_watch_close(source->followed[kind].watch);
    }
    ca_keeper_close(source->keeper);
    statuses_close(source->statuses);
    first_settings_close(source->first);
    uv_close((uv_handle_t *)&source->timer, on_closed);
}

bool source_kubernetes_is_ready(const struct source_kubernetes *source, struct err *why)
{
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        if (!kube_watch_stats(source->followed[kind].watch)->is_synced) {
            return err_set(why, "the API server has not listed the objects of kind %s yet",
                           kube_kind_name((enum kube_kind)kind));
        }
    }
    if (kube_model_trust_domain(source->model) == NULL) {
        return err_set(why, "there is no MeshSettings `default`, which names the trust domain");
    }
    if (!source->is_begun) {
        const char *failure = source->reported[SOURCE_TRUST];
        return err_set(why, "there is no CA yet: %s",
                       failure[0] != '\0' ? failure : "it is being made");
    }
    return source->has_passed || err_set(why, "%s", source->reported[SOURCE_FLEET]);
}

void source_kubernetes_relist(struct source_kubernetes *source, uint64_t revision)
{
    bool is_relisting = false;
    for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
        struct followed *followed = &source->followed[kind];
        bool is_behind = read_version(kube_watch_version(followed->watch)) < revision;
        if (!followed->is_relisting && is_behind) {
            followed->is_relisting = true;
            kube_watch_relist(followed->watch);
        }
        is_relisting = is_relisting || followed->is_relisting;
    }
    if (!is_relisting) {
        source->is_relisted = true;
        gather(source);
    }
}

struct kube_model *source_kubernetes_model(struct source_kubernetes *source)
{
    return source->model;
}
