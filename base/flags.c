// SPDX-License-Identifier: Apache-2.0
#include "base/flags.h"

#include <stdio.h>
#include <string.h>

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

static bool take(const struct flag *flag, const char *value, struct err *err)
{
    if (flag->out_given != NULL) {
        *flag->out_given = true;
    }
    if (flag->value != NULL) {
        *flag->value = value;
    }
    return flag->set == NULL || flag->set(flag->ctx, value, err) ||
           err_prefix(err, "--%s", flag->name);
}

bool flags_parse(const struct flag *flags, size_t num_flags, int argc, char **argv,
                 const char **operands, size_t operands_max, size_t *out_num_operands,
                 struct err *err)
{
    size_t num_operands = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            if (num_operands == operands_max) {
                return err_set(err, "\"%.100s\": too many words; --help says which", argv[i]);
            }
            operands[num_operands++] = argv[i];
            continue;
        }
        const char *name = argv[i] + 2;
        size_t name_len = argv[i][1] == '-' ? strcspn(name, "=") : 0;
        const struct flag *flag = find(flags, num_flags, name, name_len);
        if (flag == NULL) {
            return fail_unknown(flags, num_flags, argv[i], err);
        }
        bool has_value = name[name_len] == '=';
        bool takes_value = flag->value != NULL || flag->set != NULL;
        if (has_value && !takes_value) {
            return err_set(err, "--%s takes no value", flag->name);
        }
        const char *value = has_value ? name + name_len + 1 : NULL;
        if (takes_value && !has_value) {
            if (i + 1 == argc) {
                return err_set(err, "--%s needs a value; --help says which", flag->name);
            }
            value = argv[++i];
        }
        if (!take(flag, value, err)) {
            return false;
        }
    }
    if (out_num_operands != NULL) {
        *out_num_operands = num_operands;
    }
    return true;
}
