// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/ca_flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_TEXT_MAX 400

enum flag_type { TEXT, NUMBER, SWITCH, LIST, KEY };

struct flag {
    const char *name;
    enum flag_type type;
    size_t offset; // in struct ca_options
    long max;      // of a NUMBER
};

#define AT(field) offsetof(struct ca_options, field)

static const struct flag flags[] = {
    {"dir", TEXT, AT(dir), 0},
    {"parent", TEXT, AT(parent), 0},
    {"trust-domain", TEXT, AT(trust_domain), 0},
    {"key", KEY, AT(key), 0},
    {"id", TEXT, AT(id), 0},
    {"dns", LIST, AT(dns), 0},
    {"out-cert", TEXT, AT(out_cert), 0},
    {"out-key", TEXT, AT(out_key), 0},
    {"csr", TEXT, AT(csr), 0},
    {"cert", TEXT, AT(cert), 0},
    {"serial", TEXT, AT(serial), 0},
    {"crl", TEXT, AT(crl), 0},
    {"file", TEXT, AT(file), 0},
    {"days", NUMBER, AT(days), 36500},
    {"hours", NUMBER, AT(hours), 876000},
    {"seconds", NUMBER, AT(seconds), 2000000000},
    {"crl-hours", NUMBER, AT(crl_hours), 876000},
    {"force", SWITCH, AT(force), 0},
    {"refresh", SWITCH, AT(refresh), 0},
};
#define NUM_FLAGS (sizeof flags / sizeof flags[0])

// Says whether a list of names with blanks between holds a name.
static bool has_name(const char *names, const char *name, size_t len)
{
    for (const char *at = names; *at != '\0';) {
        size_t word_len = strcspn(at, " ");
        if (word_len == len && memcmp(at, name, len) == 0) {
            return true;
        }
        at += word_len;
        at += strspn(at, " ");
    }
    return false;
}

// Lists the flags of a command, each with a blank before it.
static const char *known_text(char buf[KNOWN_TEXT_MAX], const struct ca_command *command)
{
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < NUM_FLAGS; i++) {
        const char *name = flags[i].name;
        if (strcmp(name, "file") != 0 && has_name(command->known, name, strlen(name)) &&
            len < KNOWN_TEXT_MAX) {
            len += (size_t)snprintf(buf + len, KNOWN_TEXT_MAX - len, " --%s", name);
        }
    }
    return len == 0 ? " none" : buf;
}

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < NUM_FLAGS; i++) {
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static bool set_text(struct ca_options *out, const struct flag *flag, const char *value,
                     struct err *err)
{
    const char **at = (const char **)(void *)((char *)out + flag->offset);
    if (*at != NULL) {
        return err_set(err, "--%s is given twice", flag->name);
    }
    if (*value == '\0') {
        return err_set(err, "--%s is empty", flag->name);
    }
    *at = value;
    return true;
}

static bool set_number(struct ca_options *out, const struct flag *flag, const char *value,
                       struct err *err)
{
    long *at = (long *)(void *)((char *)out + flag->offset);
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || number < 1 ||
        number > flag->max) {
        return err_set(err, "--%s: \"%.40s\" is not a number from 1 to %ld", flag->name, value,
                       flag->max);
    }
    if (*at != 0) {
        return err_set(err, "--%s is given twice", flag->name);
    }
    *at = number;
    return true;
}

static bool set_value(struct ca_options *out, const struct flag *flag, const char *value,
                      struct err *err)
{
    switch (flag->type) {
    case TEXT:
        return set_text(out, flag, value, err);
    case NUMBER:
        return set_number(out, flag, value, err);
    case LIST:
        if (out->num_dns == MINT_DNS_NAMES_MAX) {
            return err_set(err, "--%s is given more than %d times", flag->name, MINT_DNS_NAMES_MAX);
        }
        out->dns[out->num_dns++] = value;
        return true;
    case KEY:
        return mint_key_kind_parse(&out->key, value, err) || err_prefix(err, "--%s", flag->name);
    case SWITCH:
        *((bool *)(void *)((char *)out + flag->offset)) = true;
        return true;
    }
    return false;
}

static bool check_needed(const struct ca_options *options, const struct ca_command *command,
                         struct err *err)
{
    for (size_t i = 0; i < NUM_FLAGS; i++) {
        const struct flag *flag = &flags[i];
        const char *const *at =
            (const char *const *)(const void *)((const char *)options + flag->offset);
        if (flag->type == TEXT && *at == NULL &&
            has_name(command->needed, flag->name, strlen(flag->name))) {
            bool is_argument = strcmp(flag->name, "file") == 0;
            return err_set(err, "%s%s is missing; tabard-ca %s --help shows how",
                           is_argument ? "" : "--", is_argument ? "FILE" : flag->name,
                           command->name);
        }
    }
    if (options->hours != 0 && options->seconds != 0) {
        return err_set(err, "--hours and --seconds exclude each other");
    }
    return true;
}

enum ca_flags_result ca_flags_parse(struct ca_options *out, const struct ca_command *command,
                                    int argc, char **argv, struct err *err)
{
    *out = (struct ca_options){.key = MINT_KEY_P256};
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            return CA_FLAGS_HELP;
        }
        if (strncmp(argument, "--", 2) != 0) {
            if (!has_name(command->known, "file", 4)) {
                err_set(err, "\"%.100s\" stands without a flag", argument);
                return CA_FLAGS_WRONG;
            }
            if (!set_text(out, find_flag("file", 4), argument, err)) {
                err_set(err, "one FILE, and \"%.100s\" is a second", argument);
                return CA_FLAGS_WRONG;
            }
            continue;
        }
        const char *name = argument + 2;
        size_t len = strcspn(name, "=");
        const struct flag *flag = find_flag(name, len);
        if (flag == NULL || !has_name(command->known, name, len) || has_name("file", name, len)) {
            char known[KNOWN_TEXT_MAX];
            err_set(err, "no flag --%.*s; there are%s", (int)(len > 40 ? 40 : len), name,
                    known_text(known, command));
            return CA_FLAGS_WRONG;
        }
        const char *value = name[len] == '=' ? name + len + 1 : NULL;
        if (flag->type == SWITCH && value != NULL) {
            err_set(err, "--%s takes no value", flag->name);
            return CA_FLAGS_WRONG;
        }
        if (flag->type != SWITCH && value == NULL) {
            if (i + 1 == argc) {
                err_set(err, "--%s needs a value", flag->name);
                return CA_FLAGS_WRONG;
            }
            value = argv[++i];
        }
        if (!set_value(out, flag, value, err)) {
            return CA_FLAGS_WRONG;
        }
    }
    bool ok =
        check_needed(out, command, err) && (command->check == NULL || command->check(out, err));
    return ok ? CA_FLAGS_OK : CA_FLAGS_WRONG;
}
