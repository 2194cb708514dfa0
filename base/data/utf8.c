// SPDX-License-Identifier: Apache-2.0
#include "base/data/utf8.h"

size_t utf8_decode(const uint8_t *text, size_t len, uint32_t *out_character)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = text[0] < 0x80   ? 1
                  : text[0] < 0xc2 ? 0
                  : text[0] < 0xe0 ? 2
                  : text[0] < 0xf0 ? 3
                  : text[0] < 0xf5 ? 4
                                   : 0;
    if (want == 0 || want > len) {
        return 0;
    }
    uint32_t value = want == 1 ? text[0] : text[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (text[i] & 0x3fu);
    }
    if (value < least[want] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *out_character = value;
    return want;
}

bool utf8_is_valid(const uint8_t *text, size_t len)
{
    uint32_t character = 0;
    for (size_t at = 0, taken = 0; at < len; at += taken) {
        taken = utf8_decode(text + at, len - at, &character);
        if (taken == 0) {
            return false;
        }
    }
    return true;
}
