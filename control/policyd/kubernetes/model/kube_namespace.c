// SPDX-License-Identifier: Apache-2.0
//
// Namespaces and MeshSettings.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/identity.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

#define MODE_ANNOTATION "tabard.dev/mode"

// Returns the mode of a text, or 0.
static Tabard__V1__Settings__Enforcement mode_of(const char *text)
{
    return strcmp(text, "observe") == 0 ? TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE
           : strcmp(text, "enforce") == 0
               ? TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE
               : TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCEMENT_UNSPECIFIED;
}

void kube_namespace_put(struct kube_model *model, const char *name, const json_t *object)
{
    struct kube_namespace *ns = kube_namespace_make(model, name);
    const json_t *annotation =
        kube_json_at(object, "metadata", "annotations", MODE_ANNOTATION, NULL);
    const char *text = json_string_value(annotation);
    Tabard__V1__Settings__Enforcement mode = text == NULL ? 0 : mode_of(text);
    if (annotation != NULL && mode == 0) {
        mode = TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE;
        kube_judge(model, &ns->judgement, false, "BadAnnotation",
                   "metadata.annotations[" MODE_ANNOTATION
                   "]: is neither observe nor enforce, so enforce is taken");
    } else {
        kube_judge_good(model, &ns->judgement);
    }
    model->stats.num[KUBE_NAMESPACE] += !ns->is_known;
    model->is_fleet_dirty = model->is_fleet_dirty || !ns->is_known || ns->mode != mode;
    ns->is_known = true;
    ns->mode = mode;
    ns->is_terminating =
        json_object_get(json_object_get(object, "metadata"), "deletionTimestamp") != NULL;
}

void kube_namespace_delete(struct kube_model *model, const char *name)
{
    struct kube_namespace *ns = kube_namespace_find(model, name);
    if (ns == NULL || !ns->is_known) {
        return;
    }
    model->stats.num[KUBE_NAMESPACE]--;
    model->is_fleet_dirty = true;
    ns->is_terminating = false;
    ns->mode = 0;
    // Its last policy may take it along, if it were unknown already.
    kube_policies_end(model, ns);
    ns->is_known = false;
    kube_namespace_release(model, ns);
}

Tabard__V1__Settings__Enforcement kube_namespace_mode(const struct kube_model *model,
                                                      const struct kube_namespace *ns)
{
    if (!ns->is_known) {
        return TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE; // its annotation may say so
    }
    return ns->mode != 0 ? ns->mode : model->mode;
}

struct settings_form {
    const char *trust_domain;
    Tabard__V1__Settings__Enforcement mode;
    Tabard__V1__Settings__UnlistedOutbound unlisted_outbound;
    Tabard__V1__Settings__KeyExchange key_exchange; // 0: not said
    uint32_t certificate_seconds;                   // 0: not said
};

static_assert(KUBE_CERTIFICATE_SECONDS_MIN >= FLEET_CERTIFICATE_SECONDS_MIN &&
                  KUBE_CERTIFICATE_SECONDS_MAX <= FLEET_CERTIFICATE_SECONDS_MAX,
              "a fleet takes what the settings may say");

static bool read_certificate_seconds(uint32_t *out, const json_t *seconds, struct err *err)
{
    json_int_t value = json_integer_value(seconds);
    if (seconds == NULL) {
        *out = 0;
        return true;
    }
    if (!json_is_integer(seconds) || value < KUBE_CERTIFICATE_SECONDS_MIN ||
        value > KUBE_CERTIFICATE_SECONDS_MAX) {
        return err_set_at(err, "certificateSeconds", "is not a whole number of %d to %d seconds",
                          KUBE_CERTIFICATE_SECONDS_MIN, KUBE_CERTIFICATE_SECONDS_MAX);
    }
    *out = (uint32_t)value;
    return true;
}

static bool read_key_exchange(Tabard__V1__Settings__KeyExchange *out, const json_t *said,
                              struct err *err)
{
    const char *word = json_string_value(said);
    if (said == NULL) {
        *out = TABARD__V1__SETTINGS__KEY_EXCHANGE__KEY_EXCHANGE_UNSPECIFIED;
        return true;
    }
    if (word == NULL || (strcmp(word, "ANY") != 0 && strcmp(word, "POST_QUANTUM") != 0)) {
        return err_set_at(err, "keyExchange", "is neither ANY nor POST_QUANTUM");
    }
    *out = strcmp(word, "ANY") == 0 ? TABARD__V1__SETTINGS__KEY_EXCHANGE__ANY
                                    : TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM;
    return true;
}

