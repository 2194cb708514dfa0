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
    cr_assert(parse(&result, ARGV("--path=b", "--path", "--json"), &err), "the last counts");
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
        {ARGV("--path="), "--path is empty and needs a value; --help says which"},
        {ARGV("--path", ""), "--path is empty and needs a value; --help says which"},
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

struct options {
    const char *text;
    uint32_t number;
    struct addr addr;
    enum log_level level;
    struct flags_asked asked;
};

static bool parse_options(struct options *out, const char *const *words, struct err *err)
{
    *out = (struct options){.number = 7, .level = LOG_LEVEL_INFO};
    const struct flag flags[] = {
        {.name = "text", .value = &out->text, .needed = "what it says", .is_once = true},
        {.name = "number", .number = &out->number, .min = 1, .max = 256},
        {.name = "addr", .addr = &out->addr},
        {.name = "level", .log_level = &out->level},
        FLAGS_ASKED_ROWS(&out->asked),
    };
    char **argv = (char **)(uintptr_t)words;
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    return flags_parse(flags, NUM(flags), argc, argv, NULL, 0, NULL, err);
}

Test(flags, a_typed_flag_is_read_as_what_it_is)
{
    struct options options;
    struct err err = {{0}, {0}};
    cr_assert(parse_options(&options, ARGV("--text=a"), &err), "%s", err.text);
    cr_expect_eq(options.number, 7);
    cr_assert(
        parse_options(&options,
                      ARGV("--text=a", "--number=256", "--addr", "127.0.0.1:0", "--level", "debug"),
                      &err),
        "%s", err.text);
    cr_expect_eq(options.number, 256);
    cr_expect(ip_is_loopback(&options.addr.ip));
    cr_expect_eq(options.level, LOG_LEVEL_DEBUG);
}

Test(flags, a_typed_flag_names_what_would_be_right)
{
    struct {
        const char *const *argv;
        const char *message;
    } rows[] = {
        {ARGV(), "--text is missing: what it says"},
        {ARGV("--text", "a", "--text", "a"), "--text is given twice"},
        {ARGV("--number"), "--number needs a value: a number from 1 to 256 would be right"},
        {ARGV("--addr="), "--addr is empty and needs a value: ADDRESS:PORT would be right"},
        {ARGV("--level", ""),
         "--level is empty and needs a value: debug, info, warn or error would be right"},
        {ARGV("--number", "0"), "--number: \"0\" is not a number from 1 to 256"},
        {ARGV("--number", "257"), "--number: \"257\" is not a number from 1 to 256"},
        {ARGV("--number", "+1"), "--number: \"+1\" is not a number from 1 to 256"},
        {ARGV("--number", "1x"), "--number: \"1x\" is not a number from 1 to 256"},
        {ARGV("--level", "loud"), "--level: \"loud\" is none of debug, info, warn, error"},
        {ARGV("--text=a", "b"), "\"b\" belongs to no flag; --help lists them"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct options options;
        struct err err = {{0}, {0}};
        cr_expect_not(parse_options(&options, rows[i].argv, &err), "%s", rows[i].message);
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}

Test(flags, help_and_version_end_the_line_and_need_nothing)
{
    struct options options;
    struct err err = {{0}, {0}};
    cr_expect(parse_options(&options, ARGV("--help", "--bogus"), &err), "%s", err.text);
    cr_expect(options.asked.help && !options.asked.version);
    cr_expect(parse_options(&options, ARGV("-h"), &err), "%s", err.text);
    cr_expect(options.asked.help);
    cr_expect(parse_options(&options, ARGV("--version"), &err), "%s", err.text);
    cr_expect(options.asked.version && !options.asked.help);
    cr_expect_not(parse_options(&options, ARGV("--bogus", "--help"), &err));
}
