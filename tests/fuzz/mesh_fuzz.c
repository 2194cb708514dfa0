// SPDX-License-Identifier: Apache-2.0
//
// Any text as mesh.yaml: it parses or names a place, what it prints as JSON parses to the same, and
// what the indexes make of it answers questions.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/pb/pb_text.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"
#include "proxy/rules/snapshot_join.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_json(const ProtobufCMessage *message)
{
    struct err err = {{0}, {0}};
    char *json = pb_text_to_json(message);
    invariant(json != NULL);
    ProtobufCMessage *again =
        pb_text_parse(message->descriptor, json, strlen(json), "json", NULL, &err);
    invariant(again != NULL);
    char *json_again = pb_text_to_json(again);
    invariant(json_again != NULL && strcmp(json, json_again) == 0);
    protobuf_c_message_free_unpacked(again, NULL);
    free(json);
    free(json_again);
}

static void check_policies(const Tabard__V1__MeshConfig *config, const struct pb_text_marks *marks)
{
    struct err err = {{0}, {0}};
    struct policy_index *index = policy_index_new(config->policies, config->n_policies, &err);
    if (index == NULL) {
        invariant(err.text[0] != '\0');
        pb_text_marks_locate(marks, "mesh.yaml", &err);
        invariant(strncmp(err.text, "mesh.yaml:", 10) == 0);
        return;
    }
    static const char peer[] = "spiffe://demo.example/ns/shop/sa/web";
    struct spiffe_id id;
    struct policy_request request = {.port = 8080};
    invariant(spiffe_workload_parse(&id, peer, sizeof peer - 1, NULL));
    for (int i = 0; i < 2; i++) {
        struct policy_decision decision = policy_decide(index, &request, NULL, NULL);
        invariant(decision.verdict == POLICY_DENIED || decision.rule >= 0);
        request.peer = &id;
    }
    policy_index_free(index);
}

static void check_routes(const Tabard__V1__MeshConfig *config)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot_join(&snapshot, SNAPSHOT_RULES, &config->base);
    snapshot_join(&snapshot, SNAPSHOT_LOCAL, &config->base);
    struct route_index *index = route_index_new(&snapshot, &err);
    invariant(index != NULL || err.text[0] != '\0');
    if (index != NULL) {
        struct addr addr = {.ip = {{[10] = 0xff, [11] = 0xff, [12] = 10}}, .port = 80};
        struct route route = route_outbound(index, &addr);
        invariant((route.mode == ROUTE_MTLS) == (route.num_identities > 0));
        route_inbound(index, 8080);
    }
    route_index_free(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {{0}, {0}};
    struct pb_text_marks *marks = NULL;
    Tabard__V1__MeshConfig *config = (Tabard__V1__MeshConfig *)pb_text_parse(
        &tabard__v1__mesh_config__descriptor, (const char *)data, size, "mesh.yaml", &marks, &err);
    if (config == NULL) {
        invariant(strncmp(err.text, "mesh.yaml:", 10) == 0);
        invariant(marks == NULL);
        return 0;
    }
    check_json(&config->base);
    check_policies(config, marks);
    check_routes(config);
    pb_text_marks_free(marks);
    tabard__v1__mesh_config__free_unpacked(config, NULL);
    return 0;
}