static bool read_settings(const struct kube_model *model, struct settings_form *out,
                          const json_t *spec, struct err *err)
{
    const json_t *mode = json_object_get(spec, "mode");
    const json_t *unlisted = json_object_get(spec, "unlistedOutbound");
    out->trust_domain = kube_json_text(spec, "trustDomain", NULL);
    if (!kube_json_only(spec, err, "trustDomain", "mode", "unlistedOutbound", "keyExchange",
                        "certificateSeconds", NULL)) {
        return false;
    }
    if (!spiffe_trust_domain_check(out->trust_domain, strlen(out->trust_domain), err)) {
        return err_prefix_where(err, "trustDomain");
    }
    if (model->trust_domain != NULL && strcmp(model->trust_domain, out->trust_domain) != 0) {
        return err_set_at(err, "trustDomain", "can't be changed: it is %s in every identity",
                          model->trust_domain);
    }
    out->mode = mode == NULL ? TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE
                             : mode_of(json_is_string(mode) ? json_string_value(mode) : "");
    if (out->mode == 0) {
        return err_set_at(err, "mode", "is neither observe nor enforce");
    }
    const char *word = unlisted == NULL ? "DENY" : json_string_value(unlisted);
    if (word == NULL || (strcmp(word, "DENY") != 0 && strcmp(word, "PLAINTEXT") != 0)) {
        return err_set_at(err, "unlistedOutbound", "is neither DENY nor PLAINTEXT");
    }
    out->unlisted_outbound = strcmp(word, "DENY") == 0
                                 ? TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__DENY
                                 : TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__PLAINTEXT;
    return read_key_exchange(&out->key_exchange, json_object_get(spec, "keyExchange"), err) &&
           read_certificate_seconds(&out->certificate_seconds,
                                    json_object_get(spec, "certificateSeconds"), err);
}

// Judges what came before the trust domain was known.
static void judge_all(struct kube_model *model)
{
    for (int kind = KUBE_MESH_POLICY; kind <= KUBE_MESH_DESTINATION; kind++) {
        const struct table *table = &model->objects[kind];
        for (uint32_t i = 0; i < table->cap; i++) {
            for (struct table_link *link = table->heads[i]; link != NULL; link = link->next) {
                if (kind == KUBE_MESH_POLICY) {
                    kube_policy_judge(model, (struct kube_object *)link);
                } else {
                    kube_destination_judge(model, (struct kube_object *)link);
                }
            }
        }
    }
}

static void set_form(struct kube_model *model, const struct settings_form *form)
{
    bool is_first = model->trust_domain == NULL;
    model->is_fleet_dirty = model->is_fleet_dirty || is_first || model->mode != form->mode ||
                            model->unlisted_outbound != form->unlisted_outbound ||
                            model->key_exchange != form->key_exchange ||
                            model->certificate_seconds != form->certificate_seconds;
    model->mode = form->mode;
    model->unlisted_outbound = form->unlisted_outbound;
    model->key_exchange = form->key_exchange;
    model->certificate_seconds = form->certificate_seconds;
    if (is_first) {
        model->trust_domain = must_strdup(form->trust_domain);
        judge_all(model);
    }
}

void kube_settings_put(struct kube_model *model, const char *name, const json_t *object)
{
    struct kube_settings *settings = (struct kube_settings *)kube_object_make(
        model, KUBE_MESH_SETTINGS, "", name, sizeof(struct kube_settings));
    struct err err = {{0}, {0}};
    struct settings_form form = {.mode = 0};
    settings->judgement.kind = KUBE_MESH_SETTINGS;
    settings->judgement.ns = "";
    settings->judgement.name = settings->object.name;
    kube_judge_generation(model, &settings->judgement, object);
    if (strcmp(name, KUBE_SETTINGS_NAME) != 0) {
        kube_judge(model, &settings->judgement, false, "NotDefault",
                   "metadata.name: only the MeshSettings that is called " KUBE_SETTINGS_NAME
                   " counts");
    } else if (read_settings(model, &form, json_object_get(object, "spec"), &err)) {
        set_form(model, &form);
        kube_judge(model, &settings->judgement, true, "Accepted", "");
    } else {
        err_prefix_where(&err, "spec");
        kube_judge_refused(model, &settings->judgement, &err,
                           model->trust_domain != NULL ? KUBE_STAYS : NULL);
    }
}

// What it said stays in force: without it nothing would say more than it did.
void kube_settings_delete(struct kube_model *model, struct kube_settings *settings)
{
    kube_judgement_cleanup(&settings->judgement);
    kube_object_drop(model, KUBE_MESH_SETTINGS, &settings->object);
}
