// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/now.h"
#include "base/process.h"
#include "control/host/listen.h"
#include "control/policyd/policyd_cluster.h"
#include "control/policyd/policyd_pages.h"
#include "control/policyd/policyd_server.h"
#include "control/policyd/policyd_webhook.h"
#include "control/policyd/stream/service.h"
#include "control/policyd/folder/source_folder.h"
#include "control/policyd/stream/tls.h"
#include "control/policyd/stream/token.h"

#define NUM_SIGNALS 3

struct policyd {
    uv_loop_t loop;
    uv_signal_t signals[NUM_SIGNALS];
    uv_timer_t renew;
    uint64_t renew_due_ms;
    struct now_jumps jumps;
    const struct policyd_flags *flags;
    char ca_dir[PATH_MAX];
    char unix_path[PATH_MAX]; // "": none
    struct service service;
    struct source_folder *source; // NULL: in a cluster
    struct policyd_cluster cluster;
    struct grpc_server *server;
    struct policyd_pages pages;
    struct policyd_webhook webhook;
    uv_timer_t drain;
    bool has_tcp;
    bool has_service; // it was started, and is to be stopped
    bool is_started;
    bool has_failed;
    bool is_stopping;
    bool is_over_streams; // while it stops: no stream is left
    bool is_drained;      // and nobody is led to the webhook any more
};

static void on_fleet(void *ctx, struct fleet *fleet, uint64_t began_ns)
{
    struct policyd *policyd = ctx;
    service_set_fleet(&policyd->service, fleet, began_ns);
    log_info("msg=\"fleet in force\" workloads=%u policies=%u destinations=%u",
             fleet->workloads.num, fleet->policies.num, fleet->destinations.num);
}

// Listens with this certificate, or has the listener that is there show it.
static bool listen_on_tcp(struct policyd *policyd, SSL_CTX *tls, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    struct addr bound;
    if (policyd->has_tcp) {
        grpc_server_set_tls(policyd->server, tls);
        return true;
    }
    int fd = listen_tcp(&policyd->flags->listen, &bound, err);
    if (fd < 0 || !grpc_server_listen(policyd->server, fd, tls, err)) {
        return err_prefix(err, "--listen");
    }
    policyd->has_tcp = true;
    log_info("msg=listening what=tcp address=%s", addr_text(&bound, text));
    return true;
}

// Has the listeners show a certificate of the CA in force. Those that don't listen yet begin to.
static bool use_own_certificate(struct policyd *policyd, struct err *err)
{
    const struct policyd_flags *flags = policyd->flags;
    const struct ca_trust *trust = policyd->service.world.trust;
    const char *namespace =
        flags->is_kubernetes ? policyd->cluster.config.namespace : flags->namespace;
    struct tls_own own;
    if (!flags->has_listen && !flags->has_webhook) {
        return true;
    }
    bool ok = tls_own_init(&own, policyd->ca_dir, trust->domain, namespace, now_date_s(), err);
    if (ok && flags->has_listen) {
        ok = listen_on_tcp(policyd, own.grpc, err);
    }
    ok = ok &&
         policyd_webhook_trust(&policyd->webhook, own.https, trust->domain, trust->roots_pem, err);
    tls_own_cleanup(&own);
    return ok;
}

static void renew_own(struct policyd *policyd)
{
    struct err err = {{0}, {0}};
    char quoted[1024];
    if (policyd->is_started && !policyd->is_stopping && !use_own_certificate(policyd, &err)) {
        log_error("msg=\"own certificate not renewed\" error=%s",
                  log_quote(quoted, sizeof quoted, err.text));
    }
}

static struct source_folder_in_force on_in_force(void *ctx)
{
    const struct world *world = &((struct policyd *)ctx)->service.world;
    return (struct source_folder_in_force){.trust = world->trust, .fleet = world->fleet};
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    struct policyd *policyd = ctx;
    service_set_trust(&policyd->service, trust, began_ns);
    log_info("msg=\"trust in force\" trust_domain=%s crls=%zu", trust->domain, trust->crls.num);
    ca_trust_log_notes(trust);
    renew_own(policyd);
}

