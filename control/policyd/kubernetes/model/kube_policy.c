// SPDX-License-Identifier: Apache-2.0
//
// MeshPolicy: from its spec to a policy of the fleet.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

// Appends the pattern of a namespace, or of one account in it, to `to`.
static bool add_caller(const struct kube_model *model, json_t *to, const json_t *caller,
                       struct err *err)
{
    char pattern[SPIFFE_ID_LEN_MAX];
    const char *ns = kube_json_text(caller, "namespace", NULL);
    const json_t *account = json_object_get(caller, "serviceAccount");
    const char *name = json_string_value(account);
    if (!kube_json_only(caller, err, "namespace", "serviceAccount", NULL)) {
        return false;
    }
    if (!kube_json_is_label(ns)) {
        return err_set_at(err, "namespace", "%s",
                          ns[0] == '\0' ? "missing" : "is no name of a namespace");
    }
    if (account != NULL && (name == NULL || !kube_json_is_name(name))) {
        return err_set_at(err, "serviceAccount", "is no name of a service account");
    }
    snprintf(pattern, sizeof pattern, "spiffe://%s/ns/%s/%s%s", model->trust_domain, ns,
             account == NULL ? "" : "sa/", account == NULL ? "" : name);
    return json_array_append_new(to, must_have(json_string(pattern))) == 0 ||
           err_set(err, "out of memory");
}

// Turns `from` into more `principals`, or the two of their negation.
static bool add_callers(const struct kube_model *model, json_t *rule, const char *from,
                        const char *principals, struct err *err)
{
    json_t *callers = json_object_get(rule, from);
    json_t *patterns = json_object_get(rule, principals);
    const json_t *item;
    size_t i;
    if (callers == NULL) {
        return true;
    }
    if (!json_is_array(callers) || json_array_size(callers) == 0) {
        return err_set_at(err, from,
                          "is no list, or an empty one, which would mean the same as "
                          "none: leave it out");
    }
    if (patterns == NULL) {
        json_object_set_new(rule, principals, must_have(json_array()));
        patterns = json_object_get(rule, principals);
    } else if (!json_is_array(patterns) || json_array_size(patterns) == 0) {
        return err_set_at(err, principals,
                          "is no list, or an empty one, which would mean the same "
                          "as none: leave it out");
    }
    json_array_foreach(callers, i, item)
    {
        if (!add_caller(model, patterns, item, err)) {
            return err_prefix_where(err, "%s[%zu]", from, i);
        }
    }
    json_object_del(rule, from);
    return true;
}

static bool add_all_callers(const struct kube_model *model, json_t *spec, struct err *err)
{
    json_t *rule;
    size_t i;
    json_array_foreach(json_object_get(spec, "rules"), i, rule)
    {
        if (!add_callers(model, rule, "from", "principals", err) ||
            !add_callers(model, rule, "notFrom", "notPrincipals", err)) {
            return err_prefix_where(err, "rules[%zu]", i);
        }
    }
    return true;
}

static Tabard__V1__FleetPolicy *read_policy(const struct kube_model *model,
                                            const struct kube_policy *policy,
                                            struct kube_selector *selector, json_t *spec,
                                            struct err *err)
{
    if (!json_is_object(spec)) {
        err_set_at(err, "spec", "missing");
        return NULL;
    }
    if (json_object_get(spec, "name") != NULL) {
        err_set_at(err, "spec.name", "there is no such field");
        return NULL;
    }
    if (!kube_selector_read(selector, json_object_get(spec, "selector"), true, err) ||
        !add_all_callers(model, spec, err)) {
        err_prefix_where(err, "spec");
        return NULL;
    }
    json_object_del(spec, "selector");
    json_object_set_new(spec, "name", must_have(json_string(policy->object.path)));
    if (json_object_get(spec, "mode") == NULL) {
        json_object_set_new(spec, "mode", must_have(json_string("ENFORCE")));
    }
    Tabard__V1__Policy *inner = kube_json_message(&tabard__v1__policy__descriptor, spec, err);
    if (inner == NULL) {
        kube_json_place(err, "");
        return NULL;
    }
    Tabard__V1__FleetPolicy *made = must_alloc(1, sizeof *made);
    tabard__v1__fleet_policy__init(made);
    made->policy = inner;
    made->targets =
        kube_selector_patterns(model, selector, policy->object.ns->name, &made->n_targets);
    if (!fleet_check_policy(made, err)) {
        kube_json_place(err, "policy");
        tabard__v1__fleet_policy__free_unpacked(made, NULL);
        return NULL;
    }
    return made;
}

