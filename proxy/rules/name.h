// SPDX-License-Identifier: Apache-2.0
//
// The names of policies and destinations.
// Borrowed; any thread; as long as the caller allows.
// They go into log lines and metrics as they are, so they hold nothing that could break one.
// Uniqueness is the caller's.
#ifndef TABARD_PROXY_RULES_NAME_H
#define TABARD_PROXY_RULES_NAME_H

#include <stddef.h>

#include "base/err.h"

// name_check refuses an empty name, one of more than len_max bytes, and spaces, quotes,
// backslashes, #, =, and anything but printable ASCII. false sets err, with err.where "name".
bool name_check(const char *name, size_t len_max, struct err *err);

#endif
