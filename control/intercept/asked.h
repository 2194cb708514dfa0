// SPDX-License-Identifier: Apache-2.0
//
// The words after `tabardctl intercept`: what is to be done, and the ruleset of the flags.
// `tabardctl` reads them from its command line, the agent from the record that `up` left
// (control/intercept/record.h).
#ifndef TABARD_CONTROL_INTERCEPT_ASKED_H
#define TABARD_CONTROL_INTERCEPT_ASKED_H

#include <stdbool.h>

#include "base/err.h"
#include "control/intercept/ruleset.h"

// Large for a stack.
struct asked {
    const char *action; // borrowed from argv; NULL: none was given
    bool verifies;      // after up
    struct ruleset ruleset;
};

// asked_parse reads argv[1] and on over the defaults, and checks the combination. false sets err to
// the word that is wrong, and what would be right.
bool asked_parse(struct asked *out, int argc, char **argv, struct err *err);

#endif
