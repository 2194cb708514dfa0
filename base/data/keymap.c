// SPDX-License-Identifier: Apache-2.0
#include "base/data/keymap.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"

void keymap_cleanup(struct keymap *map)
{
    free(map->slots);
    *map = (struct keymap){0};
}

// FNV-1a; the table mixes the result once more, since this alone leaves its low bits weak.
uint64_t keymap_hash(uint64_t hash, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

struct keymap_key keymap_key_of(const void *bytes, size_t len, uint32_t tag)
{
    return (struct keymap_key){
        .bytes = bytes,
        .len = (uint32_t)len,
        .tag = tag,
        .bytes_hash = keymap_hash(KEYMAP_HASH_START, bytes, len),
    };
}

static uint64_t mix(const struct keymap_key *key)
{
    uint64_t hash = key->bytes_hash ^ ((uint64_t)key->tag * UINT64_C(0x9e3779b97f4a7c15));
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 32;
}

// Returns the slot that holds the key, or the free one where it would go. cap is a power of two and
// the table is never full.
static struct keymap_slot *probe(struct keymap_slot *slots, uint32_t cap, uint64_t hash,
                                 const struct keymap_key *key)
{
    for (uint32_t i = (uint32_t)hash & (cap - 1);; i = (i + 1) & (cap - 1)) {
        struct keymap_slot *slot = &slots[i];
        if (slot->bytes == NULL ||
            (slot->hash == hash && slot->len == key->len && slot->tag == key->tag &&
             memcmp(slot->bytes, key->bytes, key->len) == 0)) {
            return slot;
        }
    }
}

static void grow(struct keymap *map)
{
    uint32_t cap = map->cap == 0 ? 16 : map->cap * 2;
    struct keymap_slot *slots = must_alloc(cap, sizeof *slots);
    for (uint32_t i = 0; i < map->cap; i++) {
        const struct keymap_slot *old = &map->slots[i];
        if (old->bytes != NULL) {
            struct keymap_key key = {.bytes = old->bytes, .len = old->len, .tag = old->tag};
            *probe(slots, cap, old->hash, &key) = *old;
        }
    }
    free(map->slots);
    map->slots = slots;
    map->cap = cap;
}

uint32_t *keymap_put(struct keymap *map, const struct keymap_key *key, bool *out_is_new)
{
    if (map->num_keys + 1 > map->cap / 4 * 3) {
        grow(map);
    }
    uint64_t hash = mix(key);
    struct keymap_slot *slot = probe(map->slots, map->cap, hash, key);
    *out_is_new = slot->bytes == NULL;
    if (*out_is_new) {
        *slot = (struct keymap_slot){
            .hash = hash, .bytes = key->bytes, .len = key->len, .tag = key->tag};
        map->num_keys++;
    }
    return &slot->value;
}

const uint32_t *keymap_find(const struct keymap *map, const struct keymap_key *key)
{
    if (map->cap == 0) {
        return NULL;
    }
    const struct keymap_slot *slot = probe(map->slots, map->cap, mix(key), key);
    return slot->bytes == NULL ? NULL : &slot->value;
}
