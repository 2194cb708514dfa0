// SPDX-License-Identifier: Apache-2.0
#include "proto/policy_agent_fields.h"

#include <criterion/criterion.h>

#include "tabard/v1/policy_agent.pb-c.h"

Test(policy_agent_fields, stand_for_the_fields_that_they_are_named_after, .timeout = 10)
{
    static const struct {
        const ProtobufCMessageDescriptor *message;
        const char *field;
        uint32_t number;
    } rows[] = {
#define X(constant, message, field, number) {&tabard__v1__##message##__descriptor, field, constant},
        POLICY_AGENT_FIELDS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(rows[i].message, rows[i].field);
        cr_assert_not_null(field, "%s has no %s", rows[i].message->name, rows[i].field);
        cr_expect_eq(field->id, rows[i].number, "%s.%s is %u", rows[i].message->name, rows[i].field,
                     field->id);
    }
}
