// SPDX-License-Identifier: Apache-2.0
//
// Prepares the process of a long-running program, which calls process_begin once its flags are
// read, and then process_harden; and says how much of the host it may take, for limits that are
// made from that.
#ifndef TABARD_BASE_PROCESS_H
#define TABARD_BASE_PROCESS_H

#include <stdint.h>

#include "base/log.h"

// process_begin opens the log, raises the limit of descriptors as far as it goes (a connection has
// one or two, and a child inherits the limit), and turns a peer that went away into an error of
// write(2) instead of a signal.
void process_begin(const char *program, enum log_level level);

// process_harden closes the ways by which memory leaves the process: core files, and debuggers of
// the same user.
void process_harden(void);

// process_descriptors_max returns how many connections RLIMIT_NOFILE has room for, one descriptor
// each, beside a quarter, at most 256, for everything else.
uint32_t process_descriptors_max(void);

// process_memory_max returns the least limit on memory, in bytes, of this process's control group
// and those above it (cgroup v2, memory.max; v1, memory.limit_in_bytes). UINT64_MAX: there is none.
uint64_t process_memory_max(void);

// process_memory_max_at does so below other roots than /sys/fs/cgroup, with the text of
// /proc/self/cgroup, for tests.
uint64_t process_memory_max_at(const char *root, const char *groups);

#endif
