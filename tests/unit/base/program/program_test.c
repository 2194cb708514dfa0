// SPDX-License-Identifier: Apache-2.0
#include "base/program/program.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>

static struct library one(void)
{
    return (struct library){"One", "one", "1.2"};
}

static struct library two(void)
{
    return (struct library){"two-c", "two_c", "API 3 of x"};
}

static void expect_version(const struct program *program, const char *wanted)
{
    cr_redirect_stdout();
    cr_expect(program_print_version(program));
    cr_expect_stdout_eq_str(wanted);
}

Test(program, version_names_each_library_in_the_program_s_order, .timeout = 10)
{
    expect_version(&(struct program){.name = "x", .version = "4.5", .libraries = {two, one}},
                   "x 4.5 (two-c API 3 of x, One 1.2)\n");
}

Test(program, version_of_a_program_without_libraries_is_its_own, .timeout = 10)
{
    expect_version(&(struct program){.name = "x", .version = "4.5"}, "x 4.5\n");
}

Test(program, as_many_libraries_as_there_is_room_for_are_asked, .timeout = 10)
{
    struct library libraries[PROGRAM_LIBRARIES_MAX];
    const struct program program = {
        .name = "x", .version = "4.5", .libraries = {one, two, one, two}};
    cr_expect_eq(program_libraries(&program, libraries), PROGRAM_LIBRARIES_MAX);
    cr_expect_str_eq(libraries[PROGRAM_LIBRARIES_MAX - 1].label, "two_c");
}
