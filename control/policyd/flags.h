// SPDX-License-Identifier: Apache-2.0
//
// The command line of tabard-policyd. Flags borrow the arguments; one thread; fixed size. It checks
// form, never whether a file is there.
#ifndef TABARD_CONTROL_POLICYD_FLAGS_H
#define TABARD_CONTROL_POLICYD_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"

#define FLAGS_UNIX_NAME "policyd.sock" // in DIR, if neither --unix nor --listen is given

struct flags {
    bool is_token; // the subcommand
    const char *dir;
    const char *unix_path; // NULL: none
    struct addr listen;
    bool has_listen;
    struct addr metrics;
    bool has_metrics;
    enum log_level log_level;
    const char *id; // token
    uint32_t minutes;
};

enum flags_result { FLAGS_RUN, FLAGS_HELP, FLAGS_VERSION_ASKED, FLAGS_WRONG };

// flags_parse: FLAGS_WRONG sets err to one line that names the flag.
enum flags_result flags_parse(struct flags *out, int argc, char **argv, struct err *err);
const char *flags_usage(void);

#endif
