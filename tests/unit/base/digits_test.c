// SPDX-License-Identifier: Apache-2.0
#include "base/digits.h"

#include <criterion/criterion.h>
#include <string.h>

struct digits_row {
    const char *text;
    enum digits_zeros zeros;
    uint64_t max;
    bool is_number;
    uint64_t number;
};

static const struct digits_row rows[] = {
    {"0", DIGITS_REFUSE_ZEROS, 0, true, 0},
    {"9", DIGITS_REFUSE_ZEROS, 9, true, 9},
    {"65535", DIGITS_REFUSE_ZEROS, 65535, true, 65535},
    {"65536", DIGITS_REFUSE_ZEROS, 65535, false, 0},
    {"70000", DIGITS_REFUSE_ZEROS, 65535, false, 0},
    {"655350", DIGITS_REFUSE_ZEROS, 65535, false, 0},
    {"18446744073709551615", DIGITS_REFUSE_ZEROS, UINT64_MAX, true, UINT64_MAX},
    {"18446744073709551616", DIGITS_REFUSE_ZEROS, UINT64_MAX, false, 0},
    {"18446744073709551620", DIGITS_TAKE_ZEROS, UINT64_MAX, false, 0},
    {"184467440737095516150", DIGITS_TAKE_ZEROS, UINT64_MAX, false, 0},
    {"007", DIGITS_REFUSE_ZEROS, 9, false, 0},
    {"00", DIGITS_REFUSE_ZEROS, 9, false, 0},
    {"007", DIGITS_TAKE_ZEROS, 9, true, 7},
    {"00", DIGITS_TAKE_ZEROS, 9, true, 0},
    {"10", DIGITS_TAKE_ZEROS, 9, false, 0},
    {"", DIGITS_TAKE_ZEROS, 9, false, 0},
    {"+1", DIGITS_TAKE_ZEROS, 9, false, 0},
    {"-1", DIGITS_TAKE_ZEROS, 9, false, 0},
    {" 1", DIGITS_TAKE_ZEROS, 9, false, 0},
    {"1 ", DIGITS_TAKE_ZEROS, 9, false, 0},
    {"/", DIGITS_TAKE_ZEROS, UINT64_MAX, false, 0},
    {":", DIGITS_TAKE_ZEROS, 99, false, 0},
};

Test(digits, reads_digits_alone_up_to_the_greatest_number, .timeout = 10)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct digits_row *row = &rows[i];
        uint64_t number = 42;
        bool ok = digits_read(&number, row->text, strlen(row->text), row->zeros, row->max);
        cr_expect_eq(ok, row->is_number, "row %zu: \"%s\"", i, row->text);
        cr_expect_eq(number, row->is_number ? row->number : 42, "row %zu: \"%s\"", i, row->text);
    }
}

Test(digits, reads_no_further_than_the_length, .timeout = 10)
{
    uint64_t number = 0;
    cr_assert(digits_read(&number, "12x", 2, DIGITS_TAKE_ZEROS, 99));
    cr_expect_eq(number, 12);
}
