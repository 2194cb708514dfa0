// SPDX-License-Identifier: Apache-2.0
#include "base/data/hex.h"

#include <criterion/criterion.h>

Test(hex, writes_two_lower_case_digits_a_byte_and_a_nul, .timeout = 10)
{
    static const uint8_t bytes[] = {0x00, 0x0f, 0xa0, 0x7f, 0xff};
    char buf[HEX_TEXT_LEN(sizeof bytes)];
    cr_expect_str_eq(hex_text(bytes, sizeof bytes, buf), "000fa07fff");
    cr_expect_str_eq(hex_text(bytes, 0, buf), "");
}
