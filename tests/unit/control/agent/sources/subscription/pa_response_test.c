// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/subscription/pa_response.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define STATE(bytes) "\x0a\x01n\x1a" bytes // nonce "n", then the state, its length first
#define NAME(bytes)  "\x12" bytes          // a policy

// The packed response, and what the reason must say; NULL: it parses.
static const struct row {
    const char *name;
    const char *bytes;
    size_t len;
    const char *words;
} rows[] = {
#define ROW(name, bytes, words)                                                                    \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1, words                                                      \
    }
    ROW("nonce alone", "\x0a\x01n", NULL),
    ROW("empty", "", "nonce: 0 bytes"),
    ROW("empty nonce", "\x0a\x00", "nonce: 0 bytes"),
    ROW("NUL in the nonce", "\x0a\x02n\x00", "nonce: a NUL"),
    ROW("bad UTF-8 in the nonce", "\x0a\x02n\xff", "nonce: this text is not UTF-8"),
    ROW("overlong UTF-8", "\x0a\x03n\xc0\xaf", "not UTF-8"),
    ROW("overlong of three", "\x0a\x04n\xe0\x80\xaf", "not UTF-8"),
    ROW("a surrogate", "\x0a\x04n\xed\xa0\x80", "not UTF-8"),
    ROW("above Unicode", "\x0a\x05n\xf4\x90\x80\x80", "not UTF-8"),
    ROW("cut UTF-8", "\x0a\x02n\xc3", "not UTF-8"),
    ROW("good UTF-8", "\x0a\x0an\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", NULL),
    ROW("a policy's name", STATE("\x05" NAME("\x03\x0a\x01p")), NULL),
    ROW("NUL in a policy's name", STATE("\x07" NAME("\x05\x0a\x03p\x00x")),
        "state.policies.name: a NUL"),
    ROW("NUL in a principal",
        STATE("\x0a" NAME("\x08\x2a\x06\x0a\x04"
                          "sp\x00x")),
        "state.policies.rules.principals: a NUL"),
    ROW("half a message", "\x0a\x01n\x1a\x05\x12", "no protobuf message"),
    ROW("a length beyond the end", "\x0a\xff\xff\xff\xff\x0f", "no protobuf message"),
    ROW("an endless varint", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "no protobuf"),
    ROW("a group", "\x0a\x01n\x1b\x1c", "no protobuf message"),
    ROW("a string where a message is meant", STATE("\x05hello"), "no protobuf message"),
    ROW("a number where a text is meant", "\x08\x05", "SubscribeResponse"),
#undef ROW
};

Test(pa_response, what_has_no_form_is_refused_with_the_field, .timeout = 20)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        char text[1024];
        // Of its own size, so that a read beyond the end is seen.
        uint8_t *bytes = malloc(rows[i].len + 1);
        cr_assert_not_null(bytes);
        memcpy(bytes, rows[i].bytes, rows[i].len);
        Tabard__V1__SubscribeResponse *response = pa_response_parse(bytes, rows[i].len, &err);
        err_text(&err, text, sizeof text);
        if (rows[i].words == NULL) {
            cr_expect_not_null(response, "%s: %s", rows[i].name, text);
        } else {
            cr_expect_null(response, "%s", rows[i].name);
            cr_expect(strstr(text, rows[i].words) != NULL, "%s: \"%s\" lacks \"%s\"", rows[i].name,
                      text, rows[i].words);
        }
        if (response != NULL) {
            tabard__v1__subscribe_response__free_unpacked(response, NULL);
        }
        free(bytes);
    }
}

Test(pa_response, a_long_nonce_is_refused, .timeout = 20)
{
    uint8_t bytes[3 + 256] = {0x0a, 0x80, 0x02};
    struct err err = {{0}, {0}};
    memset(bytes + 3, 'n', 256);
    cr_expect_null(pa_response_parse(bytes, sizeof bytes, &err));
    cr_expect(strstr(err.text, "256 bytes") != NULL, "%s", err.text);
}

Test(pa_response, a_small_message_that_unpacks_into_too_much_is_refused, .timeout = 60)
{
    // Empty policies: two bytes each, a hundred and more once unpacked.
    size_t num = 6u << 20;
    size_t len = 3 + 1 + 4 + 2 * num;
    uint8_t *bytes = malloc(len);
    cr_assert_not_null(bytes);
    memcpy(bytes, "\x0a\x01n\x1a", 4);
    for (unsigned i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(((2 * num) >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
    }
    for (size_t i = 0; i < num; i++) {
        bytes[8 + 2 * i] = 0x12;
        bytes[9 + 2 * i] = 0;
    }
    struct err err = {{0}, {0}};
    cr_expect_null(pa_response_parse(bytes, len, &err));
    cr_expect(strstr(err.text, "over the limit") != NULL, "%s", err.text);
    free(bytes);
}

Test(pa_response, unknown_fields_and_values_are_refused_wherever_they_are, .timeout = 20)
{
    static const struct row unknown[] = {
#define ROW(name, bytes, words) {name, bytes, sizeof(bytes) - 1, words}
        ROW("field of the response", "\x0a\x01n\x10\x01\xf8\x7f\x01\x1a\x00", ""),
        ROW("field of the state", "\x0a\x01n\x10\x01\x1a\x03\xf8\x7f\x01", "state"),
        ROW("field of a policy", "\x0a\x01n\x10\x01\x1a\x05\x12\x03\xf8\x7f\x01", "policies[0]"),
        ROW("action of a policy", "\x0a\x01n\x10\x01\x1a\x04\x12\x02\x10\x07",
            "policies[0].action"),
        ROW("enforcement", "\x0a\x01n\x10\x01\x1a\x02\x20\x03", "state.enforcement"),
        ROW("negative enforcement",
            "\x0a\x01n\x10\x01\x1a\x0b\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "state.enforcement"),
        ROW("unlisted outbound", "\x0a\x01n\x10\x01\x1a\x02\x28\x03", "state.unlisted_outbound"),
        ROW("key exchange", "\x0a\x01n\x10\x01\x1a\x02\x30\x03", "state.key_exchange"),
#undef ROW
    };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct err err = {{0}, {0}};
        char text[1024];
        Tabard__V1__SubscribeResponse *response =
            pa_response_parse((const uint8_t *)unknown[i].bytes, unknown[i].len, &err);
        cr_assert_not_null(response, "%s: %s", unknown[i].name, err.text);
        cr_expect_not(pa_response_check(response, &(struct pa_expectation){.has_base = true}, &err),
                      "%s", unknown[i].name);
        err_text(&err, text, sizeof text);
        cr_expect(strstr(text, "doesn't know") != NULL && strstr(text, unknown[i].words) != NULL,
                  "%s: %s", unknown[i].name, text);
        tabard__v1__subscribe_response__free_unpacked(response, NULL);
    }
}
