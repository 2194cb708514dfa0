// SPDX-License-Identifier: Apache-2.0
//
// tabard-agent: reads the flags, closes the ways by which a key could leave the process, and runs.

#include <stdlib.h>

#include "base/flags.h"
#include "base/log.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "control/agent/agent.h"
#include "control/agent/agent_sandbox.h"
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
    setenv("UV_USE_IO_URING", "0", 1); // past which no filter sees
    struct sandbox_facts sandbox;
    if (!agent_sandbox_enter(&sandbox, &bootstrap, &err)) {
        char quoted[2048];
        log_error("msg=\"start failed\" error=%s", log_quote(quoted, sizeof quoted, err.text));
        return 1;
    }
    return agent_run(&bootstrap, &sandbox);
}
