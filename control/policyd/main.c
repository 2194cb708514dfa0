// SPDX-License-Identifier: Apache-2.0
//
// tabard-policyd: reads the flags, and makes a token or runs.
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/flags.h"
#include "control/policyd/policyd.h"
#include "control/policyd/stream/token.h"

// The CA's key is here now and then: no core file, no debugger of the same user. (LeakSanitizer
// works as a debugger.)
static void harden(void)
{
#ifndef __SANITIZE_ADDRESS__
    prctl(PR_SET_DUMPABLE, 0);
#endif
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int make_token(const struct policyd_flags *flags)
{
    char token[TOKEN_TEXT_MAX];
    struct err err = {{0}, {0}};
    struct stat st;
    time_t expires = time(NULL) + (time_t)flags->minutes * 60;
    if (stat(flags->dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "tabard-policyd token: --dir: %s is no folder\n", flags->dir);
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
    int status = flags_answer("tabard-policyd", policyd_flags_usage(), is_good, &flags.asked, &err);
    if (status >= 0) {
        return status;
    }
    if (flags.is_token) {
        return make_token(&flags);
    }
    log_init("tabard-policyd", flags.log_level);
    harden();
    raise_descriptors();
    signal(SIGPIPE, SIG_IGN);
    return policyd_run(&flags);
}
