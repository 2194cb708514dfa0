// SPDX-License-Identifier: Apache-2.0
//
// The descriptor is walked, so that a field that is new in Snapshot and forgotten in snapshot_join
// fails here. That none of MeshConfig is forgotten is tested where the table of sources is known.
#include "proxy/rules/snapshot_join.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tabard/v1/policy_agent.pb-c.h"

#define NUM_ITEMS 3

static bool is_in(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

// A value of its own for each field, never looked behind.
static void *mark_of(const ProtobufCFieldDescriptor *field)
{
    return (void *)(uintptr_t)(0x1000 + field->id);
}

static void mark_fields(ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            *(void **)((char *)message + field->offset) = mark_of(field);
            if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                *(size_t *)((char *)message + field->quantifier_offset) = NUM_ITEMS + field->id;
            }
        }
    }
}

// Says whether a field of the snapshot is that of the message it should come from.
static bool has_come(const Tabard__V1__Snapshot *out, const ProtobufCFieldDescriptor *from)
{
    const ProtobufCFieldDescriptor *to = protobuf_c_message_descriptor_get_field_by_name(
        &tabard__v1__snapshot__descriptor, from->name);
    if (to == NULL || *(void *const *)((const char *)out + to->offset) != mark_of(from)) {
        return false;
    }
    return to->label != PROTOBUF_C_LABEL_REPEATED ||
           *(const size_t *)((const char *)out + to->quantifier_offset) == NUM_ITEMS + from->id;
}

Test(snapshot_join, every_field_of_a_snapshot_is_of_one_part, .timeout = 10)
{
    static const char *const of_none[] = {"generation", NULL};
    const ProtobufCMessageDescriptor *descriptor = &tabard__v1__snapshot__descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const char *name = descriptor->fields[i].name;
        bool has_part = snapshot_part_of(name) != SNAPSHOT_NUM_PARTS;
        cr_expect_neq(has_part, is_in(name, of_none), "Snapshot.%s is forgotten", name);
    }
    cr_expect_eq(snapshot_part_of("nonsense"), SNAPSHOT_NUM_PARTS);
}

Test(snapshot_join, every_field_of_a_snapshot_comes_with_its_part_and_with_no_other, .timeout = 10)
{
    Tabard__V1__Snapshot from = TABARD__V1__SNAPSHOT__INIT;
    mark_fields(&from.base);
    for (unsigned part = 0; part < SNAPSHOT_NUM_PARTS; part++) {
        Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
        snapshot_join(&out, (enum snapshot_part)part, &from.base);
        for (unsigned i = 0; i < from.base.descriptor->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &from.base.descriptor->fields[i];
            if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                cr_expect_eq(has_come(&out, field), snapshot_part_of(field->name) == part, "%s",
                             field->name);
            }
        }
    }
}

Test(snapshot_join, a_field_of_another_type_is_none_of_the_snapshot_s, .timeout = 10)
{
    Tabard__V1__MeshConfig config = TABARD__V1__MESH_CONFIG__INIT; // it names files
    Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
    mark_fields(&config.base);
    snapshot_join(&out, SNAPSHOT_IDENTITY, &config.base);
    snapshot_join(&out, SNAPSHOT_BUNDLES, &config.base);
    cr_expect_null(out.identity);
    cr_expect_eq(out.n_trust_bundles, 0);
}

Test(snapshot_join, what_a_state_says_beside_lists_stands_in_for_a_setting, .timeout = 10)
{
    const ProtobufCMessageDescriptor *state = &tabard__v1__state__descriptor;
    for (unsigned i = 0; i < state->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &state->fields[i];
        Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
        Tabard__V1__State from = TABARD__V1__STATE__INIT;
        Tabard__V1__Settings settings;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            cr_expect_neq(snapshot_part_of(field->name), SNAPSHOT_NUM_PARTS, "%s", field->name);
            continue;
        }
        cr_assert_eq(field->type, PROTOBUF_C_TYPE_ENUM, "%s", field->name);
        *(int *)((char *)&from + field->offset) = 2;
        snapshot_join_settings(&out, &settings, &from.base);
        const ProtobufCFieldDescriptor *to = protobuf_c_message_descriptor_get_field_by_name(
            &tabard__v1__settings__descriptor, field->name);
        cr_assert_not_null(to, "State.%s is forgotten", field->name);
        cr_assert_eq(out.settings, &settings, "State.%s is forgotten", field->name);
        cr_expect_eq(*(int *)((char *)&settings + to->offset), 2, "%s", field->name);
    }
}

