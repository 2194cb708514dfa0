// SPDX-License-Identifier: Apache-2.0
//
// The proxy gives up, once and for good, whatever relaying does not need (docs/sandbox.md). main
// calls proxy_sandbox_begin first of all. plane goes on: proxy_sandbox_close_files when the last
// file is open, then it makes the workers, each of which calls proxy_sandbox_enter_worker first,
// and proxy_sandbox_close before anything comes from outside. Embedded in main's stack; the facts
// are the main thread's.
//
// A step fails where the kernel has a layer and does not give it; the process must end then. What
// the kernel does not have is noted in the facts, which the agent is told.
#ifndef TABARD_PROXY_PROXY_SANDBOX_H
#define TABARD_PROXY_PROXY_SANDBOX_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sandbox/sandbox.h"

struct proxy_sandbox_spec {
    enum sandbox_mode mode;
    uint32_t uid; // to become; 0: as it is
    bool has_caller_addresses;
    int tell_fd; // where the last words go (base/sandbox/violation.h)
};

struct proxy_sandbox {
    struct proxy_sandbox_spec spec;
    struct sandbox_facts facts;
    int abi;            // of Landlock; 0: none is used
    sem_t has_entered;  // posted by each worker
    atomic_bool is_bad; // a worker couldn't enter
};

// proxy_sandbox_begin becomes the user, and gives up every capability (but CAP_NET_RAW, with
// has_caller_addresses, and CAP_NET_BIND_SERVICE, if it has it and no uid is named), new privileges
// and debuggers.
bool proxy_sandbox_begin(struct proxy_sandbox *sandbox, const struct proxy_sandbox_spec *spec,
                         struct err *err);

// proxy_sandbox_close_files gives up all files that aren't open yet, signals to others, and
// abstract Unix sockets, for this thread and those that it makes.
bool proxy_sandbox_close_files(struct proxy_sandbox *sandbox, struct err *err);

// proxy_sandbox_enter_worker gives up, for a worker's own thread, every port to bind but those that
// the kernel chooses. The main thread waits for it.
void proxy_sandbox_enter_worker(struct proxy_sandbox *sandbox);

// proxy_sandbox_close gives up the rest: for the main thread connecting, for the process new
// threads and every system call that is not in the proxy's list. All workers have been made.
bool proxy_sandbox_close(struct proxy_sandbox *sandbox, unsigned num_workers, struct err *err);

#endif
