// SPDX-License-Identifier: Apache-2.0
#include "base/sandbox/landlock.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORT_RULE 2 // an enumerator of the header of ABI 4

// The header's landlock_ruleset_attr as of ABI 6, and the attributes of a rule about a port. An
// older kernel takes the longer one as long as what it doesn't know is 0.
struct ruleset {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

struct port_rule {
    uint64_t allowed_access;
    uint64_t port;
};

int landlock_abi(const char **out_why)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    *out_why = abi > 0           ? ""
               : errno == ENOSYS ? "this kernel has no Landlock"
               : errno == EOPNOTSUPP
                   ? "Landlock is not turned on (the kernel's parameter lsm=)"
                   : "Landlock is refused, perhaps by a container's seccomp profile";
    return abi > 0 ? (int)abi : 0;
}

struct landlock_rights landlock_known(int abi)
{
    struct landlock_rights known = {0};
    if (abi >= 1) {
        known.files = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    }
    if (abi >= 2) {
        known.files |= LANDLOCK_ACCESS_FS_REFER;
    }
    if (abi >= 3) {
        known.files |= LANDLOCK_ACCESS_FS_TRUNCATE;
    }
    if (abi >= LANDLOCK_ABI_PORTS) {
        known.ports = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    }
    if (abi >= 5) {
        known.files |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    }
    if (abi >= LANDLOCK_ABI_SCOPES) {
        known.scopes = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    }
    return known;
}

bool landlock_give_up(const struct landlock_rights *rights, bool may_bind_any_free_port,
                      struct err *err)
{
    struct ruleset ruleset = {.handled_access_fs = rights->files,
                              .handled_access_net = rights->ports,
                              .scoped = rights->scopes};
    struct port_rule any_free_port = {.allowed_access = LANDLOCK_ACCESS_NET_BIND_TCP};
    if (rights->files == 0 && rights->ports == 0 && rights->scopes == 0) {
        return true;
    }
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof ruleset, 0);
    if (fd < 0) {
        return err_set(err, "landlock_create_ruleset: %s", strerror(errno));
    }
    bool ok = (!may_bind_any_free_port ||
               syscall(SYS_landlock_add_rule, fd, PORT_RULE, &any_free_port, 0) == 0) ||
              err_set(err, "landlock_add_rule: %s", strerror(errno));
    ok = ok && (syscall(SYS_landlock_restrict_self, fd, 0) == 0 ||
                err_set(err, "landlock_restrict_self: %s", strerror(errno)));
    close(fd);
    return ok;
}
