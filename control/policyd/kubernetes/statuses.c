// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/statuses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bucket.h"
#include "base/data/array.h"
#include "base/data/bytes.h"
#include "base/data/list.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_event.h"
#include "control/kube/api/kube_request.h"
#include "control/policyd/kubernetes/refusal_event.h"
#include "control/policyd/kubernetes/status_write.h"

#define API "/apis/tabard.dev/v1alpha1/"

// The kinds that have a status, and their names in a path.
static const char *const plurals[KUBE_NUM_KINDS] = {[KUBE_MESH_POLICY] = "meshpolicies",
                                                    [KUBE_MESH_DESTINATION] = "meshdestinations",
                                                    [KUBE_MESH_SETTINGS] = "meshsettings"};

// One resource.
struct resource {
    struct list link;
    struct statuses *statuses; // borrowed
    enum kube_kind kind;
    char *key; // owned, with the next five: in the index
    char *ns;
    char *name;
    char *uid;
    char *reason; // of the verdict; NULL: there is none yet
    char *message;
    int64_t generation;
    int64_t judged_generation;
    bool is_accepted;
    json_t *status;               // owned: as the API server has it; NULL: none
    struct kube_request *request; // a write under way
    uint64_t next_ms;             // no write before
    int64_t told_generation;      // of the Event that was made last
};

// What this replica's sidecars say of one resource.
struct count {
    uint32_t in_force;
    uint32_t refused;
    const char *refusal;
};

// A sidecar, as it was at the look.
struct seen {
    const char *ns;
    const char *pod;
    bool is_settled;
    const char *refusal;
};

struct statuses {
    uv_timer_t timer; // first: until the next look
    struct statuses_config config;
    char *namespace; // owned, with the next
    char *replica;
    struct list resources;
    json_t *index; // owned: key -> the resource's address
    struct bucket bucket;
    uint64_t num_changes; // of sidecars, at the last look
    bool is_wanted;       // a look
    uint32_t num_writing;
    struct statuses_stats stats;
    char failure[200]; // that was logged last
};

static char *key_of(enum kube_kind kind, const char *ns, const char *name)
{
    struct bytes key = {0};
    bytes_push_format(&key, "%d/%s/%s", (int)kind, ns, name);
    return bytes_take_text(&key);
}

static struct resource *find(struct statuses *statuses, const char *key)
{
    const json_t *item = json_object_get(statuses->index, key);
    return item == NULL ? NULL : (struct resource *)(uintptr_t)json_integer_value(item);
}

static void set(char **out, const char *text)
{
    char *copy = must_strdup(text);
    free(*out);
    *out = copy;
}

static struct resource *find_or_make(struct statuses *statuses, enum kube_kind kind, const char *ns,
                                     const char *name)
{
    char *key = key_of(kind, ns, name);
    struct resource *resource = find(statuses, key);
    if (resource != NULL) {
        free(key);
        return resource;
    }
    resource = must_alloc(1, sizeof *resource);
    resource->statuses = statuses;
    resource->kind = kind;
    resource->key = key;
    resource->ns = must_strdup(ns);
    resource->name = must_strdup(name);
    list_push(&statuses->resources, &resource->link);
    json_object_set_new(statuses->index, key,
                        must_have(json_integer((json_int_t)(uintptr_t)resource)));
    return resource;
}

static void free_resource(struct resource *resource)
{
    struct statuses *statuses = resource->statuses;
    if (resource->request != NULL) {
        kube_request_cancel(resource->request);
        statuses->num_writing--;
    }
    json_object_del(statuses->index, resource->key);
    list_remove(&resource->link);
    json_decref(resource->status);
    free(resource->key);
    free(resource->ns);
    free(resource->name);
    free(resource->uid);
    free(resource->reason);
    free(resource->message);
    free(resource);
}

static void take_object(struct resource *resource, const json_t *object)
{
    struct kube_meta meta;
    if (!kube_meta_read(&meta, object, NULL)) {
        return;
    }
    json_t *status = json_incref(json_object_get(object, "status"));
    json_decref(resource->status);
    resource->status = status;
    resource->generation =
        json_integer_value(json_object_get(json_object_get(object, "metadata"), "generation"));
    set(&resource->uid, meta.uid);
}

void statuses_put(struct statuses *statuses, enum kube_kind kind, const json_t *object)
{
    struct kube_meta meta;
    if (plurals[kind] != NULL && kube_meta_read(&meta, object, NULL)) {
        take_object(find_or_make(statuses, kind, meta.namespace, meta.name), object);
        statuses_look(statuses);
    }
}

