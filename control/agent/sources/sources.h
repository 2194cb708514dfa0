// SPDX-License-Identifier: Apache-2.0
//
// The table of the sources of configuration that stand beside mesh.yaml's own files. A source is
// one name here and two constants of its own that begin with the name: pa_field, what its field of
// mesh.yaml means, and pa_kind, the source at work. Its source_field says what a source fills, and
// so beside which others it may stand. Of two that fill the same slot the later one counts; the
// files count where none of the table fills the slot.
#ifndef TABARD_CONTROL_AGENT_SOURCES_SOURCES_H
#define TABARD_CONTROL_AGENT_SOURCES_SOURCES_H

#include "control/agent/snapshot/source.h"

#define SOURCES(X) X(pa)

#define X(source)                                                                                  \
    extern const struct source_field source##_field;                                               \
    extern const struct source_kind source##_kind;
SOURCES(X)
#undef X

// In the same order, each with a NULL at the end. tabardctl has the fields alone.
extern const struct source_field *const sources_fields[];
extern const struct source_kind *const sources_kinds[];

#endif
