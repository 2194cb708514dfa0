// SPDX-License-Identifier: Apache-2.0
//
// tabard-agent: reads the flags, closes the ways by which a key could leave the process, and runs.

#include "base/flags.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "control/agent/agent.h"
#include "control/agent/bootstrap.h"

static const struct program program = {
    .name = "tabard-agent",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl, library_libuv, library_protobuf_c, library_nghttp2},
};

int main(int argc, char **argv)
{
    struct bootstrap bootstrap;
    struct err err = {{0}, {0}};
    bool is_good = bootstrap_parse(&bootstrap, argc, argv, &err);
    int status = flags_answer(&program, bootstrap_usage(), is_good, &bootstrap.asked, &err);
    if (status >= 0) {
        return status;
    }
    bootstrap.program = &program;
    process_begin(program.name, bootstrap.log_level);
    process_harden(); // the keys live here
    return agent_run(&bootstrap);
}