void statuses_delete(struct statuses *statuses, enum kube_kind kind, const char *ns,
                     const char *name)
{
    char *key = key_of(kind, ns, name);
    struct resource *resource = find(statuses, key);
    if (resource != NULL) {
        free_resource(resource);
    }
    free(key);
}

void statuses_judge(struct statuses *statuses, const struct kube_verdict *verdict)
{
    char *key = key_of(verdict->kind, verdict->ns, verdict->name);
    struct resource *resource = find(statuses, key);
    free(key);
    if (resource != NULL) {
        resource->is_accepted = verdict->is_accepted;
        resource->judged_generation = verdict->generation;
        set(&resource->reason, verdict->reason);
        set(&resource->message, verdict->message);
        statuses_look(statuses);
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct seen *)a)->ns, ((const struct seen *)b)->ns);
}

static void on_sidecar(void *arg, const struct sidecar_state *sidecar)
{
    struct seen *seen = array_add(arg, sizeof *seen);
    *seen = (struct seen){sidecar->ns, sidecar->pod, sidecar->is_settled, sidecar->refusal};
}

// A MeshDestination of our own namespace, and the settings, concern every namespace.
static struct count count_sidecars(const struct resource *resource, const struct array *sidecars)
{
    const struct statuses *statuses = resource->statuses;
    const struct seen *all = sidecars->items;
    bool is_everywhere =
        resource->ns[0] == '\0' ||
        (resource->kind == KUBE_MESH_DESTINATION && strcmp(resource->ns, statuses->namespace) == 0);
    struct count count = {.in_force = 0};
    uint32_t first = 0;
    for (uint32_t high = sidecars->num; !is_everywhere && first < high;) {
        uint32_t middle = first + (high - first) / 2;
        bool is_before = strcmp(all[middle].ns, resource->ns) < 0;
        first = is_before ? middle + 1 : first;
        high = is_before ? high : middle;
    }
    for (uint32_t i = first; i < sidecars->num; i++) {
        if (!is_everywhere && strcmp(all[i].ns, resource->ns) != 0) {
            break;
        }
        if (kube_model_concerns(statuses->config.model, resource->kind, resource->ns,
                                resource->name, all[i].ns, all[i].pod)) {
            count.in_force += all[i].is_settled;
            count.refused += all[i].refusal != NULL;
            count.refusal = count.refusal != NULL ? count.refusal : all[i].refusal;
        }
    }
    return count;
}

static bool is_alive(void *ctx, const char *replica)
{
    const struct statuses *statuses = ctx;
    struct kube_pod_facts facts;
    return kube_model_find_pod(statuses->config.model, statuses->namespace, replica, &facts) &&
           !facts.is_over;
}

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    struct resource *resource = ctx;
    struct statuses *statuses = resource->statuses;
    char quoted[1024];
    uint64_t wait_ms = STATUSES_OF_ONE_MS + kube_client_random() % STATUSES_OF_ONE_MS;
    resource->request = NULL;
    statuses->num_writing--;
    if (answer->error == NULL) {
        take_object(resource, answer->body);
        statuses->stats.num_writes++;
    } else {
        statuses->stats.num_failures++;
        wait_ms += STATUSES_AFTER_ERR_MS;
        if (strncmp(statuses->failure, answer->error, sizeof statuses->failure - 1) != 0) {
            snprintf(statuses->failure, sizeof statuses->failure, "%s", answer->error);
            log_warn("msg=\"a status is not written\" kind=%s name=%s/%s error=%s",
                     kube_kind_name(resource->kind), resource->ns, resource->name,
                     log_quote(quoted, sizeof quoted, statuses->failure));
        }
    }
    resource->next_ms = uv_now(statuses->timer.loop) + wait_ms;
    statuses_look(statuses);
}

static void write_status(struct resource *resource, const struct status_write *write)
{
    struct statuses *statuses = resource->statuses;
    struct bytes path = {0};
    bytes_push_text(&path, API);
    if (resource->ns[0] != '\0') {
        bytes_push_format(&path, "namespaces/%s/", resource->ns);
    }
    bytes_push_format(&path, "%s/%s/status?force=true&fieldManager=", plurals[resource->kind],
                      resource->name);
    kube_escape(&path, write->manager);
    char *text = bytes_take_text(&path);
    const struct kube_request_options options = {
        .method = "PATCH", .path = text, .body = write->object, .content_type = KUBE_APPLY_PATCH};
    resource->request = kube_request(statuses->config.client, &options, on_answer, resource);
    statuses->num_writing++;
    free(text);
}

