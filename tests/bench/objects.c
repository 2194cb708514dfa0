// SPDX-License-Identifier: Apache-2.0
//
// What a cluster's objects weigh in policyd, and what one pod costs that comes and goes: the model,
// the fleet and the views of as many sidecars, without network. Usage: objects PODS SERVICES MODE.
// Each service has its own account, policy and slice; ten services are a namespace, in which all
// may call all; with the mode `observe` everybody sees everybody. Prints one JSON object. CPU time
// of the process; heap as malloc counts it.
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_model.h"
#include "control/policyd/world/world.h"

#define PER_NAMESPACE 10
#define ROUNDS        200

static struct world world;
static unsigned num_behind;

static void on_change(void *ctx)
{
    (void)ctx;
}

static void on_behind(void *ctx, struct viewer *viewer)
{
    bool is_state = false;
    (void)ctx;
    num_behind += viewer_is_behind(viewer);
    if (viewer_is_behind(viewer)) {
        viewer_take_update(&world, viewer, &is_state);
    }
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double heap_mb(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd) / 1e6;
}

static void put(struct kube_model *model, enum kube_kind kind, const char *text)
{
    struct err err = {{0}, {0}};
    json_t *object = json_loads(text, 0, NULL);
    invariant(object != NULL && kube_model_put(model, kind, object, &err));
    json_decref(object);
}

static void put_format(struct kube_model *model, enum kube_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put_format(struct kube_model *model, enum kube_kind kind, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(model, kind, text);
}

static void put_pod(struct kube_model *model, unsigned service, unsigned number, const char *ip)
{
    put_format(model, KUBE_POD,
               "{\"metadata\": {\"namespace\": \"ns-%u\", \"name\": \"app-%u-7d9c5b8f6-%05u\", "
               "\"uid\": \"6f2c1c9e-0000-4000-8000-%012u\", \"creationTimestamp\": "
               "\"2026-11-28T00:00:00Z\", \"labels\": {\"app\": \"app-%u\", \"pod-template-hash\": "
               "\"7d9c5b8f6\"}, \"annotations\": {\"tabard.dev/status\": \"{}\"}}, \"spec\": "
               "{\"serviceAccountName\": \"app-%u\", \"initContainers\": [{\"name\": "
               "\"tabard-init\"}, {\"name\": \"tabard\"}], \"containers\": [{\"name\": \"app\"}]}, "
               "\"status\": {\"phase\": \"Running\", \"podIPs\": [%s]}}",
               service / PER_NAMESPACE, service, number, number, service, service, ip);
}

static const char *ip_of(unsigned number)
{
    static char text[64];
    snprintf(text, sizeof text, "{\"ip\": \"10.%u.%u.%u\"}", 100 + number / 65536,
             number / 256 % 256, number % 256);
    return text;
}

// Puts a service's slice, with the pods that the plan gives it and, if asked for, one more.
static void put_slice(struct kube_model *model, unsigned service, unsigned services, unsigned pods,
                      bool has_one_more)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    bool is_first = true;
    fprintf(out,
            "{\"metadata\": {\"namespace\": \"ns-%u\", \"name\": \"app-%u-x\", \"labels\": "
            "{\"kubernetes.io/service-name\": \"app-%u\"}}, \"ports\": [{\"name\": \"http\", "
            "\"port\": 8080, \"protocol\": \"TCP\"}], \"endpoints\": [",
            service / PER_NAMESPACE, service, service);
    for (unsigned pod = service; pod < pods; pod += services, is_first = false) {
        fprintf(out,
                "%s{\"addresses\": [\"10.%u.%u.%u\"], \"targetRef\": {\"kind\": \"Pod\", "
                "\"name\": \"p\"}}",
                is_first ? "" : ", ", 100 + pod / 65536, pod / 256 % 256, pod % 256);
    }
    if (has_one_more) {
        fprintf(out, "%s{\"addresses\": [\"10.200.0.1\"]}", is_first ? "" : ", ");
    }
    fprintf(out, "]}");
    fclose(out);
    put(model, KUBE_ENDPOINT_SLICE, text);
    free(text);
}

static void put_all(struct kube_model *model, unsigned pods, unsigned services, const char *mode)
{
    put_format(model, KUBE_MESH_SETTINGS,
               "{\"metadata\": {\"name\": \"default\"}, \"spec\": {\"trustDomain\": "
               "\"demo.example\", \"mode\": \"%s\"}}",
               mode);
    for (unsigned i = 0; i < services; i++) {
        unsigned ns = i / PER_NAMESPACE;
        put_format(model, KUBE_NAMESPACE, "{\"metadata\": {\"name\": \"ns-%u\"}}", ns);
        put_format(model, KUBE_SERVICE,
                   "{\"metadata\": {\"namespace\": \"ns-%u\", \"name\": \"app-%u\"}, \"spec\": "
                   "{\"clusterIPs\": [\"10.96.%u.%u\"], \"ports\": [{\"name\": \"http\", \"port\": "
                   "80, \"protocol\": \"TCP\"}]}}",
                   ns, i, i / 256, i % 256);
        put_format(model, KUBE_MESH_POLICY,
                   "{\"metadata\": {\"namespace\": \"ns-%u\", \"name\": \"app-%u\"}, \"spec\": "
                   "{\"selector\": {\"serviceAccounts\": [\"app-%u\"]}, \"action\": \"ALLOW\", "
                   "\"ports\": [8080], \"rules\": [{\"from\": [{\"namespace\": \"ns-%u\"}]}]}}",
                   ns, i, i, ns);
        put_slice(model, i, services, pods, false);
    }
    for (unsigned i = 0; i < pods; i++) {
        put_pod(model, i % services, i, ip_of(i));
    }
}

