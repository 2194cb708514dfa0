// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/fleet/multimap.h"

struct link {
    uint32_t value;
    uint32_t next; // 1 more than the next link's number; 0: there is none
};

void multimap_cleanup(struct multimap *map)
{
    keymap_cleanup(&map->keys);
    array_cleanup(&map->links);
}

void multimap_add(struct multimap *map, const void *bytes, size_t len, uint32_t tag, uint32_t value)
{
    struct keymap_key key = keymap_key_of(bytes, len, tag);
    bool is_new = false;
    uint32_t *head = keymap_put(&map->keys, &key, &is_new);
    struct link *link = array_add(&map->links, sizeof *link);
    *link = (struct link){.value = value, .next = *head};
    *head = map->links.num;
}

void multimap_add_pattern(struct multimap *map, const struct spiffe_pattern *pattern,
                          uint32_t value)
{
    multimap_add(map, pattern->text, pattern->text_len, pattern->kind, value);
}

static bool each_of(const struct multimap *map, const struct keymap_key *key,
                    multimap_on_value *on_value, void *ctx)
{
    const uint32_t *head = keymap_find(&map->keys, key);
    const struct link *links = map->links.items;
    for (uint32_t at = head == NULL ? 0 : *head; at != 0; at = links[at - 1].next) {
        if (!on_value(ctx, links[at - 1].value)) {
            return false;
        }
    }
    return true;
}

bool multimap_each(const struct multimap *map, const void *bytes, size_t len, uint32_t tag,
                   multimap_on_value *on_value, void *ctx)
{
    struct keymap_key key = keymap_key_of(bytes, len, tag);
    return each_of(map, &key, on_value, ctx);
}

// One pass over the id gives the hashes of all its beginnings that a pattern can name.
bool multimap_each_match(const struct multimap *map, const struct spiffe_id *id,
                         multimap_on_value *on_value, void *ctx)
{
    size_t domain_end = (size_t)(id->domain - id->text) + id->domain_len;
    struct keymap_key key = {
        .bytes = id->text, .len = (uint32_t)domain_end, .tag = SPIFFE_PATTERN_TRUST_DOMAIN};
    key.bytes_hash = keymap_hash(KEYMAP_HASH_START, id->text, domain_end);
    if (!each_of(map, &key, on_value, ctx)) {
        return false;
    }
    key.tag = SPIFFE_PATTERN_PREFIX;
    for (size_t i = domain_end; i < id->text_len; i++) {
        key.bytes_hash = keymap_hash(key.bytes_hash, id->text + i, 1);
        key.len = (uint32_t)i + 1;
        if (id->text[i] == '/' && !each_of(map, &key, on_value, ctx)) {
            return false;
        }
    }
    key.tag = SPIFFE_PATTERN_EXACT;
    return each_of(map, &key, on_value, ctx);
}
