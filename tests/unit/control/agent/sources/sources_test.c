// SPDX-License-Identifier: Apache-2.0
//
// What mesh.proto and the table of sources say of each other.
#include "control/agent/sources/sources.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(sources, .timeout = 10);

// Says whether what mesh.yaml has in this field comes into the snapshot as it is.
static bool is_joined(const ProtobufCFieldDescriptor *field)
{
    static char mark; // only its address is compared
    Tabard__V1__MeshConfig config = TABARD__V1__MESH_CONFIG__INIT;
    Tabard__V1__Snapshot out = TABARD__V1__SNAPSHOT__INIT;
    *(void **)((char *)&config + field->offset) = &mark;
    for (unsigned i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        snapshot_join(&out, (enum snapshot_part)i, &config.base);
    }
    const ProtobufCFieldDescriptor *to = protobuf_c_message_descriptor_get_field_by_name(
        &tabard__v1__snapshot__descriptor, field->name);
    return to != NULL && *(void **)((char *)&out + to->offset) == &mark;
}

static bool asks_for_a_source(const char *name)
{
    for (size_t i = 0; sources_fields[i] != NULL; i++) {
        if (strcmp(sources_fields[i]->field, name) == 0) {
            return true;
        }
    }
    return false;
}

Test(sources, every_field_of_mesh_yaml_is_joined_names_files_or_asks_for_a_source)
{
    const ProtobufCMessageDescriptor *config = &tabard__v1__mesh_config__descriptor;
    for (unsigned i = 0; i < config->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &config->fields[i];
        bool names_files =
            strcmp(field->name, "identity") == 0 || strcmp(field->name, "trust_bundles") == 0;
        cr_expect_eq(is_joined(field) + names_files + asks_for_a_source(field->name), 1,
                     "MeshConfig.%s is forgotten", field->name);
    }
}

Test(sources, every_row_of_the_table_is_a_field_of_mesh_yaml_and_one_source)
{
    size_t i = 0;
    for (; sources_fields[i] != NULL; i++) {
        const struct source_field *field = sources_fields[i];
        const ProtobufCFieldDescriptor *found = protobuf_c_message_descriptor_get_field_by_name(
            &tabard__v1__mesh_config__descriptor, field->field);
        cr_assert_not_null(found, "%s", field->field);
        cr_expect_eq(found->type, PROTOBUF_C_TYPE_MESSAGE, "%s", field->field);
        cr_expect_neq(found->label, PROTOBUF_C_LABEL_REPEATED, "%s", field->field);
        cr_expect_neq(field->fills, 0, "%s", field->field);
        cr_expect_eq(field->stands_in & ~field->fills, 0, "%s", field->field);
        cr_assert_not_null(sources_kinds[i]);
        cr_expect_eq(sources_kinds[i]->field, field, "the kinds are in the same order");
    }
    cr_expect_null(sources_kinds[i]);
}
