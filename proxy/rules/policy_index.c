// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "base/pb/pb_text.h"
#include "proxy/rules/name.h"
#include "proxy/rules/policy_impl.h"
#include "proxy/rules/policy_rule.h"

void policy_index_free(struct policy_index *index)
{
    if (index == NULL) {
        return;
    }
    struct indexed_policy *policies = index->policies.items;
    for (uint32_t i = 0; i < index->policies.num; i++) {
        tabard__v1__policy__free_unpacked(policies[i].copy, NULL);
    }
    struct cidr **blocks = index->blocks.items;
    for (uint32_t i = 0; i < index->blocks.num; i++) {
        free(blocks[i]);
    }
#define X(type, name) array_cleanup(&index->name);
    INDEX_ARRAYS(X)
#undef X
    keymap_cleanup(&index->names);
    keymap_cleanup(&index->keys);
    free(index);
}

static bool add_patterns(struct policy_index *index, char *const *texts, size_t num,
                         const char *field, struct span *out, struct err *err)
{
    if (num > POLICY_FIELD_VALUES_MAX) {
        err_set(err, "%zu values are over the limit of %d", num, POLICY_FIELD_VALUES_MAX);
        return err_prefix_where(err, "%s", field);
    }
    *out = (struct span){.first = index->patterns.num, .num = (uint32_t)num};
    for (size_t i = 0; i < num; i++) {
        struct spiffe_pattern *pattern = array_add(&index->patterns, sizeof *pattern);
        if (!spiffe_pattern_parse(pattern, texts[i], strlen(texts[i]), err)) {
            return err_prefix_where(err, "%s[%zu]", field, i);
        }
    }
    return true;
}

static bool add_cidrs(struct policy_index *index, char *const *texts, size_t num, const char *field,
                      struct span *out, struct err *err)
{
    if (num > POLICY_FIELD_VALUES_MAX) {
        err_set(err, "%zu values are over the limit of %d", num, POLICY_FIELD_VALUES_MAX);
        return err_prefix_where(err, "%s", field);
    }
    *out = (struct span){.first = index->cidrs.num, .num = (uint32_t)num};
    for (size_t i = 0; i < num; i++) {
        struct cidr *cidr = array_add(&index->cidrs, sizeof *cidr);
        if (!cidr_parse(cidr, texts[i], err)) {
            return err_prefix_where(err, "%s[%zu]", field, i);
        }
    }
    return true;
}

// Puts a rule into the list of one key and one port.
static bool add_entry(struct policy_index *index, struct keymap_key key, enum index_kind kind,
                      uint16_t port, uint32_t policy, uint32_t rule, struct err *err)
{
    if (index->entries.num >= INDEX_KEYS_MAX) {
        return err_set(err, "the policies name more than %u pairs of principal and port",
                       INDEX_KEYS_MAX);
    }
    bool is_new = false;
    key.tag = index_tag(kind, port);
    uint32_t *number = keymap_put(&index->keys, &key, &is_new);
    if (is_new) {
        *number = index->lists.num;
        array_add(&index->lists, sizeof(struct index_list));
    }
    struct index_entry *entry = array_add(&index->entries, sizeof *entry);
    *entry = (struct index_entry){.policy = policy, .rule = rule};
    enum index_class class = ((struct indexed_policy *)index->policies.items)[policy].class;
    struct index_list *list = &((struct index_list *)index->lists.items)[*number];
    if (list->tail[class] == 0) {
        list->head[class] = index->entries.num;
    } else {
        ((struct index_entry *)index->entries.items)[list->tail[class] - 1].next =
            index->entries.num;
    }
    list->tail[class] = index->entries.num;
    return true;
}

static uint32_t num_ports(const struct policy_index *index, struct span ports)
{
    const struct port_range *ranges = (const struct port_range *)index->port_ranges.items;
    uint32_t num = 0;
    for (uint32_t i = 0; i < ports.num; i++) {
        num += 1u + ranges[ports.first + i].last - ranges[ports.first + i].first;
    }
    return num;
}

