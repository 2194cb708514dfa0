// SPDX-License-Identifier: Apache-2.0
//
// What version*.c share. Nobody else includes it.
#ifndef TABARD_CONTROL_POLICYD_STREAM_VERSION_IMPL_H
#define TABARD_CONTROL_POLICYD_STREAM_VERSION_IMPL_H

#include "control/policyd/stream/version.h"

// One source: its part of the functions of version.h.
struct version_kind {
    bool (*draw)(struct version *version, uint64_t now_us, struct err *err);
    enum version_reach (*reach)(struct version *version, uint64_t held, uint64_t *ticket,
                                uint64_t now_us);
    bool is_floored; // a sidecar is never sent less than it held
};

#endif
