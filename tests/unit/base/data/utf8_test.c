// SPDX-License-Identifier: Apache-2.0
#include "base/data/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

// Writes the shortest form of any number below 2^21, whether or not it is a character.
static size_t encode(uint32_t character, uint8_t out[4])
{
    if (character < 0x80) {
        out[0] = (uint8_t)character;
        return 1;
    }
    size_t len = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, character >>= 6) {
        out[i] = (uint8_t)(0x80 | (character & 0x3f));
    }
    out[0] = (uint8_t)((0xf00u >> len & 0xf0u) | character);
    return len;
}

Test(utf8, every_character_reads_back_and_nothing_else_does, .timeout = 20)
{
    unsigned num_wrong = 0;
    for (uint32_t c = 0; c < 0x1fffff; c++) {
        uint8_t text[4];
        uint32_t read = UINT32_MAX;
        size_t len = encode(c, text);
        bool is_character = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        num_wrong += utf8_decode(text, len, &read) != (is_character ? len : 0);
        num_wrong += is_character && read != c;
        num_wrong += utf8_is_valid(text, len) != is_character;
        num_wrong += len > 1 && utf8_is_valid(text, len - 1); // cut short
    }
    cr_expect_eq(num_wrong, 0);
}

Test(utf8, no_two_forms_of_one_character, .timeout = 10)
{
    static const char *const overlong[] = {"\xc0\x80",     "\xc1\xbf",         "\xe0\x80\x80",
                                           "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof overlong / sizeof overlong[0]; i++) {
        cr_expect_not(utf8_is_valid((const uint8_t *)overlong[i], strlen(overlong[i])), "%zu", i);
    }
}

Test(utf8, one_bad_byte_spoils_a_text, .timeout = 10)
{
    static const char good[] = "\x7f\xc2\x80 \xe2\x82\xac \xf0\x9f\x98\x80";
    cr_expect(utf8_is_valid((const uint8_t *)good, sizeof good), "its NUL is a character too");
    cr_expect(utf8_is_valid((const uint8_t *)good, 0));
    for (size_t i = 0; i < sizeof good; i++) {
        char bad[sizeof good];
        memcpy(bad, good, sizeof good);
        bad[i] = '\xff';
        cr_expect_not(utf8_is_valid((const uint8_t *)bad, sizeof bad), "byte %zu", i);
    }
}