// Puts another form in force, NULL: none; and takes over the selector.
static void set_good(struct kube_model *model, struct kube_policy *policy,
                     Tabard__V1__FleetPolicy *good, struct kube_selector *selector)
{
    struct kube_namespace *ns = policy->object.ns;
    bool was_by_labels = policy->good != NULL && policy->selector.labels != NULL;
    bool is_by_labels = good != NULL && selector->labels != NULL;
    if (policy->good != NULL) {
        tabard__v1__fleet_policy__free_unpacked(policy->good, NULL);
    }
    kube_selector_cleanup(&policy->selector);
    policy->good = good;
    policy->selector = *selector;
    model->is_fleet_dirty = true;
    ns->num_by_labels += is_by_labels - was_by_labels;
    if (was_by_labels || is_by_labels) {
        kube_pods_settle(model, ns);
    }
}

static void judge_good(struct kube_model *model, struct kube_policy *policy)
{
    char text[128];
    snprintf(text, sizeof text,
             "the namespace has %d MeshPolicies that are older, and may have no more",
             KUBE_POLICIES_OF_ONE_MAX);
    kube_judge(model, &policy->judgement, !policy->is_surplus,
               policy->is_surplus ? "OverLimit" : "Accepted", policy->is_surplus ? text : "");
}

static int compare_ages(const void *a, const void *b)
{
    const struct kube_policy *left = *(struct kube_policy *const *)a;
    const struct kube_policy *right = *(struct kube_policy *const *)b;
    int order = strcmp(left->created, right->created);
    return order != 0 ? order : strcmp(left->object.path, right->object.path);
}

void kube_policies_limit(struct kube_model *model, struct kube_object *const *policies,
                         uint32_t num)
{
    struct kube_policy **by_age = must_copy(policies, num * sizeof *policies);
    if (num > KUBE_POLICIES_OF_ONE_MAX) {
        qsort(by_age, num, sizeof *by_age, compare_ages);
    }
    for (uint32_t i = 0; i < num; i++) {
        bool was_surplus = by_age[i]->is_surplus;
        by_age[i]->is_surplus = i >= KUBE_POLICIES_OF_ONE_MAX;
        if (by_age[i]->is_surplus != was_surplus && !by_age[i]->is_bad) {
            judge_good(model, by_age[i]);
        }
    }
    free(by_age);
}

// Says whether a policy that is refused would decide for nobody as it is written: what it allows
// isn't allowed then, and an audit decides nothing.
static bool denies_nothing(const json_t *spec)
{
    return strcmp(kube_json_text(spec, "action", NULL), "ALLOW") == 0 ||
           strcmp(kube_json_text(spec, "mode", NULL), "AUDIT") == 0;
}

// Makes what stands in place of a form that may have denied and isn't known any more: nobody may
// call the pods that the spec selects, or, if it can't be read, those of the namespace. NULL: no
// form of the policy can have been good, since its name can't.
static Tabard__V1__FleetPolicy *make_guard(const struct kube_model *model,
                                           const struct kube_policy *policy, const json_t *spec,
                                           struct kube_selector *selector)
{
    struct err err = {{0}, {0}};
    json_t *all = json_pack("{s:s, s:[{}]}", "action", "DENY", "rules");
    json_t *selected = json_object_get(spec, "selector");
    if (selected != NULL && kube_selector_read(selector, selected, true, &err)) {
        kube_selector_cleanup(selector);
        json_object_set(all, "selector", selected);
    }
    Tabard__V1__FleetPolicy *guard = read_policy(model, policy, selector, must_have(all), &err);
    if (guard == NULL) {
        kube_selector_cleanup(selector);
    }
    json_decref(all);
    return guard;
}

