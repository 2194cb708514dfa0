// SPDX-License-Identifier: Apache-2.0
//
// The flags of a command line, read by a table: one row a flag. A program or a command fills the
// rows with pointers into its own options, which hold the defaults, and calls flags_parse once.
// Texts are borrowed from argv.
#ifndef TABARD_BASE_FLAGS_H
#define TABARD_BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"
#include "base/program/program.h"

#define FLAGS_MAX 32 // rows of one table

// A flag with a value ("--name value" or "--name=value") if one of value, number, addr, log_level
// and set is there; a flag without value has only out_given. An empty value is always refused.
struct flag {
    const char *name;   // without the dashes
    bool *out_given;    // may be NULL
    const char **value; // any text, also beside one of the next four
    uint32_t *number;   // from min to max
    struct addr *addr;  // "address:port"; port 0 is allowed
    enum log_level *log_level;
    bool (*set)(void *ctx, const char *value, struct err *err); // called once for each occurrence
    void *ctx;
    uint32_t min, max;
    const char *values; // what set takes, for errors about no value: "on or off"; may be NULL
    const char *needed; // not NULL: the flag must be given; the error says this of it
    bool is_once;       // refused if given twice; otherwise the last counts
    bool stops;         // what follows is not looked at, and nothing is needed: --help, --version
};

// A program that is asked for these prints them instead of running.
struct flags_asked {
    bool help;
    bool version;
};

#define FLAGS_ASKED_ROWS(asked)                                                                    \
    {.name = "version", .out_given = &(asked)->version, .stops = true},                            \
    {                                                                                              \
        .name = "help", .out_given = &(asked)->help, .stops = true                                 \
    }

// flags_parse reads argv[1] and on. What is no flag goes into operands, at most operands_max. false
// sets err: the word that is wrong, and what would be right.
bool flags_parse(const struct flag *flags, size_t num_flags, int argc, char **argv,
                 const char **operands, size_t operands_max, size_t *out_num_operands,
                 struct err *err);

// flags_number reads a decimal number from min to max, and nothing else.
bool flags_number(uint32_t *out, const char *text, uint32_t min, uint32_t max, struct err *err);

// flags_answer prints what a wrong line, --help or --version calls for, and returns the exit
// status; -1: nothing was called for, and the program shall run. is_good is what flags_parse
// returned.
int flags_answer(const struct program *program, const char *usage, bool is_good,
                 const struct flags_asked *asked, const struct err *err);

#endif
