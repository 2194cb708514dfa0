// SPDX-License-Identifier: Apache-2.0
//
// The descriptor is walked, so that a field that is new in Snapshot and forgotten in snapshot_join
// fails here. That none of MeshConfig is forgotten is tested where the table of sources is known.
#include "proxy/rules/snapshot_join.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
