// SPDX-License-Identifier: Apache-2.0
//
// The flags of tabardctl's commands: one table a command.
// Owned by the caller; texts are argv's; one thread; fixed size.
// It doesn't know what the flags mean.
#ifndef TABARD_BASE_FLAGS_H
#define TABARD_BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// A flag with a value ("--name value" or "--name=value"), or without.
struct flag {
    const char *name;   // without the dashes
    bool *out_given;    // may be NULL; a flag without value has only this
    const char **value; // NULL: takes none; borrowed from argv
    bool (*set)(void *ctx, const char *value,
                struct err *err); // instead of value: called at once, may be repeated
    void *ctx;
};

// flags_parse reads argv[1] and on. What is no flag goes into operands, at most operands_max. false
// sets err: the word that is wrong, and what would be right.
bool flags_parse(const struct flag *flags, size_t num_flags, int argc, char **argv,
                 const char **operands, size_t operands_max, size_t *out_num_operands,
                 struct err *err);

#endif
