// SPDX-License-Identifier: Apache-2.0
//
// Prepares the process of a long-running program, which calls process_begin once its flags are
// read, and then process_harden.
#ifndef TABARD_BASE_PROCESS_H
#define TABARD_BASE_PROCESS_H

#include "base/log.h"

// process_begin opens the log, raises the limit of descriptors as far as it goes (a connection has
// one or two, and a child inherits the limit), and turns a peer that went away into an error of
// write(2) instead of a signal.
void process_begin(const char *program, enum log_level level);

// process_harden closes the ways by which memory leaves the process: core files, and debuggers of
// the same user.
void process_harden(void);

#endif
