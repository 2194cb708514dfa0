// SPDX-License-Identifier: Apache-2.0
#include "proxy/proxy_sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/process.h"
#include "base/sandbox/landlock.h"
#include "base/sandbox/privileges.h"
#include "base/sandbox/violation.h"
#include "proxy/proxy_syscalls.h"

// The layers that --sandbox=off leaves out.
static const enum sandbox_layer optional[] = {SANDBOX_LIMITS, SANDBOX_FILES, SANDBOX_PORTS,
                                              SANDBOX_SCOPES, SANDBOX_SYSTEM_CALLS};

static bool is_off(const struct proxy_sandbox *sandbox)
{
    return sandbox->spec.mode == SANDBOX_OFF;
}

static void in_force(struct proxy_sandbox *sandbox, enum sandbox_layer layer, const char *but)
{
    sandbox_set(&sandbox->facts, layer, SANDBOX_IN_FORCE, but);
}

static void missing(struct proxy_sandbox *sandbox, enum sandbox_layer layer, const char *why)
{
    sandbox_set(&sandbox->facts, layer, SANDBOX_MISSING, why);
}

// Of a later version of Landlock than the kernel has.
static void missing_abi(struct proxy_sandbox *sandbox, enum sandbox_layer layer, int needed)
{
    char why[SANDBOX_WHY_MAX];
    snprintf(why, sizeof why, "this kernel's Landlock is of version %d; it takes %d", sandbox->abi,
             needed);
    missing(sandbox, layer, why);
}

static void look_for_landlock(struct proxy_sandbox *sandbox)
{
    const char *why;
    sandbox->abi = landlock_abi(&why);
    if (sandbox->abi == 0) {
        missing(sandbox, SANDBOX_FILES, why);
        missing(sandbox, SANDBOX_PORTS, why);
        missing(sandbox, SANDBOX_SCOPES, why);
        return;
    }
    if (sandbox->abi < LANDLOCK_ABI_PORTS) {
        missing_abi(sandbox, SANDBOX_PORTS, LANDLOCK_ABI_PORTS);
    }
    if (sandbox->abi < LANDLOCK_ABI_SCOPES) {
        missing_abi(sandbox, SANDBOX_SCOPES, LANDLOCK_ABI_SCOPES);
    }
}

static void note_dumpable(struct proxy_sandbox *sandbox)
{
    if (prctl(PR_GET_DUMPABLE) == 0) {
        in_force(sandbox, SANDBOX_NOT_DUMPABLE, "");
    } else {
        missing(sandbox, SANDBOX_NOT_DUMPABLE, "a build with AddressSanitizer debugs itself");
    }
}

static void note_capabilities(struct proxy_sandbox *sandbox)
{
    bool has_raw = privileges_has(CAP_NET_RAW);
    bool has_ports = privileges_has(CAP_NET_BIND_SERVICE);
    char but[SANDBOX_WHY_MAX];
    snprintf(but, sizeof but, "%s%s%s", has_raw ? "but CAP_NET_RAW, for callers' addresses" : "",
             has_raw && has_ports ? ", " : "",
             has_ports ? "but CAP_NET_BIND_SERVICE, for ports below 1024" : "");
    in_force(sandbox, SANDBOX_CAPABILITIES, but);
}

bool proxy_sandbox_begin(struct proxy_sandbox *sandbox, const struct proxy_sandbox_spec *spec,
                         struct err *err)
{
    // Only an agent that isn't root keeps its proxy's user, and may give it low ports.
    uint64_t keep = (spec->has_caller_addresses ? PRIVILEGES_BIT(CAP_NET_RAW) : 0) |
                    (spec->uid == 0 ? PRIVILEGES_BIT(CAP_NET_BIND_SERVICE) : 0);
    *sandbox = (struct proxy_sandbox){.spec = *spec};
    sem_init(&sandbox->has_entered, 0, 0);
    if (spec->uid != 0) {
        if (!privileges_become(spec->uid, keep, err)) {
            return false;
        }
        in_force(sandbox, SANDBOX_USER, "");
    } else {
        missing(sandbox, SANDBOX_USER, "the agent is not root, and the proxy runs as its user");
    }
    if (!privileges_keep(keep, err)) {
        return false;
    }
    if (spec->has_caller_addresses && !privileges_has(CAP_NET_RAW)) {
        return err_set(err, "--caller-addresses: the capability CAP_NET_RAW is missing%s",
                       spec->uid != 0 ? "" : "; start tabard-agent with it, or as root");
    }
    note_capabilities(sandbox);
    process_harden();
    note_dumpable(sandbox);
    if (!privileges_freeze(err)) {
        return false;
    }
    in_force(sandbox, SANDBOX_NO_NEW_PRIVILEGES, "");
    if (is_off(sandbox)) {
        sandbox_all_off(&sandbox->facts, optional, sizeof optional / sizeof optional[0]);
        return true;
    }
    look_for_landlock(sandbox);
    return true;
}

