// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // F_SETLEASE, F_SETSIG
#include "control/host/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/vfs.h>

#define XFS_MAGIC      0x58465342
#define ZFS_MAGIC      0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e

// Only this host's kernel writes to these. Leases on others say nothing of other hosts' writers
// (NFS answers as if there were one, FUSE as if there were none).
static bool is_local(int fd)
{
    static const unsigned long local[] = {
        EXT4_SUPER_MAGIC, XFS_MAGIC,      BTRFS_SUPER_MAGIC,     F2FS_SUPER_MAGIC,
        ZFS_MAGIC,        BCACHEFS_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC,
        RAMFS_MAGIC,      SQUASHFS_MAGIC, EROFS_SUPER_MAGIC_V1,
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (((unsigned long)fs.f_type & 0xffffffff) == local[i]) {
            return true;
        }
    }
    return false;
}

enum lease lease_begin(int fd)
{
    if (!is_local(fd)) {
        return LEASE_BLIND;
    }
    // A writer that comes while the lease is held makes the kernel send a signal: one that nobody
    // hears, instead of SIGIO, which would end the process.
    if (fcntl(fd, F_SETSIG, SIGURG) != 0) {
        return LEASE_BLIND;
    }
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        return LEASE_HELD;
    }
    return errno == EAGAIN ? LEASE_WRITER : errno == EACCES ? LEASE_DENIED : LEASE_BLIND;
}

void lease_end(int fd)
{
    fcntl(fd, F_SETLEASE, F_UNLCK);
}
