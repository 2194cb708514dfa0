// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "control/kube/webhook/ca_bundle.h"
#include "control/policyd/kubernetes/source_kubernetes.h"
#include "control/policyd/kubernetes/token_review.h"

static const struct ca_trust *in_force(void *ctx)
{
    const struct policyd_cluster *cluster = ctx;
    return cluster->service != NULL ? cluster->service->world.trust : cluster->trust;
}

// The API server proves the webhook by the roots in force.
static void set_roots(struct policyd_cluster *cluster)
{
    if (cluster->bundle != NULL) {
        ca_bundle_set(cluster->bundle, cluster->service->world.trust->roots_pem);
    }
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    struct policyd_cluster *cluster = ctx;
    if (cluster->service == NULL) {
        ca_trust_free(cluster->trust);
        cluster->trust = trust;
        return;
    }
    cluster->hooks.on_trust(cluster->hooks.ctx, trust, began_ns);
    set_roots(cluster);
}

static void on_relist(void *ctx, uint64_t revision)
{
    struct policyd_cluster *cluster = ctx;
    if (cluster->source != NULL) {
        source_kubernetes_relist(cluster->source, revision);
    }
}

static void on_relisted(void *ctx)
{
    struct policyd_cluster *cluster = ctx;
    if (cluster->service != NULL) {
        version_relisted(&cluster->service->version);
    }
}

// What is known of a pod, if it is the one that the token was given to.
static const char *key_of_pod(void *ctx, const struct account_pod *pod)
{
    struct policyd_cluster *cluster = ctx;
    struct kube_pod_facts facts;
    bool is_it =
        cluster->source != NULL &&
        kube_model_find_pod(source_kubernetes_model(cluster->source), pod->ns, pod->name, &facts) &&
        strcmp(facts.uid, pod->uid) == 0 && strcmp(facts.account, pod->account) == 0;
    return is_it ? facts.owner : NULL;
}

static void on_revised(void *ctx, uint64_t revision, uint64_t complete)
{
    struct policyd_cluster *cluster = ctx;
    cluster->revision = revision;
    cluster->complete = complete;
    if (cluster->service != NULL) {
        version_revise(&cluster->service->version, revision, complete);
    }
}

static bool begin(struct policyd_cluster *cluster, struct fleet *fleet)
{
    struct ca_trust *trust = cluster->trust;
    cluster->trust = NULL;
    struct service *service = cluster->hooks.on_first(cluster->hooks.ctx, fleet, trust);
    if (service == NULL) {
        return false;
    }
    const struct pods pods = {.ctx = cluster, .key = key_of_pod};
    cluster->service = service;
    service_set_cluster(service, cluster->reviews, &pods);
    version_open_revision(&service->version, on_relist, cluster);
    version_revise(&service->version, cluster->revision, cluster->complete);
    set_roots(cluster);
    return true;
}

static void place(struct policyd_cluster *cluster, const struct kube_place *places, size_t num)
{
    struct err err = {{0}, {0}};
    char text[ADDR_TEXT_MAX], quoted[1024];
    for (size_t i = 0; i < num; i++) {
        if (!registry_place(&cluster->service->world.registry, &places[i].ip, places[i].owner,
                            &err)) {
            log_error("msg=\"an address is left out\" ip=%s error=%s", ip_text(&places[i].ip, text),
                      log_quote(quoted, sizeof quoted, err.text));
        }
    }
}

static void on_update(void *ctx, struct fleet *fleet, const struct kube_update *update,
                      uint64_t began_ns)
{
    struct policyd_cluster *cluster = ctx;
    if (cluster->service == NULL) {
        if (!begin(cluster, fleet)) {
            return;
        }
    } else if (fleet != NULL) {
        cluster->hooks.on_fleet(cluster->hooks.ctx, fleet, began_ns);
    }
    place(cluster, update->places, update->num_places);
    if (update->num_moved > 0) {
        service_check_pods(cluster->service);
    }
}

static void on_failed(void *ctx, const char *what, const char *text)
{
    struct policyd_cluster *cluster = ctx;
    cluster->hooks.on_failed(cluster->hooks.ctx, what, text);
}

static uint64_t num_sidecar_changes(void *ctx)
{
    const struct policyd_cluster *cluster = ctx;
    return cluster->service == NULL ? 0 : service_num_changes(cluster->service);
}

// Hands one sidecar on, as statuses.h has it.
struct hand_over {
    void (*each)(void *arg, const struct sidecar_state *sidecar);
    void *arg;
};

