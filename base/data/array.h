// SPDX-License-Identifier: Apache-2.0
//
// An array that grows by doubling, for what is built once out of a message and then only read, by
// any thread. A pointer into it holds until the next array_add. The array doesn't know the type of
// its items, so every use names the type.
#ifndef TABARD_BASE_ARRAY_H
#define TABARD_BASE_ARRAY_H

#include <stddef.h>
#include <stdint.h>

// Zero state: empty.
struct array {
    void *items; // owned
    uint32_t num;
    uint32_t cap;
};

void array_cleanup(struct array *array);

// array_add makes room for one more item, zeroed, and returns it. It aborts when there is no
// memory.
void *array_add(struct array *array, size_t item_size);

#endif
