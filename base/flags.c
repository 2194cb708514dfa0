// SPDX-License-Identifier: Apache-2.0
#include "base/flags.h"

#include <stdio.h>
#include <string.h>

#include "base/digits.h"
#include "base/program/program.h"

#define EXIT_USAGE 2

static bool fail_unknown(const struct flag *flags, size_t num_flags, const char *word,
                         struct err *err)
{
    char known[600] = "";
    size_t len = 0;
    for (size_t i = 0; i < num_flags && len < sizeof known; i++) {
        len += (size_t)snprintf(known + len, sizeof known - len, "%s--%s", i == 0 ? "" : ", ",
                                flags[i].name);
    }
    return err_set(err, "%.100s: no such flag; there %s %s", word, num_flags == 1 ? "is" : "are",
                   num_flags == 0 ? "none" : known);
}

static const struct flag *find(const struct flag *flags, size_t num_flags, const char *name,
                               size_t name_len)
{
    for (size_t i = 0; i < num_flags; i++) {
        if (strlen(flags[i].name) == name_len && memcmp(flags[i].name, name, name_len) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static bool takes_value(const struct flag *flag)
{
    return flag->value != NULL || flag->number != NULL || flag->addr != NULL ||
           flag->log_level != NULL || flag->set != NULL;
}

bool flags_number(uint32_t *out, const char *text, uint32_t min, uint32_t max, struct err *err)
{
    uint64_t number = 0;
    if (!digits_read(&number, text, strlen(text), DIGITS_TAKE_ZEROS, max) || number < min) {
        return err_set(err, "\"%.100s\" is not a number from %u to %u", text, min, max);
    }
    *out = (uint32_t)number;
    return true;
}

static bool set_level(enum log_level *out, const char *text, struct err *err)
{
    return log_level_parse(out, text) ||
           err_set(err, "\"%.100s\" is none of debug, info, warn, error", text);
}

// Says of a flag whose value is missing, in whichever way, what would be right.
static bool fail_without(const struct flag *flag, const char *how, struct err *err)
{
    if (flag->number != NULL) {
        return err_set(err, "--%s %s: a number from %u to %u would be right", flag->name, how,
                       flag->min, flag->max);
    }
    const char *values = flag->log_level != NULL ? "debug, info, warn or error"
                         : flag->addr != NULL    ? "ADDRESS:PORT"
                                                 : flag->values;
    return values != NULL ? err_set(err, "--%s %s: %s would be right", flag->name, how, values)
                          : err_set(err, "--%s %s; --help says which", flag->name, how);
}

static bool take_value(const struct flag *flag, const char *value, struct err *err)
{
    if (value[0] == '\0') {
        return fail_without(flag, "is empty and needs a value", err);
    }
    if (flag->value != NULL) {
        *flag->value = value;
    }
    bool good =
        (flag->number == NULL || flags_number(flag->number, value, flag->min, flag->max, err)) &&
        (flag->addr == NULL || addr_parse(flag->addr, value, true, err)) &&
        (flag->log_level == NULL || set_level(flag->log_level, value, err)) &&
        (flag->set == NULL || flag->set(flag->ctx, value, err));
    return good || err_prefix(err, "--%s", flag->name);
}

// Takes the flag at argv[*at], which moves to its value if that is a word of its own.
static bool take(const struct flag *flag, bool was_given, int argc, char **argv, int *at,
                 struct err *err)
{
    const char *value = strchr(argv[*at], '=');
    if (was_given && flag->is_once) {
        return err_set(err, "--%s is given twice", flag->name);
    }
    if (flag->out_given != NULL) {
        *flag->out_given = true;
    }
    if (!takes_value(flag)) {
        return value == NULL || err_set(err, "--%s takes no value", flag->name);
    }
    if (value == NULL && *at + 1 == argc) {
        return fail_without(flag, "needs a value", err);
    }
    return take_value(flag, value != NULL ? value + 1 : argv[++*at], err);
}

static bool check_needed(const struct flag *flags, size_t num_flags, const bool *is_given,
                         struct err *err)
{
    for (size_t i = 0; i < num_flags; i++) {
        if (flags[i].needed != NULL && !is_given[i]) {
            return err_set(err, "--%s is missing: %s", flags[i].name, flags[i].needed);
        }
    }
    return true;
}

bool flags_parse(const struct flag *flags, size_t num_flags, int argc, char **argv,
                 const char **operands, size_t operands_max, size_t *out_num_operands,
                 struct err *err)
{
    bool is_given[FLAGS_MAX] = {false};
    size_t num_operands = 0;
    invariant(num_flags <= FLAGS_MAX);
    for (int i = 1; i < argc; i++) {
        const char *word = strcmp(argv[i], "-h") == 0 ? "--help" : argv[i];
        if (word[0] != '-' || word[1] == '\0') {
            if (num_operands == operands_max) {
                return err_set(err,
                               operands_max == 0
                                   ? "\"%.100s\" belongs to no flag; --help lists them"
                                   : "\"%.100s\": too many words; --help says which",
                               word);
            }
            operands[num_operands++] = word;
            continue;
        }
        size_t name_len = word[1] == '-' ? strcspn(word + 2, "=") : 0;
        const struct flag *flag = find(flags, num_flags, word + 2, name_len);
        if (flag == NULL) {
            return fail_unknown(flags, num_flags, word, err);
        }
        if (!take(flag, is_given[flag - flags], argc, argv, &i, err)) {
            return false;
        }
        if (flag->stops) {
            return true;
        }
        is_given[flag - flags] = true;
    }
    if (out_num_operands != NULL) {
        *out_num_operands = num_operands;
    }
    return check_needed(flags, num_flags, is_given, err);
}

int flags_answer(const struct program *program, const char *usage, bool is_good,
                 const struct flags_asked *asked, const struct err *err)
{
    if (!is_good) {
        char text[1024];
        fprintf(stderr, "%s: %s\n", program->name, err_text(err, text, sizeof text));
        return EXIT_USAGE;
    }
    if (asked->help) {
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0;
    }
    if (asked->version) {
        return !program_print_version(program);
    }
    return -1;
}
