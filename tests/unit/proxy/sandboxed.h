// SPDX-License-Identifier: Apache-2.0
//
// The proxy's sandbox from inside: a child enters it, as the proxy does, up to some point, and
// tries what it must not be able to do there. For tests.
#ifndef TABARD_TESTS_UNIT_PROXY_SANDBOXED_H
#define TABARD_TESTS_UNIT_PROXY_SANDBOXED_H

#include "proxy/proxy_sandbox.h"

// How far the child goes before it tries.
enum point { AFTER_BEGIN, AFTER_FILES, IN_WORKER, AT_END, AT_END_IN_WORKER };

struct outcome {
    int error;     // what the attempt returned; -1: it did not return
    int violation; // -1: none
};

// sandboxed_enter gives up what the proxy does, for a process without threads that `point` says how
// far to go with. It returns in the main thread; at points of a worker the attempt is made there,
// and ends the process.
void sandboxed_enter(enum point point, int (*attempt)(void), const struct proxy_sandbox_spec *spec);

// sandboxed_try makes an attempt, which returns 0 or an errno value, in a child. spec.tell_fd is
// its own.
struct outcome sandboxed_try(enum point point, int (*attempt)(void),
                             struct proxy_sandbox_spec spec);

// sandboxed_error is an attempt that must not end the child: what it returned.
int sandboxed_error(enum point point, int (*attempt)(void));

// sandboxed_result is 0, or errno after a system call that failed.
int sandboxed_result(long result);

// sandboxed_need_seccomp and sandboxed_need_product skip the test where there is no filter: of this
// kernel, of a build with a sanitizer.
void sandboxed_need_seccomp(void);
void sandboxed_need_product(void);

#endif
