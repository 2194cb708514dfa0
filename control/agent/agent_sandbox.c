// SPDX-License-Identifier: Apache-2.0
#include "control/agent/agent_sandbox.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "base/sandbox/landlock.h"
#include "base/sandbox/privileges.h"
#include "base/secret/secret.h"
#include "control/agent/agent_syscalls.h"

// What an agent that root starts keeps: to read and lock files of other users and keys in memory,
// to keep the rules of interception, to listen, and to start its proxy as another user and end it.
#define KEPT                                                                                       \
    (PRIVILEGES_BIT(CAP_DAC_OVERRIDE) | PRIVILEGES_BIT(CAP_DAC_READ_SEARCH) |                      \
     PRIVILEGES_BIT(CAP_FOWNER) | PRIVILEGES_BIT(CAP_LEASE) | PRIVILEGES_BIT(CAP_IPC_LOCK) |       \
     PRIVILEGES_BIT(CAP_NET_ADMIN) | PRIVILEGES_BIT(CAP_NET_BIND_SERVICE) |                        \
     PRIVILEGES_BIT(CAP_SETUID) | PRIVILEGES_BIT(CAP_SETGID) | PRIVILEGES_BIT(CAP_KILL))

// The layers that --sandbox=off leaves out.
static const enum sandbox_layer optional[] = {SANDBOX_NO_NEW_PRIVILEGES, SANDBOX_CAPABILITIES,
                                              SANDBOX_FILES, SANDBOX_SCOPES, SANDBOX_SYSTEM_CALLS};

static void set(struct sandbox_facts *facts, enum sandbox_layer layer, bool is_there,
                const char *why)
{
    sandbox_set(facts, layer, is_there ? SANDBOX_IN_FORCE : SANDBOX_MISSING, why);
}

// Files: no device. Where the configuration's files lie isn't known before it is read, and changes.
static bool close_landlock(struct sandbox_facts *facts, struct err *err)
{
    const char *why;
    char too_old[SANDBOX_WHY_MAX];
    int abi = landlock_abi(&why);
    struct landlock_rights rights = landlock_known(abi);
    rights.files &= LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
    rights.ports = 0; // the proxy inherits it
    rights.scopes &= LANDLOCK_SCOPE_SIGNAL;
    set(facts, SANDBOX_FILES, rights.files != 0, abi == 0 ? why : "devices alone");
    if (abi > 0 && rights.scopes == 0) {
        snprintf(too_old, sizeof too_old, "this kernel's Landlock is of version %d; it takes %d",
                 abi, LANDLOCK_ABI_SCOPES);
        why = too_old;
    }
    set(facts, SANDBOX_SCOPES, rights.scopes != 0, rights.scopes != 0 ? "signals alone" : why);
    return landlock_give_up(&rights, false, err);
}

static bool close_system_calls(struct sandbox_facts *facts, struct err *err)
{
    const char *why;
    bool can = syscalls_can_filter(&why);
#ifdef SANDBOX_SANITIZED
    can = false;
    why = SANDBOX_SANITIZED_WHY;
#endif
    set(facts, SANDBOX_SYSTEM_CALLS, can, why);
    return !can || agent_syscalls_load(err);
}

static bool enter(struct sandbox_facts *facts, const struct bootstrap *bootstrap, struct err *err)
{
    uint64_t keep = KEPT | (bootstrap->has_caller_addresses ? PRIVILEGES_BIT(CAP_NET_RAW) : 0);
    if (!privileges_keep(keep, err) || !privileges_freeze(err)) {
        return false;
    }
    if (geteuid() != 0) { // its proxy is of the same user
        privileges_pass_on(PRIVILEGES_BIT(CAP_NET_BIND_SERVICE) |
                           (bootstrap->has_caller_addresses ? PRIVILEGES_BIT(CAP_NET_RAW) : 0));
    }
    set(facts, SANDBOX_CAPABILITIES, true, geteuid() == 0 ? "but those that it needs as root" : "");
    set(facts, SANDBOX_NO_NEW_PRIVILEGES, true, "");
    return close_landlock(facts, err) && close_system_calls(facts, err) &&
           sandbox_check(facts, bootstrap->sandbox, err);
}

// Keys are read later, into memory that is made now, while CAP_IPC_LOCK may still be there.
static void lock_keys(struct sandbox_facts *facts)
{
    char why[SANDBOX_WHY_MAX] = "";
    size_t locked_len = process_keep_secrets();
    if (locked_len < SECRET_BYTES) {
        snprintf(why, sizeof why, "%zu of %d KiB; raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK",
                 locked_len >> 10, SECRET_BYTES >> 10);
    }
    set(facts, SANDBOX_KEYS, locked_len == SECRET_BYTES, why);
}

bool agent_sandbox_enter(struct sandbox_facts *out_facts, const struct bootstrap *bootstrap,
                         struct err *err)
{
    *out_facts = (struct sandbox_facts){0};
    process_harden(); // the keys live here
    set(out_facts, SANDBOX_NOT_DUMPABLE, prctl(PR_GET_DUMPABLE) == 0,
        prctl(PR_GET_DUMPABLE) == 0 ? "" : "a build with AddressSanitizer debugs itself");
    lock_keys(out_facts);
    if (bootstrap->sandbox == SANDBOX_OFF) {
        sandbox_all_off(out_facts, optional, sizeof optional / sizeof optional[0]);
        log_warn("msg=\"THE SANDBOX IS OFF (--sandbox=off): whoever takes over this agent or its "
                 "proxy may do what their users may\"");
        return true;
    }
    if (!enter(out_facts, bootstrap, err)) {
        return err_prefix(err, "the sandbox");
    }
    sandbox_log(out_facts);
    return true;
}
