// SPDX-License-Identifier: Apache-2.0
//
// The command line of tabard-policyd. Its texts are borrowed from argv. It checks form, never
// whether a file is there.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_FLAGS_H
#define TABARD_CONTROL_POLICYD_POLICYD_FLAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/flags.h"
#include "base/log.h"

#define POLICYD_UNIX_NAME "policyd.sock" // in DIR, if neither --unix nor --listen is given

struct policyd_flags {
    const struct program *program; // main sets it
    bool is_token;                 // the subcommand `token` is to run
    const char *dir;
    const char *unix_path; // NULL: not given
    struct addr listen;
    bool has_listen;
    struct addr metrics;
    bool has_metrics;
    struct addr health;
    bool has_health;
    bool is_kubernetes;         // the API server is the source, and not dir/fleet
    const char *account;        // the folder of policyd's service account; NULL: a pod's usual one
    const char *first_settings; // the mesh's first settings (a file); NULL: not given
    struct addr webhook;
    bool has_webhook;
    const char *webhook_client_ca; // roots of those who may ask it (a file); NULL: everybody may
    const char *inject_config;     // how pods are injected (a file); NULL: not given
    const char *namespace;         // of the Service that leads here; NULL: not given
    enum log_level log_level;
    const char *id;   // of `token`: the SPIFFE id that the token admits
    uint32_t minutes; // of `token`: for how long it admits
    struct flags_asked asked;
};

// policyd_flags_parse reads argv. false sets err to one line that names the flag.
bool policyd_flags_parse(struct policyd_flags *out, int argc, char **argv, struct err *err);
const char *policyd_flags_usage(void);

#endif
