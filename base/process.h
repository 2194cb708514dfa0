// SPDX-License-Identifier: Apache-2.0
//
// Prepares the process of a long-running program, which calls process_begin once its flags are
// read, and then process_harden; and says how much of the host it may take, for limits that are
// made from that.
#ifndef TABARD_BASE_PROCESS_H
#define TABARD_BASE_PROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

// process_signals undoes what a parent may have left in the way of signals: it empties the mask,
// and lets SIGCHLD tell of a child's end again. Call it before any thread is made. Every program
// does, the long-running ones by process_begin.
void process_signals(void);

// process_begin opens the log, raises the limit of descriptors as far as it goes (a connection has
// one or two, and a child inherits the limit), and calls process_signals. SIGPIPE and SIGXFSZ are
// ignored, so that a peer that went away and a file that grew too large are errors of write(2); so
// are SIGHUP, SIGUSR1 and SIGUSR2, which service managers and log rotation send to all of a
// service's processes. A program that reloads by SIGHUP handles it later.
void process_begin(const char *program, enum log_level level);

// process_harden closes the ways by which memory leaves the process: core files, and debuggers of
// the same user.
void process_harden(void);

// process_keep_secrets opens the memory that keys lie in (base/secret/secret.h), and logs when what
// could not be locked of it comes into use. Call it before privileges are given up. Returns how
// many of SECRET_BYTES are locked; when that are fewer, a warning says so.
size_t process_keep_secrets(void);

// process_descriptors_max returns how many connections RLIMIT_NOFILE has room for, one descriptor
// each, beside a quarter, at most 256, for everything else.
uint32_t process_descriptors_max(void);

// process_memory_max returns the least limit on memory, in bytes, of this process's control group
// and those above it (cgroup v2, memory.max; v1, memory.limit_in_bytes). UINT64_MAX: there is none.
uint64_t process_memory_max(void);

// process_oom_kills returns how many processes of this process's control group the kernel has
// killed for want of memory (cgroup v2, memory.events; v1, memory.oom_control), or of the whole
// host (/proc/vmstat) where no group says.
uint64_t process_oom_kills(void);

// These do so below other roots than /sys/fs/cgroup, with the text of /proc/self/cgroup, for tests.
uint64_t process_memory_max_at(const char *root, const char *groups);
uint64_t process_oom_kills_at(const char *root, const char *groups, const char *vmstat);

#endif
