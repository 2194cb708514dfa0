// SPDX-License-Identifier: Apache-2.0
#include "base/flags.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static char heard[64];

static bool hear(void *ctx, const char *value, struct err *err)
{
    (void)ctx;
    strncat(heard, value, sizeof heard - strlen(heard) - 1);
    return value[0] != '!' || err_set(err, "\"%s\" is bad", value);
}

struct result {
    const char *path;
    bool json;
    const char *operands[2];
    size_t num_operands;
};

static bool parse(struct result *out, const char *const *words, struct err *err)
{
    *out = (struct result){.path = "default"};
    heard[0] = '\0';
    const struct flag flags[] = {
        {.name = "path", .value = &out->path},
        {.name = "json", .out_given = &out->json},
        {.name = "add", .set = hear},
    };
    char **argv = (char **)(uintptr_t)words; // as main gets it; flags_parse writes nothing there
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    return flags_parse(flags, NUM(flags), argc, argv, out->operands, 2, &out->num_operands, err);
}

#define ARGV(...) ((const char *const[]){"ctl", __VA_ARGS__ __VA_OPT__(, ) NULL})

TestSuite(flags, .timeout = 10);

Test(flags, values_stand_beside_the_flag_or_behind_an_equals_sign)
{
    struct result result;
    struct err err = {{0}, {0}};
    cr_assert(parse(&result, ARGV(), &err));
    cr_expect_str_eq(result.path, "default");
    cr_expect_not(result.json);
    cr_assert(
        parse(&result, ARGV("--path", "a", "x", "--json", "--add=1", "-", "--add", "2"), &err),
        "%s", err.text);
    cr_expect_str_eq(result.path, "a");
    cr_expect(result.json);
    cr_expect_str_eq(heard, "12");
    cr_expect_eq(result.num_operands, 2);
    cr_expect_str_eq(result.operands[0], "x");
    cr_expect_str_eq(result.operands[1], "-");
    cr_assert(parse(&result, ARGV("--path=b=c"), &err));
    cr_expect_str_eq(result.path, "b=c");
    cr_assert(parse(&result, ARGV("--path=", "--path", "--json"), &err));
    cr_expect_str_eq(result.path, "--json");
}

Test(flags, what_is_wrong_is_named)
{
    struct {
        const char *const *argv;
        const char *message;
    } rows[] = {
        {ARGV("--bogus"), "--bogus: no such flag; there are --path, --json, --add"},
        {ARGV("--pat", "x"), "--pat: no such flag; there are --path, --json, --add"}, // no guessing
        {ARGV("-j"), "-j: no such flag; there are --path, --json, --add"},
        {ARGV("--"), "--: no such flag; there are --path, --json, --add"},
        {ARGV("--path"), "--path needs a value; --help says which"},
        {ARGV("--json=1"), "--json takes no value"},
        {ARGV("--add", "!x"), "--add: \"!x\" is bad"},
        {ARGV("a", "b", "c"), "\"c\": too many words; --help says which"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct result result;
        struct err err = {{0}, {0}};
        cr_expect_not(parse(&result, rows[i].argv, &err), "%s", rows[i].message);
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}
