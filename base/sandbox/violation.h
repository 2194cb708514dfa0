// SPDX-License-Identifier: Apache-2.0
//
// What a program's last words are when it makes a system call that its filter traps. The kernel has
// refused the call then, and sends SIGSYS; the handler writes the call's number to a descriptor and
// ends the process by the same signal, so that whoever started it can name the call. The handler is
// for naming only: a program that can't run it (SIGSYS is blocked, its stack is gone) is ended by
// the kernel, and the filter allows nobody to set another handler.
#ifndef TABARD_BASE_SANDBOX_VIOLATION_H
#define TABARD_BASE_SANDBOX_VIOLATION_H

#include <stdbool.h>

#include "base/err.h"

#define VIOLATION_TEXT_MAX 64

// violation_tell installs the handler, which writes to `fd`, a socket, and never waits for room in
// it. Once, before the filter is loaded.
bool violation_tell(int fd, struct err *err);

// violation_read returns the number that a process wrote to the other end of `fd`, a socket, before
// it ended, or -1: it wrote none. That is the process's own word: whoever has taken it over may
// have written another number first.
int violation_read(int fd);

// violation_text names a system call of this machine by its number, as "openat", or says the
// number.
const char *violation_text(int number, char buf[VIOLATION_TEXT_MAX]);

#endif
