// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // setresuid
#include "base/sandbox/privileges.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sets {
    uint64_t effective;
    uint64_t permitted;
};

static bool read_sets(struct sets *out)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct halves[2] = {{0}};
    bool ok = syscall(SYS_capget, &header, halves) == 0;
    *out = (struct sets){
        .effective = (uint64_t)halves[1].effective << 32 | halves[0].effective,
        .permitted = (uint64_t)halves[1].permitted << 32 | halves[0].permitted,
    };
    return ok;
}

// Makes `keep` all that is permitted and effective, and `inherited` all that is inheritable.
static bool write_sets(uint64_t keep, uint64_t inherited)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct halves[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        halves[i].effective = halves[i].permitted = (uint32_t)(keep >> 32 * i);
        halves[i].inheritable = (uint32_t)(inherited >> 32 * i);
    }
    return syscall(SYS_capset, &header, halves) == 0;
}

bool privileges_has(unsigned capability)
{
    struct sets sets;
    return read_sets(&sets) && (sets.effective & PRIVILEGES_BIT(capability)) != 0;
}

// Says why another user couldn't be become, from errno. A root without capabilities, as containers
// have it, can't either.
static bool fail_user(uid_t uid, unsigned capability, const char *name, struct err *err)
{
    const char *why = strerror(errno);
    return privileges_has(capability)
               ? err_set(err, "cannot become user %u: %s", uid, why)
               : err_set(err, "cannot become user %u: %s: the capability %s is missing", uid, why,
                         name);
}

// Takes CAP_SETPCAP. A process without it has a bounding set that is worth nothing to it, since it
// starts nothing that could gain by it (no_new_privs).
static void bound(uint64_t keep)
{
    for (unsigned i = 0; i < 64 && privileges_has(CAP_SETPCAP); i++) {
        if ((keep & PRIVILEGES_BIT(i)) == 0 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) {
            break; // the kernel knows no further ones
        }
    }
}

bool privileges_become(uid_t uid, uint64_t keep, struct err *err)
{
    bound(keep);
    prctl(PR_SET_KEEPCAPS, keep != 0, 0, 0, 0);
    if (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0) {
        return fail_user(uid, CAP_SETGID, "CAP_SETGID", err);
    }
    return setresuid(uid, uid, uid) == 0 || fail_user(uid, CAP_SETUID, "CAP_SETUID", err);
}

bool privileges_keep(uint64_t keep, struct err *err)
{
    struct sets sets;
    if (!read_sets(&sets)) {
        return err_set(err, "capget: %s", strerror(errno));
    }
    bound(keep);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return write_sets(sets.permitted & keep, 0) || err_set(err, "capset: %s", strerror(errno));
}

void privileges_pass_on(uint64_t capabilities)
{
    struct sets sets;
    if (!read_sets(&sets) || !write_sets(sets.permitted, sets.permitted & capabilities)) {
        return;
    }
    for (unsigned i = 0; i < 64; i++) {
        if ((sets.permitted & capabilities & PRIVILEGES_BIT(i)) != 0) {
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
        }
    }
}

bool privileges_freeze(struct err *err)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ||
           err_set(err, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
}
