// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 (RFC 3629; Unicode, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF.
#ifndef TABARD_BASE_UTF8_H
#define TABARD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// utf8_decode reads the first character of `text` (len >= 1) and returns how many bytes it has; 0:
// no character begins with these bytes.
size_t utf8_decode(const uint8_t *text, size_t len, uint32_t *out_character);

// utf8_is_valid says whether the text consists of whole characters. A NUL is a character.
bool utf8_is_valid(const uint8_t *text, size_t len);

#endif
