// SPDX-License-Identifier: Apache-2.0
//
// The command line of tabard-ca: which flags a command takes, and their values. Texts are borrowed
// from argv. It checks form (known, once, a number where one belongs, nothing missing), never
// meaning.
#ifndef TABARD_CERTS_CA_CA_FLAGS_H
#define TABARD_CERTS_CA_CA_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "certs/ca/mint.h"

struct ca_options {
    const char *dir, *parent, *trust_domain, *id, *out_cert, *out_key, *csr, *cert, *serial, *crl;
    enum mint_key_kind key;
    const char *file; // the argument without a flag
    const char *dns[MINT_DNS_NAMES_MAX];
    size_t num_dns;
    uint32_t days, hours, seconds, crl_hours; // 0: not given
    bool force, refresh;
};

struct ca_command {
    const char *name;
    const char *does;  // in a few words
    const char *usage; // what follows the name
    const char *help;  // what it does, and its flags, in lines
    // Names of flags without dashes, with a blank between; "file" is the argument.
    const char *needed;
    const char *known; // with the needed ones
    // NULL, or says whether the flags go together.
    bool (*check)(const struct ca_options *options, struct err *err);
    bool (*run)(const struct ca_options *options, struct err *err);
};

enum ca_flags_result { CA_FLAGS_OK, CA_FLAGS_HELP, CA_FLAGS_WRONG };

// ca_flags_parse reads argv[1] and on, where argv[0] is the command's name. CA_FLAGS_WRONG sets
// err.
enum ca_flags_result ca_flags_parse(struct ca_options *out, const struct ca_command *command,
                                    int argc, char **argv, struct err *err);

#endif
