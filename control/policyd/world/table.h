// SPDX-License-Identifier: Apache-2.0
//
// A hash table of structs that carry their own link, for items that come and go
// (base/data/keymap.h only grows). The items stay their owner's: it copies nothing and frees
// nothing but itself. One thread. Its seed is random, so that nobody can choose names that collide.
#ifndef TABARD_CONTROL_POLICYD_WORLD_TABLE_H
#define TABARD_CONTROL_POLICYD_WORLD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_link {
    struct table_link *next;
    uint64_t hash;
};

// Zero state: empty.
struct table {
    struct table_link **heads; // owned
    uint64_t seed;
    uint32_t cap; // a power of two, or 0
    uint32_t num;
};

void table_cleanup(struct table *table);

// table_hash is the hash of a key in this table.
uint64_t table_hash(struct table *table, const void *bytes, size_t len);

// table_first and table_next walk over the items with this hash; the caller compares keys. NULL: no
// more.
struct table_link *table_first(const struct table *table, uint64_t hash);
struct table_link *table_next(const struct table_link *link);

// table_put adds an item whose key isn't there.
void table_put(struct table *table, struct table_link *link, uint64_t hash);
void table_remove(struct table *table, struct table_link *link);

#endif
