// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tabard/v1/policy_agent.pb-c.h"

TestSuite(pb_wire, .timeout = 10);

// The numbers at which a varint becomes longer.
static const uint64_t numbers[] = {
    1, 127, 128, 16383, 16384, (1 << 21) - 1, 1ull << 35, UINT32_MAX, INT64_MAX, UINT64_MAX};

Test(pb_wire, a_message_of_parts_is_what_the_generated_code_packs)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        Tabard__V1__SubscribeResponse message = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
        Tabard__V1__DestinationDelta delta = TABARD__V1__DESTINATION_DELTA__INIT;
        char *removed[] = {(char *)"", (char *)"b"};
        delta.n_removed = 2;
        delta.removed = removed;
        message.nonce = (char *)"n";
        message.version = numbers[i];
        message.destinations = &delta;
        size_t len = tabard__v1__subscribe_response__get_packed_size(&message);
        uint8_t *packed = malloc(len);
        tabard__v1__subscribe_response__pack(&message, packed);

        struct bytes parts = {0};
        struct bytes inner = {0};
        pb_wire_put_field(&parts, 1, "n", 1);
        pb_wire_put_number(&parts, 2, numbers[i]);
        pb_wire_put_field(&inner, 2, "", 0);
        pb_wire_put_field(&inner, 2, "b", 1);
        pb_wire_put_field(&parts, 4, inner.at, inner.len);
        cr_assert_eq(parts.len, len, "%lu", (unsigned long)numbers[i]);
        cr_expect_eq(memcmp(parts.at, packed, len), 0, "%lu", (unsigned long)numbers[i]);

        struct bytes whole = {0};
        pb_wire_put_field(&whole, 1, "n", 1);
        pb_wire_put_number(&whole, 2, numbers[i]);
        pb_wire_put_message(&whole, 4, &delta.base);
        cr_assert_eq(whole.len, len);
        cr_expect_eq(memcmp(whole.at, packed, len), 0);
        bytes_cleanup(&parts);
        bytes_cleanup(&inner);
        bytes_cleanup(&whole);
        free(packed);
    }
}

Test(pb_wire, a_field_of_any_length_is_read_back)
{
    static const size_t lens[] = {0, 1, 127, 128, 16383, 16384, 70000};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct bytes bytes = {0};
        char *text = malloc(lens[i] + 1);
        memset(text, 'x', lens[i]);
        pb_wire_put_field(&bytes, 6, text, lens[i]);
        Tabard__V1__SubscribeResponse *message =
            tabard__v1__subscribe_response__unpack(NULL, bytes.len, bytes.at);
        cr_assert_not_null(message, "%zu", lens[i]);
        cr_expect_eq(strlen(message->certificate_error), lens[i]);
        tabard__v1__subscribe_response__free_unpacked(message, NULL);
        bytes_cleanup(&bytes);
        free(text);
    }
}
