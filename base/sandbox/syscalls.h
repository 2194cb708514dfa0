// SPDX-License-Identifier: Apache-2.0
//
// A seccomp filter (seccomp(2)), by libseccomp: which system calls a program may make from now on,
// and what becomes of every other one. A program has its list as a table of rules.
#ifndef TABARD_BASE_SANDBOX_SYSCALLS_H
#define TABARD_BASE_SANDBOX_SYSCALLS_H

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SYSCALLS_ARGS_MAX 3

// What becomes of a system call whose arguments are all as the rule says. Of one call there may be
// several rules, if each of them looks at arguments; if none of them matches, `otherwise` counts.
struct syscalls_rule {
    int number; // SCMP_SYS(name)
    unsigned num_args;
    struct scmp_arg_cmp args[SYSCALLS_ARGS_MAX];
    int error; // 0: it is allowed; else it is refused with this errno value
};

// Rows of a table: a system call that is allowed; one that is if its arguments are as given.
#define SYSCALLS_ALLOW(name)                                                                       \
    {                                                                                              \
        .number = SCMP_SYS(name)                                                                   \
    }
#define SYSCALLS_ALLOW_IF(name, ...)                                                               \
    {                                                                                              \
        .number = SCMP_SYS(name), .num_args = SYSCALLS_NUM(__VA_ARGS__), .args = { __VA_ARGS__ }   \
    }
#define SYSCALLS_REFUSE(name, with_error)                                                          \
    {                                                                                              \
        .number = SCMP_SYS(name), .error = (with_error)                                            \
    }
#define SYSCALLS_REFUSE_IF(name, with_error, ...)                                                  \
    {                                                                                              \
        .number = SCMP_SYS(name), .error = (with_error), .num_args = SYSCALLS_NUM(__VA_ARGS__),    \
        .args = {                                                                                  \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define SYSCALLS_NUM(...)                                                                          \
    (sizeof((const struct scmp_arg_cmp[]){__VA_ARGS__}) / sizeof(struct scmp_arg_cmp))

// What an argument, counted from 0, must be: an int of this value; an int or a long that has
// exactly these bits of `mask`.
#define SYSCALLS_IS(argument, value) SYSCALLS_BITS(argument, 0xffffffffu, value)
#define SYSCALLS_BITS(argument, mask, value)                                                       \
    {                                                                                              \
        (argument), SCMP_CMP_MASKED_EQ, (mask), (value)                                            \
    }

struct syscalls_filter {
    const struct syscalls_rule *rules; // several tables, one after the other
    size_t num_rules;
    uint32_t otherwise; // SCMP_ACT_TRAP, or SCMP_ACT_ERRNO(error)
};

// syscalls_can_filter says whether the kernel has seccomp filters. false: out_why says why not, in
// words.
bool syscalls_can_filter(const char **out_why);

// syscalls_load puts the filter in force for every thread of the process, and for all programs that
// it starts. Call it with no_new_privs set; again to add a filter: of their answers the strictest
// counts. false sets err: nothing is in force.
bool syscalls_load(const struct syscalls_filter *filter, struct err *err);

#endif
