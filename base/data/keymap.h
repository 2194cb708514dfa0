// SPDX-License-Identifier: Apache-2.0
//
// A hash table from byte strings to 32-bit values, for indexes that are built once and then only
// read, by any thread. It borrows the keys' bytes from its owner for as long as it lives. It is for
// keys that an operator wrote: a stranger could choose keys that collide and make it slow.
#ifndef TABARD_BASE_KEYMAP_H
#define TABARD_BASE_KEYMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keymap_slot {
    uint64_t hash;
    const void *bytes; // borrowed until cleanup; NULL: the slot is free
    uint32_t len;
    uint32_t tag;
    uint32_t value;
};

// Zero state: an empty table.
struct keymap {
    struct keymap_slot *slots; // owned
    uint32_t num_keys;
    uint32_t cap;
};

// A key is its bytes and a tag: two keys with the same bytes and different tags are different.
struct keymap_key {
    const void *bytes;
    uint32_t len;
    uint32_t tag;
    uint64_t bytes_hash; // keymap_hash over the bytes
};

void keymap_cleanup(struct keymap *map);

// keymap_hash continues a hash: the hash of "ab" is keymap_hash(keymap_hash(KEYMAP_HASH_START, "a",
// 1), "b", 1), so one pass over a text gives the hashes of all its prefixes.
#define KEYMAP_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t keymap_hash(uint64_t hash, const void *bytes, size_t len);

// keymap_key_of returns a key of these bytes, which it borrows, with its hash computed.
struct keymap_key keymap_key_of(const void *bytes, size_t len, uint32_t tag);

// keymap_put finds the key or adds it with value 0, and returns where its value is (until the next
// put). It aborts when there is no memory.
uint32_t *keymap_put(struct keymap *map, const struct keymap_key *key, bool *out_is_new);

// keymap_find returns where the key's value is, or NULL.
const uint32_t *keymap_find(const struct keymap *map, const struct keymap_key *key);

#endif
