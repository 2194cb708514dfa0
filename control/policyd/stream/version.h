// SPDX-License-Identifier: Apache-2.0
//
// The versions of what sidecars are sent. They grow strictly; a sidecar refuses one that is lower
// than what it holds. The service draws one for each batch of changes, not for each sidecar, and
// asks before it sends a sidecar anything whether what it has is as new as what the sidecar holds.
// One thread. There are two sources of them.
//
// A folder (version_open): one counter for all policyds that share it, in its file `version`. A
// draw is max(the clock in microseconds, the last draw of anybody + 1), taken under a file lock, so
//   - versions grow strictly, whoever draws, over restarts and through clocks that go back;
//   - a policyd that takes over a sidecar from another draws once if the sidecar holds a version
//     that is higher than its own last one, and is then above every version given before, so that
//     the sidecar does not take its state for an old one;
//   - a folder that was lost or brought back goes on above its past as long as the clock is right.
//     If the clock is not, the sidecars refuse, as they should, keep what they have, and say so
//     (the operator then sets accept_older).
// Without the file (disk full, say) a policyd goes on by the clock and its own last draw.
//
// Kubernetes (version_open_revision): the highest revision of the objects that a state was made of,
// and below it a counter of VERSION_COUNTER_BITS. Replicas share nothing but the API server, and
// the watches of each lag by themselves; so a sidecar that holds a version of a later revision than
// the one up to which this replica surely has everything waits until it has (version_revise), or
// until all objects were listed anew (version_relisted), which nothing in the API server is newer
// than. A sidecar that says that it holds something else than it does delays nobody but itself.
#ifndef TABARD_CONTROL_POLICYD_STREAM_VERSION_H
#define TABARD_CONTROL_POLICYD_STREAM_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define VERSION_COUNTER_BITS 16
#define VERSION_RELIST_US    5000000 // between the beginnings of two lists of everything

enum version_reach {
    VERSION_REACHED, // what we have is as new as what the sidecar holds
    VERSION_LATER,   // it may not be: ask again later
    VERSION_FOREIGN  // the version was never given by this source, as far as it knows
};

struct version_kind; // opaque

// Zero state: not open, and safe to clean up.
struct version {
    const struct version_kind *kind;
    uint64_t last; // what was drawn last
    int fd;        // owned: the folder's file; -1: none
    // Of Kubernetes:
    uint64_t revision; // the highest of the objects that we have
    uint64_t complete; // up to which we have all of them
    // Lists of everything: how many were asked for, begun and done. One runs at a time.
    uint64_t num_wanted;
    uint64_t num_begun;
    uint64_t num_done;
    uint64_t begun_us;
    uint64_t wanted; // up to which revision the next one must reach
    void *ctx;
    void (*on_relist)(void *ctx, uint64_t revision);
};

// version_open opens or makes DIR/version and draws once. false sets err; the struct can be cleaned
// up in any case.
bool version_open(struct version *out, const char *dir, uint64_t now_us, struct err *err);

// version_open_revision begins without any object. on_relist asks the source of objects to list
// anew, from the store and not from a cache, all kinds of which it does not surely have everything
// up to `revision`, and to call version_relisted when it has taken them in, however long it takes.
void version_open_revision(struct version *out, void (*on_relist)(void *ctx, uint64_t revision),
                           void *ctx);
void version_cleanup(struct version *version);

// version_draw makes version->last higher than every version before. false sets err: the file can't
// be read or written, and version->last is higher only than what this process knows of.
bool version_draw(struct version *version, uint64_t now_us, struct err *err);

// version_reach says whether a sidecar that holds the version `held` may be sent what we have. Of a
// folder it raises version->last above it first. *ticket is 0 the first time, and kept by the
// caller from one time to the next.
enum version_reach version_reach(struct version *version, uint64_t held, uint64_t *ticket,
                                 uint64_t now_us);

// version_least returns the least version to send to a sidecar that held one when it came and may
// be sent what we have.
uint64_t version_least(const struct version *version, uint64_t held);

// Kubernetes alone. version_revise says up to which revision there is something, and up to which
// there is all; both only grow. To be called before what was made of the objects is put in force.
// version_tick has a list begun that is due; the service calls it.
void version_revise(struct version *version, uint64_t revision, uint64_t complete);
void version_relisted(struct version *version);
void version_tick(struct version *version, uint64_t now_us);

#endif
