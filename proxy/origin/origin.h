// SPDX-License-Identifier: Apache-2.0
//
// Finds out where a redirected connection was going. STEP_ORIGIN asks, and refuses a destination
// that may not be followed.
#ifndef TABARD_PROXY_ORIGIN_ORIGIN_H
#define TABARD_PROXY_ORIGIN_ORIGIN_H

#include <stdbool.h>

#include "base/addr.h"

// The three addresses of an accepted socket. original equals local when the connection was not
// redirected: the kernel then answers with the socket's own address. A link-local one has its
// scope, whatever the caller's address is.
struct origin {
    struct addr peer;
    struct addr local;
    struct addr original;
};

// origin_read asks the kernel for `peer` and `local` and, with is_intercepted, for `original`
// (SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST). false sets errno: the peer is gone, or the kernel
// knows no original destination.
bool origin_read(struct origin *out, int fd, bool is_intercepted);

#endif
