// SPDX-License-Identifier: Apache-2.0
//
// The names of policies and destinations. They go into log lines and metrics as they are, so they
// hold nothing that could break one.
#ifndef TABARD_PROXY_RULES_NAME_H
#define TABARD_PROXY_RULES_NAME_H

#include <stddef.h>

#include "base/err.h"
#include "base/data/keymap.h"

// name_check refuses an empty name, one of more than len_max bytes, and any byte but printable
// ASCII without spaces, quotes, backslashes, # and =. false sets err, with err.where "name".
bool name_check(const char *name, size_t len_max, struct err *err);

// name_add checks a name and enters it in `names`, which borrows it for the map's life, as the name
// of list[number] ("policies[3]"). false sets err: the name is not allowed, or another item of the
// list has it.
bool name_add(struct keymap *names, const char *name, size_t len_max, const char *list,
              uint32_t number, struct err *err);

#endif
