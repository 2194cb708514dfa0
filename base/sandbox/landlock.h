// SPDX-License-Identifier: Apache-2.0
//
// Landlock (landlock(7)): a thread gives up rights for good, and so do the threads and processes
// that it makes later. By raw system calls, since the C library has none; and with the names of
// <linux/landlock.h>, of which Debian's header may know too few. Call it with no_new_privs set.
#ifndef TABARD_BASE_SANDBOX_LANDLOCK_H
#define TABARD_BASE_SANDBOX_LANDLOCK_H

#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (UINT64_C(1) << 13) // ABI 2, Linux 5.19
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14) // ABI 3, Linux 6.2
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP    (UINT64_C(1) << 0) // ABI 4, Linux 6.7
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (UINT64_C(1) << 1)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15) // ABI 5, Linux 6.10
#endif
#ifndef LANDLOCK_SCOPE_SIGNAL
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0) // ABI 6, Linux 6.12
#define LANDLOCK_SCOPE_SIGNAL               (UINT64_C(1) << 1)
#endif

#define LANDLOCK_ABI_PORTS  4
#define LANDLOCK_ABI_SCOPES 6

// Rights that a thread has or gives up, as the kernel numbers them.
struct landlock_rights {
    uint64_t files;  // LANDLOCK_ACCESS_FS_...
    uint64_t ports;  // LANDLOCK_ACCESS_NET_...
    uint64_t scopes; // LANDLOCK_SCOPE_...: what reaches beyond the threads that gave it up
};

// landlock_abi returns the version of Landlock that the kernel has. 0: none, and out_why says why,
// in words.
int landlock_abi(const char **out_why);

// landlock_known returns all rights that Landlock of this version knows; those of later versions,
// about which nobody has thought yet, are not among them.
struct landlock_rights landlock_known(int abi);

// landlock_give_up gives up the rights for the calling thread. With may_bind_any_free_port it
// keeps, of LANDLOCK_ACCESS_NET_BIND_TCP, port 0. false sets err: the kernel refused, and nothing
// is given up.
bool landlock_give_up(const struct landlock_rights *rights, bool may_bind_any_free_port,
                      struct err *err);

#endif
