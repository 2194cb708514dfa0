// SPDX-License-Identifier: Apache-2.0
//
// tabardctl: the operator's program. The commands are in audit.c, check.c, explain.c, inject.c,
// intercept.c and status.c.
#include <stdio.h>
#include <string.h>

#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "control/ctl/ctl.h"
#include "control/ctl/show/screen.h"

static const struct program program = {
    .name = "tabardctl",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl, library_protobuf_c},
};

static const struct command {
    const char *name;
    const char *does;
    int (*run)(int argc, char **argv);
    const char *usage;
} commands[] = {
    {"audit", "lists what would be denied if policy were enforced", ctl_audit, ctl_audit_usage},
    {"check", "checks mesh.yaml and the files it names, as the agent would; or a cluster",
     ctl_check, ctl_check_usage},
    {"explain", "says which policy decides, or where a call would go", ctl_explain,
     ctl_explain_usage},
    {"inject", "puts the sidecar into Kubernetes' manifests, or asks for that", ctl_inject,
     ctl_inject_usage},
    {"intercept", "redirects this network namespace's TCP traffic to the sidecar, or ends that",
     ctl_intercept, ctl_intercept_usage},
    {"status", "shows what a running agent is doing", ctl_status, ctl_status_usage},
};

#define NUM_COMMANDS (sizeof commands / sizeof commands[0])

void ctl_tell_unknown(size_t num_unknown)
{
    if (num_unknown > 0) {
        printf("the agent says more than this tabardctl (%s) knows: --json shows it\n",
               TABARD_VERSION);
    }
}

int ctl_fail(int status, const struct err *err)
{
    char buf[1024];
    fprintf(stderr, "tabardctl: %s\n", err_text(err, buf, sizeof buf));
    return status;
}

static int print_usage(void)
{
    printf("usage: tabardctl COMMAND [flags]\n\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        printf("  %-10s %s\n", commands[i].name, commands[i].does);
    }
    printf("\n  --help     prints this; after a command, its flags\n"
           "  --version  prints the version\n");
    return CTL_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static int run(int argc, char **argv)
{
    struct err err = {{0}, {0}};
    if (argc < 2) {
        err_set(&err, "a command is missing: audit, check, explain, inject, intercept or status");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (strcmp(argv[1], "--version") == 0) {
        return program_print_version(&program) ? CTL_OK : CTL_FAILED;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return print_usage();
    }
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) {
            continue;
        }
        if (asks_for_help(argc - 1, argv + 1)) {
            printf("%s", commands[i].usage);
            return CTL_OK;
        }
        return commands[i].run(argc - 1, argv + 1);
    }
    err_set(&err,
            "%s: no such command; there are audit, check, explain, inject, intercept and status",
            argv[1]);
    return ctl_fail(CTL_USAGE, &err);
}

int main(int argc, char **argv)
{
    process_signals();
    screen_begin();
    int status = run(argc, argv);
    // A full disk or a closed pipe must not look like success.
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        struct err err = {{0}, {0}};
        err_set(&err, "standard output can't be written");
        return ctl_fail(status == CTL_OK ? CTL_FAILED : status, &err);
    }
    return status;
}
