// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // syscall
#include "base/sandbox/syscalls.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool syscalls_can_filter(const char **out_why)
{
    uint32_t action = SECCOMP_RET_TRAP;
    bool can = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    *out_why = can               ? ""
               : errno == ENOSYS ? "this kernel has no seccomp filters"
                                 : "seccomp is refused, perhaps by a container's own profile";
    return can;
}

static int add(scmp_filter_ctx *context, const struct syscalls_rule *rule)
{
    uint32_t action = rule->error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint32_t)rule->error);
    return seccomp_rule_add_array(context, action, rule->number, rule->num_args, rule->args);
}

static int set_attributes(scmp_filter_ctx *context)
{
    int error = seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, 1);
    // No code of strangers runs here, against whose guesses the kernel would have to slow down all.
    error = error != 0 ? error : seccomp_attr_set(context, SCMP_FLTATR_CTL_SSB, 1);
    // Rules are searched as a tree.
    error = error != 0 ? error : seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    // System calls of another word size, as of int 0x80.
    return error != 0 ? error
                      : seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
}

// Says whether a call has a rule for all its arguments beside one for some: libseccomp would keep
// only the former.
static bool has_idle_rule(const struct syscalls_filter *filter, int *out_number)
{
    for (size_t i = 0; i < filter->num_rules; i++) {
        *out_number = filter->rules[i].number;
        for (size_t k = 0; filter->rules[i].num_args == 0 && k < filter->num_rules; k++) {
            if (filter->rules[k].number == *out_number && filter->rules[k].num_args > 0) {
                return true;
            }
        }
    }
    return false;
}

bool syscalls_load(const struct syscalls_filter *filter, struct err *err)
{
    int idle;
    if (has_idle_rule(filter, &idle)) {
        return err_set(err, "a rule of system call %d counts for nothing beside another", idle);
    }
    scmp_filter_ctx *context = seccomp_init(filter->otherwise);
    if (context == NULL) {
        return err_set(err, "seccomp_init: out of memory");
    }
    int error = set_attributes(context);
    for (size_t i = 0; error == 0 && i < filter->num_rules; i++) {
        error = add(context, &filter->rules[i]);
        if (error != 0) {
            err_set(err, "the rule %zu, of system call %d", i, filter->rules[i].number);
        }
    }
    error = error != 0 ? error : seccomp_load(context);
    seccomp_release(context);
    return error == 0 || err_set(err, "a seccomp filter: %s", strerror(-error));
}
