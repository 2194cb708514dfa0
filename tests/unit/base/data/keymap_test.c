// SPDX-License-Identifier: Apache-2.0
#include "base/data/keymap.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(keymap, .timeout = 10);

Test(keymap, an_empty_table_finds_nothing)
{
    struct keymap map = {0};
    struct keymap_key key = keymap_key_of("a", 1, 0);
    cr_expect_null(keymap_find(&map, &key));
    keymap_cleanup(&map);
}

Test(keymap, every_key_keeps_its_value_while_it_grows)
{
    enum { NUM_KEYS = 20000 };
    static char texts[NUM_KEYS][8];
    struct keymap map = {0};
    for (uint32_t i = 0; i < NUM_KEYS; i++) {
        bool is_new = false;
        int len = snprintf(texts[i], sizeof texts[i], "%u", i);
        struct keymap_key key = keymap_key_of(texts[i], (size_t)len, 7);
        uint32_t *value = keymap_put(&map, &key, &is_new);
        cr_assert(value != NULL && is_new && *value == 0, "%u", i);
        *value = i + 1;
    }
    for (uint32_t i = 0; i < NUM_KEYS; i++) {
        bool is_new = true;
        struct keymap_key key = keymap_key_of(texts[i], strlen(texts[i]), 7);
        const uint32_t *found = keymap_find(&map, &key);
        cr_assert(found != NULL && *found == i + 1, "%u", i);
        cr_assert(keymap_put(&map, &key, &is_new) == found && !is_new, "%u", i);
    }
    cr_expect_eq(map.num_keys, NUM_KEYS);
    keymap_cleanup(&map);
}

Test(keymap, tag_and_length_are_part_of_the_key)
{
    struct keymap map = {0};
    bool is_new = false;
    struct keymap_key key = keymap_key_of("ab", 2, 1);
    *keymap_put(&map, &key, &is_new) = 5;
    struct keymap_key others[] = {keymap_key_of("ab", 2, 2), keymap_key_of("a", 1, 1),
                                  keymap_key_of("ab\0", 3, 1), keymap_key_of("", 0, 1)};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_expect_null(keymap_find(&map, &others[i]), "%zu", i);
    }
    keymap_cleanup(&map);
}

Test(keymap, one_pass_gives_the_hashes_of_all_beginnings)
{
    static const char text[] = "spiffe://a/b/c";
    uint64_t hash = KEYMAP_HASH_START;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        hash = keymap_hash(hash, text + i, 1);
        cr_expect_eq(hash, keymap_key_of(text, i + 1, 0).bytes_hash, "%zu", i);
    }
}
