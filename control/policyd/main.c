// SPDX-License-Identifier: Apache-2.0
//
// tabard-policyd: reads the flags, then prints a join token or serves.
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/flags.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "control/policyd/policyd.h"
#include "control/policyd/stream/token.h"

static const struct program program = {
    .name = "tabard-policyd",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl, library_libuv, library_protobuf_c, library_nghttp2},
};

static int make_token(const struct policyd_flags *flags)
{
    char token[TOKEN_TEXT_MAX];
    struct err err = {{0}, {0}};
    struct stat st;
    time_t expires = time(NULL) + (time_t)flags->minutes * 60;
    if (stat(flags->dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "tabard-policyd token: --dir: %s is not a folder\n", flags->dir);
        return 1;
    }
    if (!token_make(token, flags->dir, flags->id, expires, &err)) {
        fprintf(stderr, "tabard-policyd token: %s\n", err.text);
        return 1;
    }
    return puts(token) < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
    struct policyd_flags flags;
    struct err err = {{0}, {0}};
    bool is_good = policyd_flags_parse(&flags, argc, argv, &err);
    int status = flags_answer(&program, policyd_flags_usage(), is_good, &flags.asked, &err);
    if (status >= 0) {
        return status;
    }
    if (flags.is_token) {
        return make_token(&flags);
    }
    flags.program = &program;
    process_begin(program.name, flags.log_level);
    process_harden();
    process_keep_secrets(); // at times the CA's key is in memory
    return policyd_run(&flags);
}
