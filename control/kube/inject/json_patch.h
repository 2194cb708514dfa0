// SPDX-License-Identifier: Apache-2.0
//
// JSON patches (RFC 6902) over jansson's trees: `inject` writes one, `tabardctl inject` and the
// tests apply it. Paths are JSON Pointers (RFC 6901). Pure; one tree, one thread at a time.
#ifndef TABARD_CONTROL_KUBE_INJECT_JSON_PATCH_H
#define TABARD_CONTROL_KUBE_INJECT_JSON_PATCH_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

// json_patch_add appends an operation "add" to `patch`, an array. The path is what the format makes
// of its arguments; a member's name in it comes from json_patch_escape. `value` is taken over.
void json_patch_add(json_t *patch, json_t *value, const char *path, ...)
    __attribute__((format(printf, 3, 4)));

// json_patch_escape writes a member's name as RFC 6901, section 3 has it ("~" as "~0", "/" as
// "~1"). Malloc'd, the caller's.
char *json_patch_escape(const char *name);

// json_patch_apply changes `document` by the operations "add", "replace" and "remove", one after
// the other (RFC 6902, section 4). false sets err with the number of the operation that could not
// be done; the document is then changed in part, and good for nothing. The whole document (path "")
// can't be named.
bool json_patch_apply(json_t *document, const json_t *patch, struct err *err);

#endif
