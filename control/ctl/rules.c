// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/rules.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/agent/sources/files/mesh_files.h"
#include "control/agent/sources/sources.h"
#include "control/ctl/ask.h"
#include "proxy/rules/snapshot_join.h"

#define DEADLINE_MS 5000

void rules_cleanup(struct rules *rules)
{
    if (rules->message != NULL) {
        protobuf_c_message_free_unpacked(rules->message, NULL);
    }
    policy_index_free(rules->policies);
    route_index_free(rules->routes);
    route_index_free(rules->observed);
    free(rules->trust_domains);
    *rules = (struct rules){0};
}

// Refuses a mesh.yaml whose policies and destinations come from another source.
static bool check_whole(const Tabard__V1__MeshConfig *config, struct err *err)
{
    for (size_t i = 0; sources_fields[i] != NULL; i++) {
        const struct source_field *field = sources_fields[i];
        if ((field->fills & 1u << SNAPSHOT_RULES) != 0 && mesh_config_has(config, field->field)) {
            return err_set_at(err, field->field,
                              "the %s decides what is allowed, so this file can't tell: ask the "
                              "sidecar by --admin",
                              field->name);
        }
    }
    return true;
}

// Indexes policies, and the routes once for each enforcement. The snapshot's fields are borrowed.
static bool index_all(struct rules *rules, Tabard__V1__Snapshot *snapshot, struct err *err)
{
    Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
    if (snapshot->settings != NULL) {
        settings = *snapshot->settings;
    }
    rules->policies = policy_index_new(snapshot->policies, snapshot->n_policies, err);
    if (rules->policies == NULL) {
        return false;
    }
    rules->is_observing = settings.enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    snapshot->settings = &settings;
    settings.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE;
    rules->routes = route_index_new(snapshot, err);
    settings.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    rules->observed = rules->routes == NULL ? NULL : route_index_new(snapshot, err);
    return rules->observed != NULL;
}

bool rules_read(struct rules *rules, const char *path, struct err *err)
{
    size_t text_len = 0;
    struct pb_text_marks *marks = NULL;
    char *text = NULL;
    if (!file_read_text(&text, &text_len, path, PB_TEXT_BYTES_MAX, err)) {
        return false;
    }
    Tabard__V1__MeshConfig *config = (Tabard__V1__MeshConfig *)pb_text_parse(
        &tabard__v1__mesh_config__descriptor, text, text_len, path, &marks, err);
    free(text);
    if (config == NULL) {
        return false;
    }
    rules->message = &config->base;
    rules->trust_domains = must_alloc(config->n_trust_bundles, sizeof *rules->trust_domains);
    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        rules->trust_domains[rules->num_trust_domains++] = config->trust_bundles[i]->trust_domain;
    }
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot_join(&snapshot, SNAPSHOT_RULES, &config->base);
    snapshot_join(&snapshot, SNAPSHOT_LOCAL, &config->base);
    bool ok = check_whole(config, err) && index_all(rules, &snapshot, err);
    if (!ok) {
        pb_text_marks_locate(marks, path, err);
    }
    pb_text_marks_free(marks);
    return ok;
}

bool rules_ask(struct rules *rules, const char *path, struct err *err)
{
    size_t len = 0;
    char *text = ask(path, "/rules", DEADLINE_MS, &len, err);
    if (text == NULL) {
        return false;
    }
    Tabard__V1__Snapshot *in_force = (Tabard__V1__Snapshot *)pb_text_parse(
        &tabard__v1__snapshot__descriptor, text, len, "the agent's answer", NULL, err);
    free(text);
    if (in_force == NULL) {
        return false;
    }
    rules->message = &in_force->base;
    rules->trust_domains = must_alloc(in_force->n_trust_bundles, sizeof *rules->trust_domains);
    for (size_t i = 0; i < in_force->n_trust_bundles; i++) {
        rules->trust_domains[rules->num_trust_domains++] = in_force->trust_bundles[i]->trust_domain;
    }
    Tabard__V1__Snapshot snapshot = *in_force; // index_all changes it
    return index_all(rules, &snapshot, err);
}
