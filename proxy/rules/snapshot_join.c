// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/snapshot_join.h"

#include <stdbool.h>
#include <string.h>

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

// Enums of Settings that the message with the rules may have, too, by the same name.
static const char *const stand_ins[] = {"enforcement", "unlisted_outbound", "key_exchange"};

void snapshot_join_settings(Tabard__V1__Snapshot *out, Tabard__V1__Settings *settings,
                            const ProtobufCMessage *rules)
{
    Tabard__V1__Settings own = TABARD__V1__SETTINGS__INIT;
    *settings = out->settings != NULL ? *out->settings : own;
    for (size_t i = 0; i < sizeof stand_ins / sizeof stand_ins[0]; i++) {
        const ProtobufCFieldDescriptor *to = protobuf_c_message_descriptor_get_field_by_name(
            &tabard__v1__settings__descriptor, stand_ins[i]);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(rules->descriptor, stand_ins[i]);
        int *value = (int *)(void *)((char *)settings + to->offset); // 0 is UNSPECIFIED
        if (field != NULL && field->descriptor == to->descriptor && *value == 0) {
            *value = *(const int *)(const void *)((const char *)rules + field->offset);
            if (*value != 0) {
                out->settings = settings;
            }
        }
    }
}