static void on_failed(void *ctx, const char *what, const char *text)
{
    struct policyd *policyd = ctx;
    char quoted[3500]; // of a line, LOG_LINE_MAX
    if (strcmp(what, "trust") == 0) {
        policyd->service.stats.num_trusts_refused++;
    } else {
        policyd->service.stats.num_fleets_refused++;
    }
    log_error("msg=\"update refused\" what=%s error=%s", what,
              log_quote(quoted, sizeof quoted, text));
}

static void on_renew(uv_timer_t *timer)
{
    struct policyd *policyd = timer->data;
    bool is_due = uv_now(&policyd->loop) >= policyd->renew_due_ms;
    if (now_has_jumped(&policyd->jumps) || is_due) {
        policyd->renew_due_ms = uv_now(&policyd->loop) + POLICYD_RENEW_MS;
        renew_own(policyd);
        if (!policyd->flags->is_kubernetes) { // there the CRL is in a Secret, and no token is made
            issuer_renew_crl(policyd->service.issuer);
        }
        if (is_due) {
            token_sweep(policyd->flags->dir, now_earlier_s()); // by no clock that has just jumped
        }
    }
}

static struct service_page count_page(const struct http_server *page)
{
    return page == NULL ? (struct service_page){0}
                        : (struct service_page){http_num_late(page), http_num_room(page)};
}

static void add_metrics(const void *ctx, struct metrics_page *page)
{
    const struct policyd *policyd = ctx;
    metrics_build_info(page, "tabard_policyd_build_info", policyd->flags->program);
    policyd_webhook_metrics(&policyd->webhook, page);
    policyd_cluster_metrics(&policyd->cluster, page);
}

// What there is to tell before there is a fleet.
static char *early_metrics(const struct policyd *policyd)
{
    struct metrics_page page;
    metrics_open(&page);
    add_metrics(policyd, &page);
    return metrics_close(&page);
}

static char *on_metrics(void *ctx)
{
    const struct policyd *policyd = ctx;
    if (!policyd->is_started) {
        return early_metrics(policyd);
    }
    const struct service_beside beside = {.num_files_held =
                                              source_folder_num_held(policyd->source) +
                                              policyd_webhook_num_held(&policyd->webhook),
                                          .ctx = policyd,
                                          .more = add_metrics,
                                          .metrics = count_page(policyd->pages.metrics),
                                          .health = count_page(policyd->pages.health)};
    return service_metrics(&policyd->service, grpc_server_stats(policyd->server), &beside);
}

static bool is_ready(void *ctx, struct err *why)
{
    const struct policyd *policyd = ctx;
    if (policyd->is_stopping) {
        return err_set(why, "it is stopping");
    }
    return policyd_cluster_is_ready(&policyd->cluster, why) &&
           (policyd->is_started || err_set(why, "it is starting")) &&
           policyd_webhook_is_ready(&policyd->webhook, why);
}

static bool listen_on_unix(struct policyd *policyd, struct err *err)
{
    const struct policyd_flags *flags = policyd->flags;
    if (flags->unix_path == NULL && flags->has_listen) {
        return true;
    }
    char quoted[PATH_MAX];
    if (flags->unix_path != NULL) {
        snprintf(policyd->unix_path, sizeof policyd->unix_path, "%s", flags->unix_path);
    } else {
        snprintf(policyd->unix_path, sizeof policyd->unix_path, "%s/" POLICYD_UNIX_NAME,
                 flags->dir);
    }
    int fd = listen_unix(policyd->unix_path, err);
    // Any user may connect: the kernel tells us which user it is, and the fleet which ones are
    // admitted.
    if (fd < 0 || chmod(policyd->unix_path, 0666) != 0 ||
        !grpc_server_listen(policyd->server, fd, NULL, err)) {
        return err_prefix(err, "--unix");
    }
    log_info("msg=listening what=unix address=%s",
             log_quote(quoted, sizeof quoted, policyd->unix_path));
    return true;
}

