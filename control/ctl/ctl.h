// SPDX-License-Identifier: Apache-2.0
//
// tabardctl's commands. main.c calls one with argv from its own name on; it returns the process's
// exit status. None of them changes a running sidecar; `intercept` alone changes the host.
#ifndef TABARD_CONTROL_CTL_CTL_H
#define TABARD_CONTROL_CTL_CTL_H

#include <stddef.h>

#include "base/err.h"

enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_DENIED = 3 };

int ctl_audit(int argc, char **argv);
int ctl_check(int argc, char **argv);
int ctl_explain(int argc, char **argv);
int ctl_inject(int argc, char **argv);
int ctl_intercept(int argc, char **argv);
int ctl_status(int argc, char **argv);

// The usage of a command, printed by --help.
extern const char ctl_audit_usage[];
extern const char ctl_check_usage[];
extern const char ctl_explain_usage[];
extern const char ctl_inject_usage[];
extern const char ctl_intercept_usage[];
extern const char ctl_status_usage[];

// ctl_tell_unknown prints a line that says so if an agent said more than this tabardctl knows.
void ctl_tell_unknown(size_t num_unknown);

// ctl_fail prints one line to standard error and returns `status`.
int ctl_fail(int status, const struct err *err);

#endif
