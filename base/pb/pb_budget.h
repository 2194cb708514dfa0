// SPDX-License-Identifier: Apache-2.0
//
// A protobuf-c allocator that gives out at most bytes_left bytes for one message, so that a small
// frame can't unpack into all of memory. It stands on the caller's stack for as long as the message
// lives. Freed bytes are not counted back: a message is built once and freed whole.
#ifndef TABARD_BASE_PB_BUDGET_H
#define TABARD_BASE_PB_BUDGET_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct pb_budget {
    size_t bytes_left;
};

// pb_budget_allocator returns an allocator that draws on `budget`, which must outlive it.
ProtobufCAllocator pb_budget_allocator(struct pb_budget *budget);

#endif
