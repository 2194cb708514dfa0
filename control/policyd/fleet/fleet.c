// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/fleet/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/fleet/fleet_impl.h"

void fleet_free(struct fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    struct fleet_policy *policies = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        array_cleanup(&policies[i].targets);
        array_cleanup(&policies[i].variants);
    }
    struct fleet_service *services = fleet->services.items;
    for (uint32_t i = 0; i < fleet->services.num; i++) {
        array_cleanup(&services[i].identities);
    }
    struct fleet_workload *workloads = fleet->workloads.items;
    for (uint32_t i = 0; i < fleet->workloads.num; i++) {
        free(workloads[i].key);
    }
    array_cleanup(&fleet->workloads);
    array_cleanup(&fleet->blocks);
    array_cleanup(&fleet->policies);
    array_cleanup(&fleet->rules);
    array_cleanup(&fleet->patterns);
    array_cleanup(&fleet->destinations);
    array_cleanup(&fleet->services);
    array_cleanup(&fleet->memberships);
    array_cleanup(&fleet->covers);
    array_cleanup(&fleet->observed);
    array_cleanup(&fleet->anybody);
    keymap_cleanup(&fleet->variants);
    keymap_cleanup(&fleet->by_id);
    multimap_cleanup(&fleet->by_uid);
    multimap_cleanup(&fleet->by_target);
    multimap_cleanup(&fleet->by_principal);
    multimap_cleanup(&fleet->by_caller);
    for (size_t i = 0; i < fleet->num_pieces; i++) {
        if (fleet->pieces[i] != NULL) {
            protobuf_c_message_free_unpacked(&fleet->pieces[i]->base, NULL);
        }
    }
    for (size_t i = 0; fleet->names != NULL && i < fleet->num_pieces; i++) {
        free(fleet->names[i]);
    }
    free(fleet->names);
    free(fleet->pieces);
    free(fleet);
}

uint32_t fleet_find(const struct fleet *fleet, const char *id, size_t id_len)
{
    struct keymap_key key = keymap_key_of(id, id_len, 0);
    const uint32_t *at = keymap_find(&fleet->by_id, &key);
    return at == NULL ? FLEET_NONE : *at;
}

char *fleet_key(const char *id, const char *variant)
{
    if (variant[0] == '\0') {
        return must_strdup(id);
    }
    size_t size = strlen(id) + strlen(variant) + 2;
    char *key = must_alloc(1, size);
    snprintf(key, size, "%s%c%s", id, FLEET_VARIANT_MARK, variant);
    return key;
}

size_t fleet_key_id_len(const char *key)
{
    const char *mark = strchr(key, FLEET_VARIANT_MARK);
    return mark == NULL ? strlen(key) : (size_t)(mark - key);
}

static bool has_id(const struct fleet_workload *row, const char *id, size_t id_len)
{
    return row->id.text_len == id_len && memcmp(row->id.text, id, id_len) == 0;
}

uint32_t fleet_find_key(const struct fleet *fleet, const char *key, size_t key_len)
{
    const char *mark = memchr(key, FLEET_VARIANT_MARK, key_len);
    size_t id_len = mark == NULL ? key_len : (size_t)(mark - key);
    uint32_t number = fleet_find(fleet, key, id_len);
    for (; number < fleet->workloads.num; number++) {
        const struct fleet_workload *row = fleet_workload(fleet, number);
        if (!has_id(row, key, id_len)) {
            break;
        }
        if (row->key_len == key_len && memcmp(row->key, key, key_len) == 0) {
            return number;
        }
    }
    return FLEET_NONE;
}

const struct fleet_workload *fleet_workload(const struct fleet *fleet, uint32_t number)
{
    return &((const struct fleet_workload *)fleet->workloads.items)[number];
}

bool fleet_allows_address(const struct fleet *fleet, uint32_t workload, const struct ip *ip)
{
    const struct fleet_workload *row = fleet_workload(fleet, workload);
    const struct cidr *blocks = (const struct cidr *)fleet->blocks.items + row->first_block;
    for (uint32_t i = 0; i < row->num_blocks; i++) {
        if (cidr_contains(&blocks[i], ip)) {
            return true;
        }
    }
    return false;
}

static int compare_texts(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

int fleet_compare_workloads(const void *a, const void *b)
{
    const struct fleet_workload *left = a;
    const struct fleet_workload *right = b;
    return compare_texts(left->key, left->key_len, right->key, right->key_len);
}

// Returns the number of the first workload whose id begins with `text`, or sorts behind all ids
// that do; with is_behind that of the first that sorts behind.
static uint32_t bound(const struct fleet *fleet, const char *text, size_t len, bool is_behind)
{
    uint32_t low = 0;
    uint32_t high = fleet->workloads.num;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct spiffe_id *id = &fleet_workload(fleet, middle)->id;
        bool has_prefix = id->text_len >= len && memcmp(id->text, text, len) == 0;
        bool is_before =
            has_prefix ? is_behind : compare_texts(id->text, id->text_len, text, len) < 0;
        low = is_before ? middle + 1 : low;
        high = is_before ? high : middle;
    }
    return low;
}

void fleet_range(const struct fleet *fleet, const struct spiffe_pattern *pattern,
                 uint32_t *out_first, uint32_t *out_end)
{
    char prefix[SPIFFE_ID_LEN_MAX + 2];
    size_t len = pattern->text_len;
    if (pattern->kind == SPIFFE_PATTERN_EXACT) {
        uint32_t number = fleet_find(fleet, pattern->text, len);
        *out_first = *out_end = number == FLEET_NONE ? 0 : number;
        while (number < fleet->workloads.num &&
               has_id(fleet_workload(fleet, number), pattern->text, len)) {
            *out_end = ++number;
        }
        return;
    }
    memcpy(prefix, pattern->text, len);
    if (pattern->kind == SPIFFE_PATTERN_TRUST_DOMAIN) {
        prefix[len++] = '/';
    }
    *out_first = bound(fleet, prefix, len, false);
    *out_end = bound(fleet, prefix, len, true);
}

bool fleet_policy_reaches(const struct fleet *fleet, uint32_t policy, uint32_t workload)
{
    const struct fleet_policy *row = &((const struct fleet_policy *)fleet->policies.items)[policy];
    const uint32_t *variants = row->variants.items;
    uint32_t wanted = fleet_workload(fleet, workload)->variant;
    uint32_t low = 0;
    uint32_t high = row->variants.num;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        low = variants[middle] < wanted ? middle + 1 : low;
        high = variants[middle] < wanted ? high : middle;
    }
    return row->spec->n_variants == 0 || (low < row->variants.num && variants[low] == wanted);
}
