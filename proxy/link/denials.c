// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/denials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/must.h"

struct denial {
    struct denial *next;       // in its bucket
    struct list link;          // in a list of the table's
    struct denial_facts facts; // its texts are owned: they stand behind the struct
    uint64_t hash;
    uint64_t count;
    int64_t first_unix_ms;
    int64_t last_unix_ms;
};

void denials_init(struct denials *table)
{
    *table = (struct denials){0};
    // A stranger who could tell the buckets could fill one of them.
    invariant(getrandom(&table->seed, sizeof table->seed, 0) == sizeof table->seed);
    for (size_t i = 0; i < NUM_DENIAL_WORTHS; i++) {
        list_init(&table->once[i]);
        list_init(&table->often[i]);
    }
}

static enum denial_worth worth_of(const struct denial_facts *facts)
{
    return facts->peer != NULL                      ? DENIAL_PEER
           : facts->direction == DIRECTION_OUTBOUND ? DENIAL_OWN
                                                    : DENIAL_STRANGER;
}

// What tells entries apart, with zeros in place of what doesn't count. Of a source it is a prefix
// that one caller can be expected to have alone (RFC 6177: an IPv6 site has no less than a /64).
static struct denial_facts key_of(const struct denial_facts *facts)
{
    struct denial_facts key = *facts;
    if (facts->peer != NULL || facts->direction == DIRECTION_OUTBOUND) {
        key.source = (struct ip){{0}};
    } else if (!ip_is_v4(&facts->source)) {
        key.source = ip_masked(&facts->source, 64);
    }
    if (facts->direction == DIRECTION_INBOUND) {
        key.destination = (struct addr){.port = facts->destination.port};
    }
    return key;
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static uint64_t hash_of(const struct denials *table, const struct denial_facts *key)
{
    uint64_t hash = table->seed;
    if (key->peer != NULL) {
        hash = mix(hash, key->peer, strlen(key->peer));
    }
    hash = mix(hash, &key->source, sizeof key->source);
    hash = mix(hash, &key->destination.ip, sizeof key->destination.ip);
    hash = mix(hash, &key->destination.port, sizeof key->destination.port);
    hash = mix(hash, key->reason, strlen(key->reason));
    hash = mix(hash, key->policy, strlen(key->policy));
    return mix(hash, &key->rule, sizeof key->rule);
}

static bool is_same(const struct denial_facts *a, const struct denial_facts *b)
{
    return a->direction == b->direction && a->rule == b->rule &&
           (a->peer == NULL) == (b->peer == NULL) &&
           (a->peer == NULL || strcmp(a->peer, b->peer) == 0) && ip_equal(&a->source, &b->source) &&
           addr_equal(&a->destination, &b->destination) && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->policy, b->policy) == 0;
}

static struct denial **find(struct denials *table, uint64_t hash, const struct denial_facts *key)
{
    struct denial **at = &table->buckets[hash % DENIALS_BUCKETS];
    while (*at != NULL && ((*at)->hash != hash || !is_same(&(*at)->facts, key))) {
        at = &(*at)->next;
    }
    return at;
}

static void drop(struct denials *table, struct denial *denial)
{
    struct denial **at = &table->buckets[denial->hash % DENIALS_BUCKETS];
    while (*at != denial) {
        at = &(*at)->next;
    }
    *at = denial->next;
    list_remove(&denial->link);
    table->num--;
    table->num_dropped += denial->count;
    free(denial);
}

// Takes out one entry that is worth no more than this. false: there is none.
static bool make_room(struct denials *table, enum denial_worth worth)
{
    for (size_t i = 0; i <= (size_t)worth; i++) {
        struct list *const lists[] = {&table->once[i], &table->often[i]};
        for (size_t k = 0; k < 2; k++) {
            if (!list_is_empty(lists[k])) {
                drop(table, LIST_OF(lists[k]->next, struct denial, link));
                return true;
            }
        }
    }
    return false;
}

