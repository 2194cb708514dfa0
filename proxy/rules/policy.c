// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/policy.h"

#include <string.h>

#include "base/log.h"
#include "proxy/rules/policy_impl.h"

// The lists that may hold a rule for the request.
struct candidates {
    uint32_t lists[INDEX_LISTS_MAX];
    uint32_t num;
};

static void collect(struct candidates *found, const struct policy_index *index,
                    struct keymap_key *key, enum index_kind kind, uint16_t port)
{
    const uint16_t ports[] = {port, 0}; // 0: the policies for every port
    for (unsigned i = 0; i < 2; i++) {
        key->tag = index_tag(kind, ports[i]);
        const uint32_t *list = keymap_find(&index->keys, key);
        if (list != NULL) {
            invariant(found->num < INDEX_LISTS_MAX); // a list left out might hold a DENY
            found->lists[found->num++] = *list;
        }
    }
}

// Collects the lists of every pattern that can name the peer. One pass over the id hashes all its
// prefixes.
static void collect_by_peer(struct candidates *found, const struct policy_index *index,
                            const struct spiffe_id *peer, uint16_t port)
{
    size_t domain_end = (size_t)(peer->domain - peer->text) + peer->domain_len;
    struct keymap_key key = {.bytes = peer->text, .len = (uint32_t)domain_end};
    key.bytes_hash = keymap_hash(KEYMAP_HASH_START, peer->text, domain_end);
    collect(found, index, &key, INDEX_TRUST_DOMAIN, port);
    for (size_t i = domain_end; i < peer->text_len; i++) {
        key.bytes_hash = keymap_hash(key.bytes_hash, peer->text + i, 1);
        key.len = (uint32_t)i + 1;
        if (peer->text[i] == '/') {
            collect(found, index, &key, INDEX_PREFIX, port);
        }
    }
    collect(found, index, &key, INDEX_EXACT, port);
}

static void collect_by_source(struct candidates *found, const struct policy_index *index,
                              const struct ip *source, uint16_t port)
{
    const uint8_t *bits = index->bits.items;
    for (uint32_t i = 0; i < index->bits.num; i++) {
        struct cidr block = {.ip = ip_masked(source, bits[i]), .prefix_bits = bits[i]};
        struct keymap_key key = keymap_key_of(&block, sizeof block, 0);
        collect(found, index, &key, INDEX_SOURCE, port);
    }
}

static bool any_cidr_contains(const struct policy_index *index, struct span span,
                              const struct ip *ip)
{
    const struct cidr *cidrs = index->cidrs.items;
    for (uint32_t i = 0; i < span.num; i++) {
        if (cidr_contains(&cidrs[span.first + i], ip)) {
            return true;
        }
    }
    return false;
}

static bool any_pattern_matches(const struct policy_index *index, struct span span,
                                const struct spiffe_id *id)
{
    const struct spiffe_pattern *patterns = index->patterns.items;
    for (uint32_t i = 0; i < span.num; i++) {
        if (spiffe_pattern_matches(&patterns[span.first + i], id)) {
            return true;
        }
    }
    return false;
}

static bool has_port(const struct policy_index *index, struct span ports, uint16_t port)
{
    const struct port_range *all = index->port_ranges.items;
    uint32_t low = ports.first;
    uint32_t high = ports.first + ports.num;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (port_range_has(all[middle], port)) {
            return true;
        }
        if (all[middle].last < port) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return ports.num == 0;
}

// Says whether a rule matches the request. The key that led here has settled the principals, so the
// rest of the rule is checked.
static bool entry_matches(const struct policy_index *index, const struct index_entry *entry,
                          const struct policy_request *request)
{
    const struct indexed_policy *policy =
        &((const struct indexed_policy *)index->policies.items)[entry->policy];
    const struct indexed_rule *rule =
        &((const struct indexed_rule *)index->rules.items)[policy->first_rule + entry->rule];
    if (!has_port(index, policy->ports, request->port)) {
        return false;
    }
    if (rule->not_principals.num > 0) {
        // A caller without identity matches not_principals of a DENY, since it is none of them, but
        // of no ALLOW: it has not proved that it is somebody else.
        if (request->peer == NULL
                ? !policy->is_deny
                : any_pattern_matches(index, rule->not_principals, request->peer)) {
            return false;
        }
    }
    if (rule->source_ips.num > 0 && !any_cidr_contains(index, rule->source_ips, &request->source)) {
        return false;
    }
    return !any_cidr_contains(index, rule->not_source_ips, &request->source);
}

static bool is_before(const struct index_entry *a, const struct index_entry *b)
{
    return b == NULL || a->policy < b->policy || (a->policy == b->policy && a->rule < b->rule);
}

// Returns the first entry of a class, in the snapshot's order, that matches the request and is of
// none of the first num_passed policies; NULL: none does. `heads` are the entries at which the
// lists begin; they move past what can't match any more, so that the search can go on from there.
static const struct index_entry *first_match(const struct policy_index *index, uint32_t *heads,
                                             uint32_t num_heads, uint32_t num_passed,
                                             const struct policy_request *request)
{
    const struct index_entry *entries = index->entries.items;
    const struct index_entry *best = NULL;
    for (uint32_t i = 0; i < num_heads; i++) {
        while (heads[i] != 0) {
            const struct index_entry *entry = &entries[heads[i] - 1];
            if (!is_before(entry, best)) {
                break;
            }
            if (entry->policy >= num_passed && entry_matches(index, entry, request)) {
                best = entry;
                break;
            }
            heads[i] = entry->next;
        }
    }
    return best;
}

static void heads_of(const struct policy_index *index, const struct candidates *found,
                     enum index_class class, uint32_t *heads)
{
    const struct index_list *lists = index->lists.items;
    for (uint32_t i = 0; i < found->num; i++) {
        heads[i] = lists[found->lists[i]].head[class];
    }
}

struct policy_decision policy_decide(const struct policy_index *index,
                                     const struct policy_request *request,
                                     policy_on_audit *on_audit, void *ctx)
{
    struct candidates found;
    uint32_t heads[INDEX_LISTS_MAX];
    const struct indexed_policy *policies = index->policies.items;
    found.num = 0;
    if (request->peer != NULL) {
        collect_by_peer(&found, index, request->peer, request->port);
    }
    collect_by_source(&found, index, &request->source, request->port);
    struct keymap_key everybody = keymap_key_of("", 0, 0);
    collect(&found, index, &everybody, INDEX_EVERYBODY, request->port);

    if (on_audit != NULL) {
        heads_of(index, &found, INDEX_AUDIT, heads);
        const struct index_entry *entry = first_match(index, heads, found.num, 0, request);
        while (entry != NULL) {
            const struct indexed_policy *policy = &policies[entry->policy];
            on_audit(ctx, policy->copy->name, (int)entry->rule, policy->is_deny);
            entry = first_match(index, heads, found.num, entry->policy + 1, request);
        }
    }
    heads_of(index, &found, INDEX_DENY, heads);
    const struct index_entry *decider = first_match(index, heads, found.num, 0, request);
    enum policy_verdict verdict = POLICY_DENIED;
    if (decider == NULL) {
        heads_of(index, &found, INDEX_ALLOW, heads);
        decider = first_match(index, heads, found.num, 0, request);
        verdict = decider == NULL ? POLICY_DENIED : POLICY_ALLOWED;
    }
    if (decider == NULL) {
        return (struct policy_decision){.verdict = POLICY_DENIED, .policy = "", .rule = -1};
    }
    return (struct policy_decision){
        .verdict = verdict,
        .policy = policies[decider->policy].copy->name,
        .rule = (int)decider->rule,
    };
}
