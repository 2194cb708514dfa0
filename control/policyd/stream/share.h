// SPDX-License-Identifier: Apache-2.0
//
// What the streams of one identity use together: how many there are, and its signing requests. The
// service calls share_join for each stream that it admits and share_leave at its end, and
// share_sweep now and then. A share outlives its streams until its bucket is full again, so that a
// new stream brings no new burst. Heap, owned by the shares; the loop's thread only; bounded by the
// identities that were admitted lately.
#ifndef TABARD_CONTROL_POLICYD_STREAM_SHARE_H
#define TABARD_CONTROL_POLICYD_STREAM_SHARE_H

#include "base/data/list.h"
#include "control/policyd/ca/issue.h"
#include "control/policyd/world/table.h"

#define SHARE_CSR_BURST      256 // signing requests of one identity at once
#define SHARE_CSR_PER_SECOND 10  // and in the long run,
#define SHARE_CSR_PER_STREAM                                                                       \
    0.05 // beside this for each of its streams: a fleet may be one identity

struct share {
    struct table_link table_link; // first
    struct list link;             // in the shares' list
    struct list streams;          // of share_stream, oldest first
    uint32_t num_streams;
    struct issue_queue queue;
    char *id; // owned
};

// Embedded by a stream.
struct share_stream {
    struct share *share; // NULL: not joined
    struct list link;
};

struct shares {
    struct table table;
    struct list all;
};

void shares_init(struct shares *shares);
void shares_cleanup(struct shares *shares); // every stream must have left

void share_join(struct shares *shares, struct share_stream *stream, const char *id);
void share_leave(struct share_stream *stream);

// share_largest returns the share with the most streams, or NULL.
struct share *share_largest(const struct shares *shares);

// share_sweep frees the shares without streams whose bucket is full again.
void share_sweep(struct shares *shares, uint64_t now_ms);

#endif
