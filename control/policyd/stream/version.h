// SPDX-License-Identifier: Apache-2.0
//
// The versions of what sidecars are sent: one counter for all that share a folder, in its file
// `version`. A draw is max(the clock in microseconds, the last draw of anybody + 1), taken under a
// file lock, so
//   - versions grow strictly, whoever draws, over restarts and through clocks that go back;
//   - a policyd that takes over a sidecar from another draws once if the sidecar holds a version
//     that is higher than its own last one, and is then above every version given before
//     (version_reach), so that the sidecar does not take its state for an old one;
//   - a folder that was lost or brought back goes on above its past as long as the clock is right.
//     If the clock is not, the sidecars refuse, as they should, keep what they have, and say so
//     (the operator then sets accept_older).
// The service draws one for each batch of changes, not for each sidecar. Without the file (disk
// full, say) a policyd goes on by the clock and its own last draw. One thread.
#ifndef TABARD_CONTROL_POLICYD_STREAM_VERSION_H
#define TABARD_CONTROL_POLICYD_STREAM_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct version {
    int fd;        // owned; -1: no file
    uint64_t last; // what this process drew last
};

// version_open opens or makes DIR/version and draws once. false sets err; the struct can be cleaned
// up in any case.
bool version_open(struct version *out, const char *dir, uint64_t now_us, struct err *err);
void version_cleanup(struct version *version);

// version_draw makes version->last higher than every version before. false sets err: the file can't
// be read or written, and version->last is higher only than what this process knows of.
bool version_draw(struct version *version, uint64_t now_us, struct err *err);

// version_reach raises version->last to at least the version `held` by a sidecar, if that one was
// drawn from this folder. false: it was not.
bool version_reach(struct version *version, uint64_t held, uint64_t now_us);

#endif