static void on_sidecar(void *ctx, const struct service_sidecar *sidecar)
{
    const struct hand_over *to = ctx;
    to->each(to->arg, &(struct sidecar_state){.ns = sidecar->pod->ns,
                                              .pod = sidecar->pod->name,
                                              .is_settled = sidecar->is_settled,
                                              .refusal = sidecar->refusal});
}

static void each_sidecar(void *ctx, void (*each)(void *arg, const struct sidecar_state *sidecar),
                         void *arg)
{
    const struct policyd_cluster *cluster = ctx;
    struct hand_over to = {.each = each, .arg = arg};
    if (cluster->service != NULL) {
        service_each_sidecar(cluster->service, on_sidecar, &to);
    }
}

static bool configure(struct policyd_cluster *cluster, const struct policyd_flags *flags,
                      struct err *err)
{
    const char *folder = flags->account != NULL ? flags->account : KUBE_ACCOUNT_FOLDER;
    if (!kube_config_in_cluster(&cluster->config, folder, err)) {
        return err_prefix(err, "--kubernetes");
    }
    if (flags->namespace != NULL) {
        snprintf(cluster->config.namespace, sizeof cluster->config.namespace, "%s",
                 flags->namespace);
    }
    // A pod begins with an empty volume, and all that DIR holds is made anew.
    if (mkdir(flags->dir, 0700) != 0 && errno != EEXIST) {
        return err_set(err, "%s: can't be made a folder: %s", flags->dir, strerror(errno));
    }
    return true;
}

// The pod's own name, of which the chart tells it; another program's is that of its host.
static const char *replica_name(void)
{
    static char host[UV_MAXHOSTNAMESIZE];
    size_t size = sizeof host;
    const char *name = getenv("POD_NAME");
    if (name != NULL && name[0] != '\0') {
        return name;
    }
    return uv_os_gethostname(host, &size) == 0 ? host : "unknown";
}

bool policyd_cluster_start(struct policyd_cluster *cluster, uv_loop_t *loop,
                           const struct policyd_flags *flags,
                           const struct policyd_cluster_hooks *hooks, struct err *err)
{
    cluster->hooks = *hooks;
    if (!configure(cluster, flags, err)) {
        return false;
    }
    cluster->client = kube_client_new(loop, &cluster->config, err);
    if (cluster->client == NULL) {
        return err_prefix(err, "--kubernetes");
    }
    cluster->review = token_review_new(loop, cluster->client);
    const struct reviewer reviewer = token_review_reviewer(cluster->review);
    cluster->reviews = reviews_new(loop, &reviewer);
    if (flags->has_webhook) {
        cluster->bundle = ca_bundle_new(cluster->client, cluster->config.namespace);
    }
    cluster->source = source_kubernetes_new(
        &(struct source_kubernetes_config){.client = cluster->client,
                                           .dir = flags->dir,
                                           .namespace = cluster->config.namespace,
                                           .replica = replica_name(),
                                           .first_settings = flags->first_settings,
                                           .hooks = {.ctx = cluster,
                                                     .in_force = in_force,
                                                     .on_trust = on_trust,
                                                     .on_revised = on_revised,
                                                     .on_update = on_update,
                                                     .on_failed = on_failed,
                                                     .num_sidecar_changes = num_sidecar_changes,
                                                     .each_sidecar = each_sidecar,
                                                     .on_relisted = on_relisted}});
    log_info("msg=\"following the API server\" server=%s namespace=%s", cluster->config.host,
             cluster->config.namespace);
    return true;
}

bool policyd_cluster_is_ready(const struct policyd_cluster *cluster, struct err *why)
{
    return cluster->source == NULL || source_kubernetes_is_ready(cluster->source, why);
}

void policyd_cluster_reload(struct policyd_cluster *cluster)
{
    on_relist(cluster, UINT64_MAX);
}

void policyd_cluster_metrics(const struct policyd_cluster *cluster, struct metrics_page *page)
{
    if (cluster->source != NULL) {
        source_kubernetes_metrics(cluster->source, page);
    }
    if (cluster->bundle != NULL) {
        ca_bundle_metrics(cluster->bundle, page);
    }
}

void policyd_cluster_halt(struct policyd_cluster *cluster)
{
    source_kubernetes_close(cluster->source);
    ca_bundle_close(cluster->bundle);
    cluster->source = NULL;
    cluster->bundle = NULL;
}

void policyd_cluster_stop(struct policyd_cluster *cluster)
{
    policyd_cluster_halt(cluster);
    reviews_close(cluster->reviews);
    token_review_free(cluster->review);
    kube_client_close(cluster->client);
    ca_trust_free(cluster->trust);
    *cluster = (struct policyd_cluster){.client = NULL};
}
