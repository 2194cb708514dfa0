// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_copy.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "scalars.pb-c.h"

Test(pb_copy, a_copy_holds_the_same_and_shares_nothing, .timeout = 10)
{
    char text[] = "text";
    uint8_t raw[] = {1, 0, 2};
    uint8_t unknown[] = {42};
    ProtobufCMessageUnknownField field = {.tag = 999,
                                          .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT,
                                          .len = sizeof unknown,
                                          .data = unknown};
    Scalars__Scalars child = SCALARS__SCALARS__INIT;
    child.text = text;
    child.raw = (ProtobufCBinaryData){.len = sizeof raw, .data = raw};
    child.base.n_unknown_fields = 1;
    child.base.unknown_fields = &field;
    Scalars__Scalars message = SCALARS__SCALARS__INIT;
    message.s64 = INT64_MIN;
    message.child = &child;

    Scalars__Scalars *copy = pb_copy(&message.base);
    memset(text, 'x', 4);
    memset(raw, 9, sizeof raw);
    unknown[0] = 1;
    cr_expect_eq(copy->s64, INT64_MIN);
    cr_expect_str_eq(copy->child->text, "text");
    cr_assert_eq(copy->child->raw.len, 3);
    cr_expect_arr_eq(copy->child->raw.data, "\1\0\2", 3);
    cr_assert_eq(copy->child->base.n_unknown_fields, 1);
    cr_expect_eq(copy->child->base.unknown_fields[0].data[0], 42);
    scalars__scalars__free_unpacked(copy, NULL);
}

Test(pb_copy, an_empty_message_is_no_bytes_and_has_a_copy, .timeout = 10)
{
    Scalars__Scalars message = SCALARS__SCALARS__INIT;
    size_t len = 1;
    uint8_t *packed = pb_copy_packed(&message.base, &len);
    cr_expect_eq(len, 0);
    free(packed);
    Scalars__Scalars *copy = pb_copy(&message.base);
    cr_expect_not_null(copy);
    scalars__scalars__free_unpacked(copy, NULL);
}

Test(pb_copy, the_bytes_unpack_to_the_same, .timeout = 10)
{
    Scalars__Scalars message = SCALARS__SCALARS__INIT;
    message.u32 = 77;
    size_t len = 0;
    uint8_t *packed = pb_copy_packed(&message.base, &len);
    Scalars__Scalars *again = scalars__scalars__unpack(NULL, len, packed);
    free(packed);
    cr_assert_not_null(again);
    cr_expect_eq(again->u32, 77);
    scalars__scalars__free_unpacked(again, NULL);
}