bool proxy_sandbox_close_files(struct proxy_sandbox *sandbox, struct err *err)
{
    struct landlock_rights rights = landlock_known(sandbox->abi);
    rights.ports = 0; // each thread has its own
#ifdef SANDBOX_SANITIZED
    rights.files = 0; // a report is made of files
    missing(sandbox, SANDBOX_FILES, SANDBOX_SANITIZED_WHY);
#else
    if (rights.files != 0) {
        in_force(sandbox, SANDBOX_FILES, "");
    }
#endif
    if (rights.scopes != 0) {
        in_force(sandbox, SANDBOX_SCOPES, "");
    }
    return is_off(sandbox) || landlock_give_up(&rights, false, err);
}

void proxy_sandbox_enter_worker(struct proxy_sandbox *sandbox)
{
    struct err err = {0};
    struct landlock_rights rights = {.ports = landlock_known(sandbox->abi).ports &
                                              LANDLOCK_ACCESS_NET_BIND_TCP};
    if (!is_off(sandbox) && !landlock_give_up(&rights, true, &err)) {
        log_error("msg=\"a worker can't give up its ports\" error=\"%s\"", err.text);
        atomic_store(&sandbox->is_bad, true);
    }
    sem_post(&sandbox->has_entered);
}

static bool close_ports(struct proxy_sandbox *sandbox, unsigned num_workers, struct err *err)
{
    for (unsigned i = 0; i < num_workers; i++) {
        while (sem_wait(&sandbox->has_entered) != 0) {
        }
    }
    struct landlock_rights rights = {.ports = landlock_known(sandbox->abi).ports &
                                              LANDLOCK_ACCESS_NET_CONNECT_TCP};
    if (rights.ports != 0) {
        in_force(sandbox, SANDBOX_PORTS, "");
    }
    return is_off(sandbox) ||
           (atomic_load(&sandbox->is_bad) ? err_set(err, "a worker can't give up its ports")
                                          : landlock_give_up(&rights, false, err));
}

// The limit on files is left alone, for the log may be one, and so is that on descriptors.
static bool close_limits(struct proxy_sandbox *sandbox, struct err *err)
{
    static const struct {
        int limit;
        const char *name;
    } limits[] = {{RLIMIT_CORE, "RLIMIT_CORE"},
#ifndef SANDBOX_SANITIZED
                  {RLIMIT_NPROC, "RLIMIT_NPROC"}, // threads, too
#endif
                  {RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
                  {RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (setrlimit(limits[i].limit, &(struct rlimit){0, 0}) != 0) {
            return err_set(err, "%s: %s", limits[i].name, strerror(errno));
        }
    }
    in_force(sandbox, SANDBOX_LIMITS, "");
    return true;
}

// Whether the filter can be loaded.
static bool look_for_seccomp(struct proxy_sandbox *sandbox)
{
    const char *why;
    bool can = syscalls_can_filter(&why);
#ifdef SANDBOX_SANITIZED
    can = false;
    why = SANDBOX_SANITIZED_WHY;
#endif
    if (!can) {
        missing(sandbox, SANDBOX_SYSTEM_CALLS, why);
        return false;
    }
    in_force(sandbox, SANDBOX_SYSTEM_CALLS, "");
    return true;
}

bool proxy_sandbox_close(struct proxy_sandbox *sandbox, unsigned num_workers, struct err *err)
{
    if (!close_ports(sandbox, num_workers, err)) {
        return false;
    }
    if (is_off(sandbox)) {
        log_warn("msg=\"THE SANDBOX IS OFF (--sandbox=off): system calls, files and ports are open "
                 "to whoever takes over this proxy\"");
        return true;
    }
    if (!close_limits(sandbox, err)) {
        return false;
    }
    bool can_filter = look_for_seccomp(sandbox);
    if (!sandbox_check(&sandbox->facts, sandbox->spec.mode, err)) {
        return false;
    }
    sandbox_log(&sandbox->facts);
    return !can_filter || (violation_tell(sandbox->spec.tell_fd, err) && proxy_syscalls_load(err));
}