// Judges a policy that is refused and of which no form is known that was good.
static void stand_in(struct kube_model *model, struct kube_policy *policy, const struct err *err)
{
    struct kube_selector selector = {.labels = NULL};
    json_t *spec = json_loads(policy->spec, JSON_DECODE_ANY, NULL);
    bool may_be_lost = kube_judge_is_lost(&policy->judgement, false) && !denies_nothing(spec);
    Tabard__V1__FleetPolicy *guard =
        may_be_lost ? make_guard(model, policy, spec, &selector) : NULL;
    json_decref(spec);
    policy->is_guard = guard != NULL;
    set_good(model, policy, guard, &selector);
    kube_judge_refused(
        model, &policy->judgement, err,
        policy->is_guard ? "what it denied before isn't known any more, so it denies all" : NULL);
}

static void judge(struct kube_model *model, struct kube_policy *policy)
{
    struct err err = {{0}, {0}};
    struct kube_selector selector = {.labels = NULL};
    if (model->trust_domain == NULL) {
        return;
    }
    json_t *spec = json_loads(policy->spec, JSON_DECODE_ANY, NULL);
    Tabard__V1__FleetPolicy *good = read_policy(model, policy, &selector, spec, &err);
    json_decref(spec);
    bool has_good = policy->good != NULL && !policy->is_guard;
    policy->is_bad = good == NULL;
    if (!policy->is_bad) {
        policy->is_guard = false;
        set_good(model, policy, good, &selector);
        judge_good(model, policy);
        return;
    }
    kube_selector_cleanup(&selector);
    if (has_good) {
        kube_judge_refused(model, &policy->judgement, &err, KUBE_STAYS);
    } else {
        stand_in(model, policy, &err);
    }
}

void kube_policy_judge(struct kube_model *model, struct kube_object *object)
{
    judge(model, (struct kube_policy *)object);
}

void kube_policy_put(struct kube_model *model, const char *ns, const char *name,
                     const json_t *object)
{
    struct kube_policy *policy = (struct kube_policy *)kube_object_make(
        model, KUBE_MESH_POLICY, ns, name, sizeof(struct kube_policy));
    const json_t *found = json_object_get(object, "spec");
    char *spec = found == NULL ? must_strdup("null") : kube_json_canonical(found);
    bool is_same = policy->spec != NULL && strcmp(policy->spec, spec) == 0;
    policy->judgement.kind = KUBE_MESH_POLICY;
    policy->judgement.ns = policy->object.ns->name;
    policy->judgement.name = policy->object.name;
    policy->is_gone = false;
    kube_judge_generation(model, &policy->judgement, object);
    free(policy->created);
    policy->created = must_strdup(kube_json_text(object, "metadata", "creationTimestamp", NULL));
    if (is_same) {
        free(spec);
        return;
    }
    free(policy->spec);
    policy->spec = spec;
    judge(model, policy);
}

static void end(struct kube_model *model, struct kube_policy *policy)
{
    struct kube_selector none = {.labels = NULL};
    set_good(model, policy, NULL, &none);
    kube_judgement_cleanup(&policy->judgement);
    free(policy->spec);
    free(policy->created);
    kube_object_drop(model, KUBE_MESH_POLICY, &policy->object);
}

void kube_policy_delete(struct kube_model *model, struct kube_policy *policy)
{
    const struct kube_namespace *ns = policy->object.ns;
    const Tabard__V1__Policy *good = policy->good == NULL ? NULL : policy->good->policy;
    // A namespace that ends loses its objects in no order: no DENY goes before what it denies.
    if (ns->is_terminating && good != NULL && good->action == TABARD__V1__POLICY__ACTION__DENY) {
        policy->is_gone = true;
        return;
    }
    end(model, policy);
}

void kube_policies_end(struct kube_model *model, struct kube_namespace *ns)
{
    LIST_EACH_SAFE(link, &ns->objects[KUBE_MESH_POLICY]) {
        struct kube_policy *policy = LIST_OF(link, struct kube_policy, object.in_ns);
        if (policy->is_gone) {
            end(model, policy);
        }
    }
}
