// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void process_begin(const char *program, enum log_level level)
{
    struct rlimit limit;
    log_init(program, level);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void process_harden(void)
{
#ifndef __SANITIZE_ADDRESS__ // LeakSanitizer works as a debugger
    prctl(PR_SET_DUMPABLE, 0);
#endif
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}