static void stop(struct policyd *policyd)
{
    source_folder_close(policyd->source);
    policyd_pages_stop(&policyd->pages);
    policyd_webhook_stop(&policyd->webhook);
    grpc_server_free(policyd->server); // ends what is left as UNAVAILABLE, so sidecars come back
    if (policyd->has_service) {
        service_stop(&policyd->service);
        registry_dir_close(policyd->service.registry);
        issuer_close(policyd->service.issuer);
    }
    policyd_cluster_stop(&policyd->cluster);
    if (policyd->unix_path[0] != '\0') {
        listen_unix_remove(policyd->unix_path);
    }
    for (size_t i = 0; i < NUM_SIGNALS; i++) {
        uv_close((uv_handle_t *)&policyd->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&policyd->renew, NULL);
    uv_close((uv_handle_t *)&policyd->drain, NULL);
}

static void stop_if_over(struct policyd *policyd)
{
    if (policyd->is_over_streams && policyd->is_drained) {
        stop(policyd);
    }
}

static void on_streams_over(void *ctx)
{
    struct policyd *policyd = ctx;
    policyd->is_over_streams = true;
    stop_if_over(policyd);
}

static void on_drained(uv_timer_t *timer)
{
    struct policyd *policyd = timer->data;
    policyd->is_drained = true;
    stop_if_over(policyd);
}

// Ends the streams in good order first, so that each sidecar hears why and goes to another policyd.
// The webhook is served for a while: an API server may be led here until all have heard that this
// pod ends, and a pod that it could not ask about would not be made. A second signal ends that.
static void begin_stop(struct policyd *policyd)
{
    bool waits = policyd->flags->has_webhook && policyd->is_started && !policyd->is_stopping;
    uv_timer_start(&policyd->drain, on_drained, waits ? POLICYD_DRAIN_MS : 0, 0);
    if (!policyd->is_stopping) {
        policyd_webhook_drain(&policyd->webhook);
        policyd->is_stopping = true;
        policyd_pages_tell(&policyd->pages, NOTIFY_STOPPING);
        source_folder_close(policyd->source);
        policyd->source = NULL;
        policyd_cluster_halt(&policyd->cluster);
        if (policyd->server == NULL) {
            policyd->is_over_streams = true;
            return;
        }
        service_finish(&policyd->service);
        grpc_server_shutdown(policyd->server, POLICYD_GRACE_MS, on_streams_over, policyd);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct policyd *policyd = handle->data;
    if (number == SIGHUP) {
        policyd_pages_tell(&policyd->pages, NOTIFY_RELOADING);
        if (!policyd->is_stopping && policyd->flags->is_kubernetes) {
            policyd_cluster_reload(&policyd->cluster);
        } else if (!policyd->is_stopping) {
            source_folder_reload(policyd->source);
        }
        return;
    }
    log_info("msg=stopping signal=%d streams=%lu", number,
             (unsigned long)policyd->service.stats.num_streams);
    begin_stop(policyd);
}

static void start_handles(struct policyd *policyd)
{
    static const int numbers[NUM_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < NUM_SIGNALS; i++) {
        uv_signal_init(&policyd->loop, &policyd->signals[i]);
        policyd->signals[i].data = policyd;
        uv_signal_start(&policyd->signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(&policyd->loop, &policyd->renew);
    uv_timer_init(&policyd->loop, &policyd->drain);
    policyd->renew.data = policyd->drain.data = policyd;
    policyd->renew_due_ms = uv_now(&policyd->loop) + POLICYD_RENEW_MS;
    uv_timer_start(&policyd->renew, on_renew, 0, POLICYD_LOOK_MS);
}

static bool start_pages(struct policyd *policyd, struct err *err)
{
    const struct policyd_pages_hooks hooks = {
        .ctx = policyd, .metrics = on_metrics, .is_ready = is_ready};
    if (!policyd_pages_start(&policyd->pages, &policyd->loop, policyd->flags, &hooks, err)) {
        return false;
    }
    policyd_webhook_start(&policyd->webhook, &policyd->loop, policyd->flags);
    return true;
}

// What a policyd of a folder has besides: the versions and the addresses that it shares with
// others.
static bool share_folder(struct policyd *policyd, struct err *err)
{
    struct service *service = &policyd->service;
    const char *dir = policyd->flags->dir;
    if (!version_open(&service->version, dir, service_now_us(), err)) {
        return false;
    }
    service->registry = registry_dir_new(&policyd->loop, dir, &service->world.registry,
                                         service_permits, service, err);
    return service->registry != NULL;
}

// Begins to serve sidecars. The fleet and the trust are taken over.
static bool serve(struct policyd *policyd, struct fleet *fleet, struct ca_trust *trust,
                  struct err *err)
{
    struct service *service = &policyd->service;
    bool is_folder = !policyd->flags->is_kubernetes;
    service_init(service, &policyd->loop, policyd->flags->dir, fleet, trust);
    service->issuer = issuer_new(&policyd->loop, policyd->ca_dir);
    policyd->has_service = true;
    policyd->server = is_folder && !share_folder(policyd, err)
                          ? NULL
                          : policyd_server_new(&policyd->loop, &policyd->service, err);
    if (policyd->server == NULL || !listen_on_unix(policyd, err) ||
        !use_own_certificate(policyd, err)) {
        return false;
    }
    log_info("msg=started workloads=%u policies=%u trust_domain=%s", fleet->workloads.num,
             fleet->policies.num, trust->domain);
    ca_trust_log_notes(trust);
    return policyd->is_started = true;
}

static void log_not_started(const struct err *err)
{
    char quoted[2048], text[1024];
    log_error("msg=\"not started\" error=%s",
              log_quote(quoted, sizeof quoted, err_text(err, text, sizeof text)));
}

static struct service *on_first(void *ctx, struct fleet *fleet, struct ca_trust *trust)
{
    struct policyd *policyd = ctx;
    struct err err = {{0}, {0}};
    if (serve(policyd, fleet, trust, &err)) {
        return &policyd->service;
    }
    log_not_started(&err);
    policyd->has_failed = true;
    begin_stop(policyd);
    return NULL;
}

static bool start(struct policyd *policyd, struct fleet *fleet, struct ca_trust *trust,
                  struct err *err)
{
    const struct source_folder_hooks folder = {.ctx = policyd,
                                               .in_force = on_in_force,
                                               .on_fleet = on_fleet,
                                               .on_trust = on_trust,
                                               .on_failed = on_failed};
    const struct policyd_cluster_hooks cluster = {.ctx = policyd,
                                                  .on_first = on_first,
                                                  .on_fleet = on_fleet,
                                                  .on_trust = on_trust,
                                                  .on_failed = on_failed};
    if (!start_pages(policyd, err)) {
        return false;
    }
    if (policyd->flags->is_kubernetes) {
        return policyd_cluster_start(&policyd->cluster, &policyd->loop, policyd->flags, &cluster,
                                     err);
    }
    if (!serve(policyd, fleet, trust, err)) {
        return false;
    }
    source_folder_watch(policyd->source, &policyd->loop, &folder);
    return true;
}

int policyd_run(const struct policyd_flags *flags)
{
    static struct policyd policyd;
    struct fleet *fleet = NULL;
    struct ca_trust *trust = NULL;
    struct err err = {{0}, {0}};
    policyd.flags = flags;
    snprintf(policyd.ca_dir, sizeof policyd.ca_dir, "%s/ca", flags->dir);
    if (!flags->is_kubernetes) {
        policyd.source = source_folder_load(flags->dir, &fleet, &trust, &err);
        if (policyd.source == NULL) {
            log_not_started(&err);
            return 1;
        }
    }
    uv_loop_init(&policyd.loop);
    start_handles(&policyd);
    if (!start(&policyd, fleet, trust, &err)) {
        log_not_started(&err);
        policyd.has_failed = true;
        stop(&policyd);
    }
    uv_run(&policyd.loop, UV_RUN_DEFAULT);
    if (policyd.has_service) {
        service_cleanup(&policyd.service);
    } else {
        fleet_free(fleet);
        ca_trust_free(trust);
    }
    invariant(uv_loop_close(&policyd.loop) == 0);
    return policyd.has_failed ? 1 : 0;
}
