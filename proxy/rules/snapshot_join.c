// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/snapshot_join.h"

#include <stdbool.h>
#include <string.h>

#include "base/log.h"

// Every field of Snapshot but its generation, which belongs to no part.
static const struct {
    const char *name;
    enum snapshot_part part;
} fields[] = {
    {"identity", SNAPSHOT_IDENTITY},   {"trust_bundles", SNAPSHOT_BUNDLES},
    {"policies", SNAPSHOT_RULES},      {"destinations", SNAPSHOT_RULES},
    {"inbound_ports", SNAPSHOT_LOCAL}, {"forwards", SNAPSHOT_LOCAL},
    {"settings", SNAPSHOT_LOCAL},
};
#define NUM_FIELDS (sizeof fields / sizeof fields[0])

enum snapshot_part snapshot_part_of(const char *field)
{
    for (size_t i = 0; i < NUM_FIELDS; i++) {
        if (strcmp(fields[i].name, field) == 0) {
            return fields[i].part;
        }
    }
    return SNAPSHOT_NUM_PARTS;
}

// Every field of these is a message, or a list of them: a pointer, and for a list its length.
static void borrow(ProtobufCMessage *out, const ProtobufCFieldDescriptor *to,
                   const ProtobufCMessage *from, const ProtobufCFieldDescriptor *field)
{
    memcpy((char *)out + to->offset, (const char *)from + field->offset, sizeof(void *));
    if (to->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy((char *)out + to->quantifier_offset, (const char *)from + field->quantifier_offset,
               sizeof(size_t));
    }
}

void snapshot_join(Tabard__V1__Snapshot *out, enum snapshot_part part, const ProtobufCMessage *from)
{
    for (size_t i = 0; i < NUM_FIELDS; i++) {
        const ProtobufCFieldDescriptor *to = protobuf_c_message_descriptor_get_field_by_name(
            &tabard__v1__snapshot__descriptor, fields[i].name);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(from->descriptor, fields[i].name);
        // mesh.yaml names files under `identity` and `trust_bundles`: those are of another type.
        bool is_same = fields[i].part == part && field != NULL &&
                       field->descriptor == to->descriptor && field->label == to->label;
        if (is_same) {
            borrow(&out->base, to, from, field);
        }
    }
}

// Enums of Settings that the message with the rules may have, too, by the same name, and the value
// of each that lets the least happen.
static const struct shared {
    const char *name;
    int strictest;
} shared[] = {
    {"enforcement", TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE},
    {"unlisted_outbound", TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__DENY},
    {"key_exchange", TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM},
};
#define NUM_SHARED (sizeof shared / sizeof shared[0])

static int *setting_at(Tabard__V1__Settings *settings, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(settings->base.descriptor, name);
    return (int *)(void *)((char *)settings + field->offset);
}

// Returns what the message with the rules says of a setting; 0, which is UNSPECIFIED: nothing.
static int said_with_rules(const char *name, const ProtobufCMessage *rules)
{
    const ProtobufCFieldDescriptor *own =
        protobuf_c_message_descriptor_get_field_by_name(&tabard__v1__settings__descriptor, name);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(rules->descriptor, name);
    return field == NULL || field->descriptor != own->descriptor
               ? 0
               : *(const int *)(const void *)((const char *)rules + field->offset);
}

// Returns which of both words holds: the stricter one.
static int prevailing(const struct shared *setting, int own, int with_rules)
{
    bool is_strict = own == setting->strictest || with_rules == setting->strictest;
    return is_strict ? setting->strictest : own != 0 ? own : with_rules;
}

void snapshot_join_settings(Tabard__V1__Snapshot *out, Tabard__V1__Settings *settings,
                            const ProtobufCMessage *rules)
{
    Tabard__V1__Settings own = TABARD__V1__SETTINGS__INIT;
    *settings = out->settings != NULL ? *out->settings : own;
    for (size_t i = 0; i < NUM_SHARED; i++) {
        int *value = setting_at(settings, shared[i].name);
        int holds = prevailing(&shared[i], *value, said_with_rules(shared[i].name, rules));
        if (holds != *value) {
            *value = holds;
            out->settings = settings;
        }
    }
}

const char *snapshot_setting_by(const char *name, const Tabard__V1__Settings *own,
                                const ProtobufCMessage *rules)
{
    Tabard__V1__Settings none = TABARD__V1__SETTINGS__INIT;
    Tabard__V1__Settings settings = own != NULL ? *own : none;
    int value = *setting_at(&settings, name);
    int with_rules = said_with_rules(name, rules);
    size_t i = 0;
    while (i < NUM_SHARED && strcmp(shared[i].name, name) != 0) {
        i++;
    }
    invariant(i < NUM_SHARED);
    int holds = prevailing(&shared[i], value, with_rules);
    return holds == 0            ? "default"
           : value != holds      ? "policy agent"
           : with_rules != holds ? "mesh.yaml"
                                 : "mesh.yaml and policy agent";
}