// Puts a rule into the lists of one key, for each port of its policy.
static bool add_key(struct policy_index *index, struct keymap_key key, enum index_kind kind,
                    uint32_t policy, uint32_t rule, struct err *err)
{
    const struct span ports = ((struct indexed_policy *)index->policies.items)[policy].ports;
    if (ports.num == 0 || num_ports(index, ports) > INDEX_PORTS_MAX) {
        return add_entry(index, key, kind, 0, policy, rule, err);
    }
    for (uint32_t i = 0; i < ports.num; i++) {
        const struct port_range range =
            ((const struct port_range *)index->port_ranges.items)[ports.first + i];
        for (uint32_t port = range.first; port <= range.last; port++) {
            if (!add_entry(index, key, kind, (uint16_t)port, policy, rule, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool add_block_key(struct policy_index *index, const struct cidr *cidr, uint32_t policy,
                          uint32_t rule, struct err *err)
{
    const uint8_t *bits = index->bits.items;
    bool is_known = false;
    for (uint32_t i = 0; i < index->bits.num; i++) {
        is_known = is_known || bits[i] == cidr->prefix_bits;
    }
    if (!is_known) {
        uint8_t *added = array_add(&index->bits, sizeof *added);
        *added = cidr->prefix_bits;
    }
    struct cidr **block = array_add(&index->blocks, sizeof(struct cidr *));
    *block = must_copy(cidr, sizeof *cidr);
    return add_key(index, keymap_key_of(*block, sizeof **block, 0), INDEX_SOURCE, policy, rule,
                   err);
}

static bool add_rule_keys(struct policy_index *index, uint32_t policy, uint32_t rule,
                          struct span principals, struct span source_ips, struct err *err)
{
    static const enum index_kind kinds[] = {
        [SPIFFE_PATTERN_EXACT] = INDEX_EXACT,
        [SPIFFE_PATTERN_PREFIX] = INDEX_PREFIX,
        [SPIFFE_PATTERN_TRUST_DOMAIN] = INDEX_TRUST_DOMAIN,
    };
    for (uint32_t i = 0; i < principals.num; i++) {
        const struct spiffe_pattern *pattern =
            &((const struct spiffe_pattern *)index->patterns.items)[principals.first + i];
        struct keymap_key key = keymap_key_of(pattern->text, pattern->text_len, 0);
        if (!add_key(index, key, kinds[pattern->kind], policy, rule, err)) {
            return false;
        }
    }
    if (principals.num > 0) {
        return true;
    }
    for (uint32_t i = 0; i < source_ips.num; i++) {
        const struct cidr cidr = ((const struct cidr *)index->cidrs.items)[source_ips.first + i];
        if (!add_block_key(index, &cidr, policy, rule, err)) {
            return false;
        }
    }
    if (source_ips.num > 0) {
        return true;
    }
    return add_key(index, keymap_key_of("", 0, 0), INDEX_EVERYBODY, policy, rule, err);
}

static bool add_rule(struct policy_index *index, uint32_t policy, uint32_t number,
                     const Tabard__V1__Policy__Rule *rule, struct err *err)
{
    struct span principals = {0};
    struct indexed_rule indexed = {{0}, {0}, {0}};
    if (!add_patterns(index, rule->principals, rule->n_principals, "principals", &principals,
                      err) ||
        !add_patterns(index, rule->not_principals, rule->n_not_principals, "not_principals",
                      &indexed.not_principals, err) ||
        !add_cidrs(index, rule->source_ips, rule->n_source_ips, "source_ips", &indexed.source_ips,
                   err) ||
        !add_cidrs(index, rule->not_source_ips, rule->n_not_source_ips, "not_source_ips",
                   &indexed.not_source_ips, err)) {
        return false;
    }
    bool is_deny = ((struct indexed_policy *)index->policies.items)[policy].is_deny;
    if (!is_deny && !policy_rule_names_callers(rule)) {
        return err_set(err,
                       "a rule of an ALLOW must name principals or source_ips, or it would let "
                       "everybody in");
    }
    struct indexed_rule *added = array_add(&index->rules, sizeof *added);
    *added = indexed;
    return add_rule_keys(index, policy, number, principals, indexed.source_ips, err);
}

static bool add_ports(struct policy_index *index, const Tabard__V1__Policy *policy,
                      struct span *out, struct err *err)
{
    if (policy->n_ports > POLICY_FIELD_VALUES_MAX) {
        return err_set_at(err, "ports", "%zu ports are over the limit of %d", policy->n_ports,
                          POLICY_FIELD_VALUES_MAX);
    }
    *out = (struct span){.first = index->port_ranges.num, .num = (uint32_t)policy->n_ports};
    return port_range_list(&index->port_ranges, policy->ports, policy->n_ports, err) ||
           err_prefix_where(err, "ports");
}

static bool check_enums(const Tabard__V1__Policy *policy, struct err *err)
{
    if (policy->action != TABARD__V1__POLICY__ACTION__ALLOW &&
        policy->action != TABARD__V1__POLICY__ACTION__DENY) {
        return err_set_at(err, "action", "the action must be written: ALLOW or DENY");
    }
    if (policy->mode != TABARD__V1__POLICY__MODE__ENFORCE &&
        policy->mode != TABARD__V1__POLICY__MODE__AUDIT) {
        return err_set_at(err, "mode", "the mode must be written: ENFORCE or AUDIT");
    }
    return true;
}

static bool add_policy(struct policy_index *index, const Tabard__V1__Policy *policy,
                       struct err *err)
{
    uint32_t number = index->policies.num;
    if (!pb_text_check_known(&policy->base, err) || !check_enums(policy, err)) {
        return false;
    }
    if (policy->n_rules == 0) {
        return err_set_at(err, "rules",
                          "a policy without rules matches nothing: list at least one");
    }
    if (policy->n_rules > POLICY_RULES_MAX) {
        return err_set_at(err, "rules", "%zu rules are over the limit of %d", policy->n_rules,
                          POLICY_RULES_MAX);
    }
    struct indexed_policy *added = array_add(&index->policies, sizeof *added);
    added->copy = pb_copy(&policy->base);
    if (!name_add(&index->names, added->copy->name, POLICY_NAME_LEN_MAX, "policies", number, err) ||
        !add_ports(index, policy, &added->ports, err)) {
        return false;
    }
    added->is_deny = policy->action == TABARD__V1__POLICY__ACTION__DENY;
    added->class = policy->mode == TABARD__V1__POLICY__MODE__AUDIT ? INDEX_AUDIT
                   : added->is_deny                                ? INDEX_DENY
                                                                   : INDEX_ALLOW;
    added->first_rule = index->rules.num;
    for (uint32_t i = 0; i < policy->n_rules; i++) {
        if (!add_rule(index, number, i, added->copy->rules[i], err)) {
            return err_prefix_where(err, "rules[%u]", i);
        }
    }
    return true;
}

struct policy_index *policy_index_new(Tabard__V1__Policy *const *policies, size_t num_policies,
                                      struct err *err)
{
    if (num_policies > POLICIES_MAX) {
        err_set_at(err, "policies", "%zu policies are over the limit of %d", num_policies,
                   POLICIES_MAX);
        return NULL;
    }
    struct policy_index *index = must_alloc(1, sizeof *index);
    for (size_t i = 0; i < num_policies; i++) {
        if (!add_policy(index, policies[i], err)) {
            err_prefix_where(err, "policies[%zu]", i);
            policy_index_free(index);
            return NULL;
        }
    }
    return index;
}
