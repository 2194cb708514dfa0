// SPDX-License-Identifier: Apache-2.0
//
// Asks the kernel whether anybody has a file open for writing, by a read lease (fcntl(2),
// F_SETLEASE). The caller has the file open for reading and holds the lease for the time of one
// reading at most. Any thread.
#ifndef TABARD_CONTROL_HOST_LEASE_H
#define TABARD_CONTROL_HOST_LEASE_H

enum lease {
    LEASE_HELD,   // nobody has it open for writing; open(2) for writing waits until lease_end
    LEASE_WRITER, // somebody has, also by another of its names, a bind mount or mmap(2)
    LEASE_DENIED, // not told: another user's file, and this process has no CAP_LEASE
    LEASE_BLIND,  // not told: a file system that may be written from elsewhere, or has no leases
};

// lease_begin tries to take the lease. Only LEASE_HELD must be followed by lease_end.
enum lease lease_begin(int fd);
void lease_end(int fd);

#endif
