// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/world/table.h"

#include <openssl/rand.h>
#include <openssl/siphash.h>
#include <stdlib.h>

#include "base/must.h"

#define CAP_MIN 64

void table_cleanup(struct table *table)
{
    free(table->heads);
    *table = (struct table){.heads = NULL};
}

uint64_t table_hash(struct table *table, const void *bytes, size_t len)
{
    while (table->seed == 0) {
        RAND_bytes((uint8_t *)&table->seed, sizeof table->seed);
    }
    const uint64_t key[2] = {table->seed, ~table->seed};
    return SIPHASH_24(key, bytes, len);
}

static struct table_link *with_hash(struct table_link *link, uint64_t hash)
{
    while (link != NULL && link->hash != hash) {
        link = link->next;
    }
    return link;
}

struct table_link *table_first(const struct table *table, uint64_t hash)
{
    return table->cap == 0 ? NULL : with_hash(table->heads[hash & (table->cap - 1)], hash);
}

struct table_link *table_next(const struct table_link *link)
{
    return with_hash(link->next, link->hash);
}

static void grow(struct table *table)
{
    uint32_t cap = table->cap == 0 ? CAP_MIN : table->cap * 2;
    struct table_link **heads = must_alloc(cap, sizeof *heads);
    for (uint32_t i = 0; i < table->cap; i++) {
        struct table_link *link = table->heads[i];
        while (link != NULL) {
            struct table_link *next = link->next;
            link->next = heads[link->hash & (cap - 1)];
            heads[link->hash & (cap - 1)] = link;
            link = next;
        }
    }
    free(table->heads);
    table->heads = heads;
    table->cap = cap;
}

void table_put(struct table *table, struct table_link *link, uint64_t hash)
{
    if (table->num >= table->cap) {
        grow(table);
    }
    link->hash = hash;
    link->next = table->heads[hash & (table->cap - 1)];
    table->heads[hash & (table->cap - 1)] = link;
    table->num++;
}

void table_remove(struct table *table, struct table_link *link)
{
    struct table_link **at = &table->heads[link->hash & (table->cap - 1)];
    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    link->next = NULL;
    table->num--;
}
