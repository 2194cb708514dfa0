// SPDX-License-Identifier: Apache-2.0
//
// tabard-agent: reads the flags, closes the ways by which a key could leave the process, and runs.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/flags.h"
#include "base/log.h"
#include "control/agent/agent.h"
#include "control/agent/bootstrap.h"

// The keys live here: no core file, no debugger of the same user. (LeakSanitizer works as a
// debugger.)
static void harden(void)
{
#ifndef __SANITIZE_ADDRESS__
    prctl(PR_SET_DUMPABLE, 0);
#endif
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

// The proxy inherits it, and has a descriptor or two for each connection.
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct bootstrap bootstrap;
    struct err err = {{0}, {0}};
    bool is_good = bootstrap_parse(&bootstrap, argc, argv, &err);
    int status = flags_answer("tabard-agent", bootstrap_usage(), is_good, &bootstrap.asked, &err);
    if (status >= 0) {
        return status;
    }
    log_init("tabard-agent", bootstrap.log_level);
    harden();
    raise_descriptors();
    signal(SIGPIPE, SIG_IGN);
    return agent_run(&bootstrap);
}