void denials_limit(struct denials *table, uint32_t num_max)
{
    table->num_max = num_max;
    while (table->num > num_max && make_room(table, DENIAL_PEER)) {
    }
}

void denials_cleanup(struct denials *table)
{
    denials_limit(table, 0);
}

static struct denial *denial_new(const struct denial_facts *key, uint64_t hash)
{
    size_t peer_len = key->peer != NULL ? strlen(key->peer) + 1 : 0;
    size_t policy_len = strlen(key->policy) + 1;
    struct denial *denial = must_alloc(1, sizeof *denial + peer_len + policy_len);
    char *texts = (char *)(denial + 1);
    denial->facts = *key;
    denial->hash = hash;
    memcpy(texts, key->policy, policy_len);
    denial->facts.policy = texts;
    if (key->peer != NULL) {
        memcpy(texts + policy_len, key->peer, peer_len);
        denial->facts.peer = texts + policy_len;
    }
    return denial;
}

void denials_note(struct denials *table, const struct denial_facts *facts, int64_t unix_ms)
{
    struct denial_facts key = key_of(facts);
    enum denial_worth worth = worth_of(&key);
    uint64_t hash = hash_of(table, &key);
    struct denial *denial = *find(table, hash, &key);
    if (denial == NULL) {
        if (table->num_max == 0 || (table->num >= table->num_max && !make_room(table, worth))) {
            table->num_dropped++;
            return;
        }
        denial = denial_new(&key, hash);
        denial->first_unix_ms = unix_ms;
        denial->next = table->buckets[hash % DENIALS_BUCKETS];
        table->buckets[hash % DENIALS_BUCKETS] = denial;
        table->num++;
    }
    denial->count++;
    denial->last_unix_ms = unix_ms;
    denial->facts.generation = facts->generation;
    list_remove(&denial->link);
    list_push(denial->count == 1 ? &table->once[worth] : &table->often[worth], &denial->link);
}

static void write_places(Tabard__V1__Denial *out, const struct denial_facts *facts)
{
    char buf[ADDR_TEXT_MAX];
    out->source = must_strdup("");
    if (facts->direction == DIRECTION_OUTBOUND) {
        out->destination = must_strdup(addr_text(&facts->destination, buf));
        return;
    }
    snprintf(buf, sizeof buf, "%u", facts->destination.port);
    out->destination = must_strdup(buf);
    if (facts->peer == NULL) {
        const struct cidr block = {.ip = facts->source, .prefix_bits = 64};
        free(out->source);
        out->source = must_strdup(ip_is_v4(&facts->source) ? ip_text(&facts->source, buf)
                                                           : cidr_text(&block, buf));
    }
}

static Tabard__V1__Denial *describe(const struct denial *denial)
{
    const struct denial_facts *facts = &denial->facts;
    Tabard__V1__Denial *out = must_alloc(1, sizeof *out);
    tabard__v1__denial__init(out);
    out->direction = must_strdup(direction_text(facts->direction));
    out->reason = must_strdup(facts->reason);
    out->peer = must_strdup(facts->peer != NULL ? facts->peer : "");
    write_places(out, facts);
    out->policy = must_strdup(facts->policy);
    if (facts->rule >= 0) {
        out->deciding_case = TABARD__V1__DENIAL__DECIDING_RULE;
        out->rule = (uint32_t)facts->rule;
    }
    out->count = denial->count;
    out->first_unix_ms = denial->first_unix_ms;
    out->last_unix_ms = denial->last_unix_ms;
    out->generation = facts->generation;
    return out;
}

void denials_report(const struct denials *table, Tabard__V1__Denial **list, size_t *num)
{
    for (size_t i = 0; i < DENIALS_BUCKETS; i++) {
        for (const struct denial *at = table->buckets[i]; at != NULL; at = at->next) {
            list[(*num)++] = describe(at);
        }
    }
}
