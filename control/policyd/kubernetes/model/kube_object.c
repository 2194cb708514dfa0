// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

static struct kube_namespace *find_namespace(const struct kube_model *model, const char *name,
                                             uint64_t *out_hash)
{
    struct table *table = (struct table *)&model->namespaces;
    *out_hash = table_hash(table, name, strlen(name));
    struct table_link *link = table_first(table, *out_hash);
    while (link != NULL && strcmp(((struct kube_namespace *)link)->name, name) != 0) {
        link = table_next(link);
    }
    return (struct kube_namespace *)link;
}

struct kube_namespace *kube_namespace_find(const struct kube_model *model, const char *name)
{
    uint64_t hash;
    return find_namespace(model, name, &hash);
}

struct kube_namespace *kube_namespace_make(struct kube_model *model, const char *name)
{
    uint64_t hash;
    struct kube_namespace *ns = find_namespace(model, name, &hash);
    if (ns == NULL) {
        ns = must_alloc(1, sizeof *ns);
        ns->name = must_strdup(name);
        for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
            list_init(&ns->objects[kind]);
        }
        ns->judgement = (struct kube_judgement){.kind = KUBE_NAMESPACE, .ns = "", .name = ns->name};
        table_put(&model->namespaces, &ns->link, hash);
    }
    return ns;
}

void kube_namespace_release(struct kube_model *model, struct kube_namespace *ns)
{
    if (ns->is_known || ns->num_objects > 0) {
        return;
    }
    table_remove(&model->namespaces, &ns->link);
    kube_judgement_cleanup(&ns->judgement);
    free(ns->name);
    free(ns);
}

static char *path_of(const char *ns, const char *name)
{
    size_t size = strlen(ns) + strlen(name) + 2;
    char *path = must_alloc(1, size);
    snprintf(path, size, "%s/%s", ns, name);
    return path;
}

static struct kube_object *find(const struct kube_model *model, enum kube_kind kind,
                                const char *path, uint64_t *out_hash)
{
    struct table *table = (struct table *)&model->objects[kind];
    *out_hash = table_hash(table, path, strlen(path));
    struct table_link *link = table_first(table, *out_hash);
    while (link != NULL && strcmp(((struct kube_object *)link)->path, path) != 0) {
        link = table_next(link);
    }
    return (struct kube_object *)link;
}

struct kube_object *kube_object_find(const struct kube_model *model, enum kube_kind kind,
                                     const char *ns, const char *name)
{
    uint64_t hash;
    char *path = path_of(ns, name);
    struct kube_object *object = find(model, kind, path, &hash);
    free(path);
    return object;
}

struct kube_object *kube_object_make(struct kube_model *model, enum kube_kind kind, const char *ns,
                                     const char *name, size_t size)
{
    uint64_t hash;
    char *path = path_of(ns, name);
    struct kube_object *object = find(model, kind, path, &hash);
    if (object != NULL) {
        free(path);
        return object;
    }
    object = must_alloc(1, size);
    object->path = path;
    object->name = path + strlen(ns) + 1;
    table_put(&model->objects[kind], &object->link, hash);
    model->stats.num[kind]++;
    if (ns[0] != '\0') {
        object->ns = kube_namespace_make(model, ns);
        object->ns->num_objects++;
        list_push(&object->ns->objects[kind], &object->in_ns);
    }
    return object;
}

void kube_object_drop(struct kube_model *model, enum kube_kind kind, struct kube_object *object)
{
    struct kube_namespace *ns = object->ns;
    table_remove(&model->objects[kind], &object->link);
    list_remove(&object->in_ns);
    model->stats.num[kind]--;
    free(object->path);
    free(object);
    if (ns != NULL) {
        ns->num_objects--;
        kube_namespace_release(model, ns);
    }
}

void kube_judge(struct kube_model *model, struct kube_judgement *judgement, bool is_accepted,
                const char *reason, const char *message)
{
    bool is_same = judgement->reason != NULL && judgement->is_accepted == is_accepted &&
                   strcmp(judgement->reason, reason) == 0 &&
                   strcmp(judgement->message, message) == 0;
    judgement->is_accepted = is_accepted;
    judgement->reason = reason;
    if (!is_same) {
        free(judgement->message);
        judgement->message = must_strdup(message);
    }
    if (!is_same && !list_is_linked(&judgement->news)) {
        list_push(&model->news, &judgement->news);
    }
}

static bool is_accepted_by_status(const json_t *object)
{
    const json_t *condition;
    size_t i;
    json_array_foreach((json_t *)kube_json_at(object, "status", "conditions", NULL), i, condition)
    {
        if (strcmp(kube_json_text(condition, "type", NULL), "Accepted") == 0) {
            return strcmp(kube_json_text(condition, "status", NULL), "True") == 0;
        }
    }
    return false;
}

void kube_judge_generation(struct kube_model *model, struct kube_judgement *judgement,
                           const json_t *object)
{
    int64_t generation = json_integer_value(kube_json_at(object, "metadata", "generation", NULL));
    bool is_news = judgement->reason != NULL && judgement->generation != generation;
    judgement->generation = generation;
    judgement->was_accepted = is_accepted_by_status(object);
    if (is_news && !list_is_linked(&judgement->news)) {
        list_push(&model->news, &judgement->news);
    }
}

void kube_judge_refused(struct kube_model *model, struct kube_judgement *judgement,
                        const struct err *err, const char *instead)
{
    char text[sizeof *err];
    struct err said = *err;
    if (instead != NULL) {
        struct err plain = {{0}, {0}};
        err_set(&plain, "%s; %s", err->text, instead);
        snprintf(said.text, sizeof said.text, "%s", plain.text);
    }
    kube_judge(model, judgement, false, "Refused", err_text(&said, text, sizeof text));
}

bool kube_judge_is_lost(const struct kube_judgement *judgement, bool has_good)
{
    return !has_good && (judgement->generation > 1 || judgement->was_accepted);
}

void kube_judge_good(struct kube_model *model, struct kube_judgement *judgement)
{
    if (judgement->reason != NULL) {
        kube_judge(model, judgement, true, "Accepted", "");
    }
}

void kube_judgement_cleanup(struct kube_judgement *judgement)
{
    list_remove(&judgement->news);
    free(judgement->message);
}
