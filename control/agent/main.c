// SPDX-License-Identifier: Apache-2.0
//
// tabard-agent: reads the flags, closes the ways by which a key could leave the process, and runs.

#include "base/flags.h"
#include "base/process.h"
#include "control/agent/agent.h"
#include "control/agent/bootstrap.h"

int main(int argc, char **argv)
{
    struct bootstrap bootstrap;
    struct err err = {{0}, {0}};
    bool is_good = bootstrap_parse(&bootstrap, argc, argv, &err);
    int status = flags_answer("tabard-agent", bootstrap_usage(), is_good, &bootstrap.asked, &err);
    if (status >= 0) {
        return status;
    }
    process_begin("tabard-agent", bootstrap.log_level);
    process_harden(); // the keys live here
    return agent_run(&bootstrap);
}
