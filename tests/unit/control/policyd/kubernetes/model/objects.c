// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/policyd/kubernetes/model/objects.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_copy.h"
#include "base/pb/pb_text.h"
#include "control/policyd/fleet/fleet.h"

void objects_start(struct objects *objects)
{
    *objects = (struct objects){.model = kube_model_new("tabard-system")};
    objects_put(objects, KUBE_MESH_SETTINGS,
                "{'metadata': {'name': 'default', 'generation': 1}, 'spec': {'trustDomain': "
                "'demo.example'}}");
}

void objects_end(struct objects *objects)
{
    if (objects->config != NULL) {
        tabard__v1__fleet_config__free_unpacked(objects->config, NULL);
    }
    kube_model_free(objects->model);
}

void objects_put(struct objects *objects, enum kube_kind kind, const char *format, ...)
{
    char text[8192];
    struct err err = {{0}, {0}};
    json_error_t error;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cr_assert_lt((size_t)len, sizeof text);
    for (char *c = text; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    json_t *object = json_loads(text, 0, &error);
    cr_assert_not_null(object, "%s: %s", error.text, text);
    cr_assert(kube_model_put(objects->model, kind, object, &err), "%s: %s", err.where, err.text);
    json_decref(object);
}

void objects_pod(struct objects *objects, const char *ns, const char *name, const char *account,
                 const char *ip, const char *more)
{
    objects_put(objects, KUBE_POD,
                "{'metadata': {'namespace': '%s', 'name': '%s', 'uid': '%s', 'creationTimestamp': "
                "'2026-11-28T00:00:00Z', 'annotations': {'tabard.dev/status': '{}'}%s}, 'spec': "
                "{'serviceAccountName': '%s', 'initContainers': [{'name': 'tabard-init'}, {'name': "
                "'tabard'}]}, 'status': {'phase': 'Running', 'podIPs': [{'ip': '%s'}]}}",
                ns, name, name, more, account, ip);
}

static void set_place(struct objects *objects, const struct kube_place *place)
{
    unsigned at = 0;
    while (at < objects->num_places && !ip_equal(&objects->places[at].ip, &place->ip)) {
        at++;
    }
    cr_assert_lt(at, 512);
    objects->num_places += at == objects->num_places;
    objects->places[at].ip = place->ip;
    snprintf(objects->places[at].owner, sizeof objects->places[at].owner, "%s",
             place->owner == NULL ? "" : place->owner);
}

// What the model says is taken as it is, whatever the objects say: one that is refused would hold
// up the mesh.
static void check_fleet(const Tabard__V1__FleetConfig *config)
{
    struct err err = {{0}, {0}};
    char text[sizeof err];
    struct fleet *fleet = fleet_new_of(pb_copy(&config->base), "demo.example", &err);
    cr_expect_not_null(fleet, "%s", err_text(&err, text, sizeof text));
    fleet_free(fleet);
}

void objects_take(struct objects *objects)
{
    struct kube_update update;
    size_t len = 0;
    kube_model_take(objects->model, &update);
    if (update.config != NULL) {
        if (objects->config != NULL) {
            tabard__v1__fleet_config__free_unpacked(objects->config, NULL);
        }
        objects->config = update.config;
        objects->num_configs++;
        check_fleet(update.config);
    }
    for (size_t i = 0; i < update.num_places; i++) {
        set_place(objects, &update.places[i]);
    }
    objects->moved[0] = '\0';
    for (size_t i = 0; i < update.num_moved && len < sizeof objects->moved; i++) {
        const struct kube_moved *moved = &update.moved[i];
        len += (size_t)snprintf(objects->moved + len, sizeof objects->moved - len, "%s/%s>%s ",
                                moved->ns, moved->pod, moved->owner == NULL ? "-" : moved->owner);
    }
}

const char *objects_owner(const struct objects *objects, const char *ip)
{
    struct ip wanted;
    cr_assert(ip_parse(&wanted, ip, NULL));
    for (unsigned i = 0; i < objects->num_places; i++) {
        if (ip_equal(&objects->places[i].ip, &wanted)) {
            return objects->places[i].owner;
        }
    }
    return "";
}

// Prints a message as JSON, without blanks and with ' for quotes.
static const char *compact(const ProtobufCMessage *message)
{
    static char buf[8192];
    char *text = pb_text_to_json(message);
    size_t len = 0;
    for (const char *c = text; *c != '\0' && len + 1 < sizeof buf; c++) {
        if (*c != ' ' && *c != '\n') {
            buf[len++] = *c == '"' ? '\'' : *c;
        }
    }
    buf[len] = '\0';
    free(text);
    return buf;
}

const char *objects_workload(const struct objects *objects, const char *id, const char *variant)
{
    const Tabard__V1__FleetConfig *config = objects->config;
    for (size_t i = 0; config != NULL && i < config->n_workloads; i++) {
        if (strcmp(config->workloads[i]->spiffe_id, id) == 0 &&
            strcmp(config->workloads[i]->variant, variant) == 0) {
            return compact(&config->workloads[i]->base);
        }
    }
    return "";
}

const char *objects_policy(const struct objects *objects, const char *name)
{
    const Tabard__V1__FleetConfig *config = objects->config;
    for (size_t i = 0; config != NULL && i < config->n_policies; i++) {
        if (strcmp(config->policies[i]->policy->name, name) == 0) {
            return compact(&config->policies[i]->base);
        }
    }
    return "";
}

const char *objects_service(const struct objects *objects, const char *name)
{
    const Tabard__V1__FleetConfig *config = objects->config;
    for (size_t i = 0; config != NULL && i < config->n_services; i++) {
        if (strcmp(config->services[i]->name, name) == 0) {
            return compact(&config->services[i]->base);
        }
    }
    return "";
}

const char *objects_destination(const struct objects *objects, const char *name)
{
    const Tabard__V1__FleetConfig *config = objects->config;
    for (size_t i = 0; config != NULL && i < config->n_destinations; i++) {
        if (strcmp(config->destinations[i]->destination->name, name) == 0) {
            return compact(&config->destinations[i]->base);
        }
    }
    return "";
}

const char *objects_verdict(struct objects *objects, enum kube_kind kind, const char *name)
{
    static char buf[2048];
    struct kube_verdict verdict;
    buf[0] = '\0';
    while (kube_model_take_verdict(objects->model, &verdict)) {
        if (verdict.kind == kind && strcmp(verdict.name, name) == 0) {
            cr_expect_eq(verdict.is_accepted, strcmp(verdict.reason, "Accepted") == 0);
            snprintf(buf, sizeof buf, "%s: %s", verdict.reason, verdict.message);
        }
    }
    return buf;
}
