// SPDX-License-Identifier: Apache-2.0
#include "base/digits.h"

bool digits_read(uint64_t *out, const char *text, size_t len, enum digits_zeros zeros, uint64_t max)
{
    uint64_t value = 0;
    if (len == 0 || (zeros == DIGITS_REFUSE_ZEROS && len > 1 && text[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > max / 10 || digit > max - value * 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}