static void apply(struct kube_model *model)
{
    struct kube_update update;
    struct err err = {{0}, {0}};
    kube_model_take(model, &update);
    if (update.config != NULL) {
        struct fleet *fleet = fleet_new_of(update.config, update.trust_domain, &err);
        invariant(fleet != NULL);
        world_set_fleet(&world, fleet);
    }
    for (size_t i = 0; i < update.num_places; i++) {
        invariant(
            registry_place(&world.registry, &update.places[i].ip, update.places[i].owner, &err));
    }
}

static struct viewer *join_all(unsigned pods, unsigned services)
{
    struct viewer *viewers = must_alloc(pods, sizeof *viewers);
    struct err err = {{0}, {0}};
    for (unsigned i = 0; i < pods; i++) {
        char key[128];
        bool is_state = false;
        unsigned service = i % services;
        snprintf(key, sizeof key, "spiffe://demo.example/ns/ns-%u/sa/app-%u",
                 service / PER_NAMESPACE, service);
        invariant(world_join(&world, &viewers[i], key, &err));
        viewers[i].wants_deltas = true;
        viewer_take_update(&world, &viewers[i], &is_state);
    }
    return viewers;
}

// A pod of a known kind comes, is ready, and goes again: as its events tell it.
static double come_and_go(struct kube_model *model, unsigned pods, unsigned services)
{
    double began = now_ms();
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned service = round % services;
        unsigned ns = service / PER_NAMESPACE;
        char name[64];
        put_pod(model, service, 99999, "");
        apply(model);
        put_pod(model, service, 99999, "{\"ip\": \"10.200.0.1\"}");
        apply(model);
        put_slice(model, service, services, pods, true);
        apply(model);
        world_flush(&world);
        put_slice(model, service, services, pods, false);
        apply(model);
        snprintf(name, sizeof name, "ns-%u", ns);
        char pod[64];
        snprintf(pod, sizeof pod, "app-%u-7d9c5b8f6-99999", service);
        kube_model_delete(model, KUBE_POD, name, pod);
        apply(model);
        world_flush(&world);
    }
    return (now_ms() - began) / ROUNDS;
}

// A pod of a new account: a new fleet for everybody.
static double come_anew(struct kube_model *model)
{
    double began = now_ms();
    for (unsigned round = 0; round < 10; round++) {
        put_pod(model, round, 100000 + round, "{\"ip\": \"10.200.0.1\"}");
        put_format(model, KUBE_POD,
                   "{\"metadata\": {\"namespace\": \"ns-%u\", \"name\": \"new\", \"annotations\": "
                   "{\"tabard.dev/status\": \"{}\"}}, \"spec\": {\"serviceAccountName\": "
                   "\"new-%u\", \"initContainers\": [{\"name\": \"tabard\"}]}}",
                   round, round);
        apply(model);
        world_flush(&world);
    }
    return (now_ms() - began) / 10;
}

int main(int argc, char **argv)
{
    unsigned pods = argc > 1 ? (unsigned)atoi(argv[1]) : 5000;
    unsigned services = argc > 2 ? (unsigned)atoi(argv[2]) : 500;
    const char *mode = argc > 3 ? argv[3] : "enforce";
    const struct world_hooks hooks = {.on_change = on_change, .on_behind = on_behind};
    struct kube_model *model = kube_model_new("tabard-system");
    double heap = heap_mb();
    world_init(&world, &hooks);
    world_set_trust(&world, must_alloc(1, sizeof(struct ca_trust)));
    double began = now_ms();
    put_all(model, pods, services, mode);
    double loaded = now_ms();
    double model_mb = heap_mb() - heap;
    apply(model);
    double applied = now_ms();
    double world_mb = heap_mb() - heap - model_mb;
    struct viewer *viewers = join_all(pods, services);
    double joined = now_ms();
    double views_mb = heap_mb() - heap - model_mb - world_mb;
    num_behind = 0;
    double pod_ms = come_and_go(model, pods, services);
    unsigned told = num_behind / ROUNDS;
    uint64_t num_configs = kube_model_stats(model)->num_configs;
    printf("{\"mode\": \"%s\", \"pods\": %u, \"services\": %u, \"load_ms\": %.1f, \"fleet_ms\": "
           "%.1f, \"views_ms\": "
           "%.1f, \"model_mb\": %.2f, \"world_mb\": %.2f, \"views_mb\": %.2f, \"pod_ms\": %.3f, "
           "\"pod_updates\": %u, \"fleets\": %lu, \"new_account_ms\": %.1f}\n",
           mode, pods, services, loaded - began, applied - loaded, joined - applied, model_mb,
           world_mb, views_mb, pod_ms, told, (unsigned long)num_configs, come_anew(model));
    for (unsigned i = 0; i < pods; i++) {
        world_leave(&viewers[i]);
    }
    free(viewers);
    world_cleanup(&world);
    kube_model_free(model);
    return 0;
}
