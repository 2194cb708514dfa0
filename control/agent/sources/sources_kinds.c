// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/sources.h"

#include <stddef.h>

const struct source_kind *const sources_kinds[] = {
#define X(source) &source##_kind,
    SOURCES(X)
#undef X
        NULL};

_Static_assert(sizeof sources_kinds / sizeof sources_kinds[0] <= SOURCES_MAX,
               "the files and the others");