static void tell_refusal(struct resource *resource)
{
    struct statuses *statuses = resource->statuses;
    if (!resource->is_accepted && resource->told_generation != resource->generation) {
        resource->told_generation = resource->generation;
        statuses->stats.num_events++;
        refusal_event_send(statuses->config.client,
                           &(struct refusal_event){.kind = kube_kind_name(resource->kind),
                                                   .ns = resource->ns,
                                                   .name = resource->name,
                                                   .uid = resource->uid,
                                                   .generation = resource->generation,
                                                   .message = resource->message,
                                                   .now = time(NULL)});
    }
}

// Writes what is to be written of one resource. Returns whether it is to be looked at again.
static bool look_at(struct resource *resource, const struct array *sidecars)
{
    struct statuses *statuses = resource->statuses;
    uint64_t now_ms = uv_now(statuses->timer.loop);
    if (resource->request != NULL || resource->uid == NULL || resource->reason == NULL ||
        resource->judged_generation != resource->generation) {
        return false; // an answer, an object or a verdict will come
    }
    struct count count = count_sidecars(resource, sidecars);
    const struct status_facts facts = {
        .kind = kube_kind_name(resource->kind),
        .ns = resource->ns,
        .name = resource->name,
        .uid = resource->uid,
        .generation = resource->generation,
        .is_accepted = resource->is_accepted,
        .reason = resource->reason,
        .message = resource->message,
        .num_concerned = (uint32_t)kube_model_num_concerned(statuses->config.model, resource->kind,
                                                            resource->ns, resource->name),
        .num_in_force = count.in_force,
        .num_refused = count.refused,
        .refusal = count.refusal,
        .replica = statuses->replica,
        .is_alive = is_alive,
        .ctx = statuses};
    struct status_write write = status_write_next(&facts, resource->status, time(NULL));
    bool is_due = write.object != NULL;
    if (is_due && now_ms >= resource->next_ms && statuses->num_writing < STATUSES_WRITES_MAX &&
        bucket_take(&statuses->bucket, now_ms)) {
        write_status(resource, &write);
        is_due = false;
    }
    tell_refusal(resource);
    json_decref(write.object);
    return is_due;
}

static void on_look(uv_timer_t *timer)
{
    struct statuses *statuses = (struct statuses *)timer;
    struct array sidecars = {0};
    uint64_t num_changes = statuses->config.num_changes(statuses->config.ctx);
    bool is_due = false;
    if (!statuses->is_wanted && num_changes == statuses->num_changes) {
        return;
    }
    statuses->num_changes = num_changes;
    statuses->is_wanted = false;
    statuses->config.each_sidecar(statuses->config.ctx, on_sidecar, &sidecars);
    if (sidecars.num > 0) {
        qsort(sidecars.items, sidecars.num, sizeof(struct seen), compare);
    }
    LIST_EACH_SAFE(link, &statuses->resources) {
        is_due = look_at(LIST_OF(link, struct resource, link), &sidecars) || is_due;
    }
    array_cleanup(&sidecars);
    statuses->is_wanted = statuses->is_wanted || is_due;
}

void statuses_look(struct statuses *statuses)
{
    statuses->is_wanted = true;
}

struct statuses *statuses_new(const struct statuses_config *config)
{
    struct statuses *statuses = must_alloc(1, sizeof *statuses);
    statuses->config = *config;
    statuses->namespace = must_strdup(config->namespace);
    statuses->replica = must_strdup(config->replica);
    statuses->index = must_have(json_object());
    list_init(&statuses->resources);
    statuses->bucket = bucket_full(STATUSES_BURST, STATUSES_PER_SECOND);
    uv_timer_init(kube_client_loop(config->client), &statuses->timer);
    uv_timer_start(&statuses->timer, on_look, STATUSES_LOOK_MS, STATUSES_LOOK_MS);
    return statuses;
}

static void on_closed(uv_handle_t *handle)
{
    struct statuses *statuses = (struct statuses *)handle;
    json_decref(statuses->index);
    free(statuses->namespace);
    free(statuses->replica);
    free(statuses);
}

void statuses_close(struct statuses *statuses)
{
    if (statuses == NULL) {
        return;
    }
    LIST_EACH_SAFE(link, &statuses->resources) {
        free_resource(LIST_OF(link, struct resource, link));
    }
    uv_close((uv_handle_t *)&statuses->timer, on_closed);
}

const struct statuses_stats *statuses_stats(const struct statuses *statuses)
{
    return &statuses->stats;
}