// What mesh.yaml says, what the policy agent says, and what holds.
Test(snapshot_join, of_mesh_yaml_s_word_and_the_policy_agent_s_the_stricter_holds, .timeout = 10)
{
    enum { NONE, FIRST, SECOND }; // ENFORCE, DENY, ANY; OBSERVE, PLAINTEXT, POST_QUANTUM
    static const struct {
        int own, with_rules;
        int where_first_is_strict;
        int key_exchange;
    } rows[] = {
        {NONE, NONE, NONE, NONE},         {NONE, FIRST, FIRST, FIRST},
        {NONE, SECOND, SECOND, SECOND},   {FIRST, NONE, FIRST, FIRST},
        {SECOND, NONE, SECOND, SECOND},   {FIRST, SECOND, FIRST, SECOND},
        {SECOND, FIRST, FIRST, SECOND},   {FIRST, FIRST, FIRST, FIRST},
        {SECOND, SECOND, SECOND, SECOND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Tabard__V1__Settings own = TABARD__V1__SETTINGS__INIT;
        Tabard__V1__Settings settings;
        Tabard__V1__State state = TABARD__V1__STATE__INIT;
        Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
        own.drain_seconds = 7;
        own.enforcement = (Tabard__V1__Settings__Enforcement)rows[i].own;
        own.unlisted_outbound = (Tabard__V1__Settings__UnlistedOutbound)rows[i].own;
        own.key_exchange = (Tabard__V1__Settings__KeyExchange)rows[i].own;
        state.enforcement = (Tabard__V1__Settings__Enforcement)rows[i].with_rules;
        state.unlisted_outbound = (Tabard__V1__Settings__UnlistedOutbound)rows[i].with_rules;
        state.key_exchange = (Tabard__V1__Settings__KeyExchange)rows[i].with_rules;
        out.settings = &own;
        snapshot_join_settings(&out, &settings, &state.base);
        cr_expect_eq((int)out.settings->enforcement, rows[i].where_first_is_strict, "row %zu", i);
        cr_expect_eq((int)out.settings->unlisted_outbound, rows[i].where_first_is_strict, "row %zu",
                     i);
        cr_expect_eq((int)out.settings->key_exchange, rows[i].key_exchange, "row %zu", i);
        cr_expect_eq(out.settings->drain_seconds, 7, "row %zu", i);
        cr_expect_eq((int)own.enforcement, rows[i].own, "row %zu: mesh.yaml's was changed", i);
        // Each field by itself, and without any settings in mesh.yaml.
        out.settings = NULL;
        state.unlisted_outbound = (Tabard__V1__Settings__UnlistedOutbound)NONE;
        snapshot_join_settings(&out, &settings, &state.base);
        cr_expect_eq(out.settings == NULL ? NONE : (int)out.settings->enforcement,
                     rows[i].with_rules);
        cr_expect(out.settings == NULL || (int)out.settings->unlisted_outbound == NONE);
    }
}

Test(snapshot_join, says_who_has_said_what_holds_of_a_setting, .timeout = 10)
{
    static const struct {
        int own, with_rules;
        const char *by;
    } rows[] = {
        {0, 0, "default"},      {1, 0, "mesh.yaml"}, {0, 1, "policy agent"},
        {0, 2, "policy agent"}, {2, 0, "mesh.yaml"}, {2, 2, "mesh.yaml and policy agent"},
        {1, 2, "policy agent"}, {2, 1, "mesh.yaml"},
    };
    Tabard__V1__MeshConfig config = TABARD__V1__MESH_CONFIG__INIT;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Tabard__V1__Settings own = TABARD__V1__SETTINGS__INIT;
        Tabard__V1__State state = TABARD__V1__STATE__INIT;
        own.key_exchange = (Tabard__V1__Settings__KeyExchange)rows[i].own;
        state.key_exchange = (Tabard__V1__Settings__KeyExchange)rows[i].with_rules;
        state.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE; // another setting
        cr_expect_str_eq(snapshot_setting_by("key_exchange", &own, &state.base), rows[i].by,
                         "row %zu", i);
        // Rules of mesh.yaml.
        cr_expect_str_eq(snapshot_setting_by("key_exchange", &own, &config.base),
                         rows[i].own == 0 ? "default" : "mesh.yaml", "row %zu", i);
        if (rows[i].own == 0) {
            cr_expect_str_eq(snapshot_setting_by("key_exchange", NULL, &state.base), rows[i].by);
        }
    }
}

Test(snapshot_join, mesh_yaml_has_no_such_words_beside_its_rules, .timeout = 10)
{
    Tabard__V1__MeshConfig config = TABARD__V1__MESH_CONFIG__INIT;
    Tabard__V1__Settings own = TABARD__V1__SETTINGS__INIT;
    Tabard__V1__Settings settings;
    Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
    out.settings = &own;
    snapshot_join_settings(&out, &settings, &config.base);
    cr_expect_eq(out.settings, &own);
}
