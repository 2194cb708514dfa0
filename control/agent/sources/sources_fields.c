// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/sources.h"

#include <stddef.h>

const struct source_field *const sources_fields[] = {
#define X(source) &source##_field,
    SOURCES(X)
#undef X
        NULL};

_Static_assert(sizeof sources_fields / sizeof sources_fields[0] <= SOURCES_MAX,
               "the files and the others");
