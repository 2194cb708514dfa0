// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/ca_flags.h"

#include <string.h>

#include "base/flags.h"

// Says whether a list of names with blanks between holds a name.
static bool has_name(const char *names, const char *name)
{
    size_t len = strlen(name);
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

static bool set_key(void *ctx, const char *value, struct err *err)
{
    return mint_key_kind_parse(ctx, value, err);
}

static bool add_dns(void *ctx, const char *value, struct err *err)
{
    struct ca_options *out = ctx;
    if (out->num_dns == MINT_DNS_NAMES_MAX) {
        return err_set(err, "given more than %d times", MINT_DNS_NAMES_MAX);
    }
    out->dns[out->num_dns++] = value;
    return true;
}

static bool takes_one(const struct flag *flag)
{
    return flag->value != NULL || flag->number != NULL || flag->set == set_key;
}

// Fills the table with what the command knows, and returns the number of rows.
static size_t fill(struct flag table[FLAGS_MAX], struct ca_options *out,
                   const struct ca_command *command, bool *out_asks_help)
{
    const struct flag all[] = {
        {.name = "dir", .value = &out->dir, .needed = "the folder of the CA"},
        {.name = "parent", .value = &out->parent},
        {.name = "trust-domain", .value = &out->trust_domain},
        {.name = "key", .set = set_key, .ctx = &out->key, .values = MINT_KEY_KINDS},
        {.name = "id", .value = &out->id, .needed = "the SPIFFE id of the workload"},
        {.name = "dns", .set = add_dns, .ctx = out},
        {.name = "out-cert", .value = &out->out_cert, .needed = "the certificate's new file"},
        {.name = "out-key", .value = &out->out_key, .needed = "the key's new file"},
        {.name = "csr", .value = &out->csr, .needed = "the file of the signing request"},
        {.name = "cert", .value = &out->cert},
        {.name = "serial", .value = &out->serial},
        {.name = "crl", .value = &out->crl},
        {.name = "days", .number = &out->days, .min = 1, .max = 36500},
        {.name = "hours", .number = &out->hours, .min = 1, .max = 876000},
        {.name = "seconds", .number = &out->seconds, .min = 1, .max = 2000000000},
        {.name = "crl-hours", .number = &out->crl_hours, .min = 1, .max = 876000},
        {.name = "force", .out_given = &out->force},
        {.name = "refresh", .out_given = &out->refresh},
    };
    size_t num = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (has_name(command->known, all[i].name)) {
            table[num] = all[i];
            table[num].is_once = takes_one(&all[i]);
            table[num].needed = has_name(command->needed, all[i].name) ? all[i].needed : NULL;
            num++;
        }
    }
    table[num++] = (struct flag){.name = "help", .out_given = out_asks_help, .stops = true};
    return num;
}

static bool check(const struct ca_options *options, const struct ca_command *command,
                  struct err *err)
{
    if (options->file == NULL && has_name(command->needed, "file")) {
        return err_set(err, "FILE is missing; tabard-ca %s --help says what it is", command->name);
    }
    if (options->hours != 0 && options->seconds != 0) {
        return err_set(err, "--hours and --seconds exclude each other");
    }
    return command->check == NULL || command->check(options, err);
}

enum ca_flags_result ca_flags_parse(struct ca_options *out, const struct ca_command *command,
                                    int argc, char **argv, struct err *err)
{
    *out = (struct ca_options){.key = MINT_KEY_P256};
    struct flag table[FLAGS_MAX];
    bool asks_help = false;
    size_t num = fill(table, out, command, &asks_help);
    if (!flags_parse(table, num, argc, argv, &out->file, has_name(command->known, "file"), NULL,
                     err)) {
        return CA_FLAGS_WRONG;
    }
    if (asks_help) {
        return CA_FLAGS_HELP;
    }
    return check(out, command, err) ? CA_FLAGS_OK : CA_FLAGS_WRONG;
}
