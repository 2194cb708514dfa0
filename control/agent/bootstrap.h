// SPDX-License-Identifier: Apache-2.0
//
// The agent's flags, checked. Everything else is configuration and comes from mesh.yaml. main fills
// it once and keeps it for the whole run; the borrowed texts are argv's.
#ifndef TABARD_CONTROL_AGENT_BOOTSTRAP_H
#define TABARD_CONTROL_AGENT_BOOTSTRAP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/sandbox/sandbox.h"
#include "control/host/listen.h"

struct bootstrap {
    const struct program *program; // main sets it
    const char *config_path;       // borrowed
    char proxy_path[PATH_MAX];
    uint32_t num_workers;
    int64_t proxy_uid; // -1: not switched
    bool has_caller_addresses;
    enum sandbox_mode sandbox;   // of the agent and the proxy
    struct listen_addrs metrics; // the host's own (listen_own), or the one that was given
    struct listen_addrs health;
    const char *probes_path; // of probes.yaml; NULL: none
    const char *admin_path;  // borrowed
    enum log_level log_level;
    const char *log_level_text; // borrowed; NULL: not given
    struct flags_asked asked;
};

// bootstrap_parse reads the flags over the defaults. false sets err: the flag, and what would be
// right.
bool bootstrap_parse(struct bootstrap *out, int argc, char **argv, struct err *err);

// bootstrap_usage is the text of --help.
const char *bootstrap_usage(void);

#endif
