// SPDX-License-Identifier: Apache-2.0
//
// What the model says after any story of objects that came, changed and went is what it says when
// the objects that are left come at once, in another order.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_text.h"
#include "tests/support/fleet_states.h"
#include "tests/unit/control/policyd/kubernetes/model/objects.h"

#define TIMEOUT   60
#define NUM_SLOTS 44
#define NUM_STEPS 1500
#define LINES_MAX 200

// An object that may be there.
struct slot {
    enum kube_kind kind;
    char ns[16];
    char name[16];
    char *text; // owned; NULL: it isn't there
};

static struct slot slots[NUM_SLOTS];

static unsigned pick(unsigned *seed, unsigned num)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % num;
}

static const char *one_of(unsigned *seed, const char *const *texts, unsigned num)
{
    return texts[pick(seed, num)];
}

static void make_pod(FILE *out, const struct slot *slot, unsigned *seed)
{
    static const char *const labels[] = {"", "'app': 'a'", "'app': 'b'", "'app': 'a', 'tier': 'x'"};
    static const char *const phases[] = {"Running", "Running", "Running", "Pending", "Failed"};
    fprintf(out,
            "{'metadata': {'namespace': '%s', 'name': '%s', 'uid': 'u%u', 'creationTimestamp': "
            "'2026-11-28T00:00:0%uZ', 'labels': {%s}%s%s}, 'spec': {'serviceAccountName': 'sa%u', "
            "'initContainers': [{'name': 'tabard'}]}, 'status': {'phase': '%s', 'podIPs': [",
            slot->ns, slot->name, pick(seed, 2), pick(seed, 3), one_of(seed, labels, 4),
            pick(seed, 4) == 0 ? "" : ", 'annotations': {'tabard.dev/status': '{}'}",
            pick(seed, 5) == 0 ? ", 'deletionTimestamp': '2026-11-28T00:00:00Z'" : "",
            pick(seed, 3), one_of(seed, phases, 5));
    for (unsigned i = pick(seed, 3), is_first = 1; i > 0; i--, is_first = 0) {
        fprintf(out, "%s{'ip': '10.0.0.%u'}", is_first ? "" : ", ", 1 + pick(seed, 8));
    }
    fprintf(out, "]}}");
}

static void make_slice(FILE *out, const struct slot *slot, unsigned *seed)
{
    fprintf(out,
            "{'metadata': {'namespace': '%s', 'name': '%s', 'labels': "
            "{'kubernetes.io/service-name': 's%u'}}, 'ports': [{'port': %u}], 'endpoints': [",
            slot->ns, slot->name, pick(seed, 3), 8080 + pick(seed, 2));
    for (unsigned i = pick(seed, 4), is_first = 1; i > 0; i--, is_first = 0) {
        fprintf(out, "%s{'addresses': ['10.0.0.%u']%s}", is_first ? "" : ", ", 1 + pick(seed, 9),
                pick(seed, 3) == 0 ? ", 'targetRef': {'kind': 'Pod', 'name': 'o1'}" : "");
    }
    fprintf(out, "]}");
}

static void make_service(FILE *out, const struct slot *slot, unsigned *seed)
{
    unsigned number = pick(seed, 12);
    fprintf(out, "{'metadata': {'namespace': '%s', 'name': '%s'}, 'spec': {'clusterIPs': [",
            slot->ns, slot->name);
    if (number < 8) {
        // Some are those of pods, which none should be.
        fprintf(out, "'10.0.0.%u'", number < 2 ? number + 1 : 100 + number);
    } else {
        fprintf(out, "'None'");
    }
    fprintf(out, "], 'ports': [{'port': %u}]}}", 80 + pick(seed, 2));
}

static void make_policy(FILE *out, const struct slot *slot, unsigned *seed)
{
    static const char *const selectors[] = {
        "", "'selector': {'matchLabels': {'app': 'a'}}, ",
        "'selector': {'matchLabels': {'tier': 'x'}}, ",
        "'selector': {'serviceAccounts': ['sa1'], 'matchLabels': {'app': 'b'}}, "};
    fprintf(out,
            "{'metadata': {'namespace': '%s', 'name': '%s'}, 'spec': {%s'action': '%s', 'rules': "
            "[{'from': [{'namespace': 'b'}]}]}}",
            slot->ns, slot->name, one_of(seed, selectors, 4),
            pick(seed, 2) == 0 ? "ALLOW" : "DENY");
}

static void make_destination(FILE *out, const struct slot *slot, unsigned *seed)
{
    static const char *const selectors[] = {"", "'selector': {'serviceAccounts': ['sa0']}, "};
    static const char *const ports[] = {"", "'ports': [80], ", "'ports': ['1-65535'], ",
                                        "'ports': ['70-85'], "};
    fprintf(out,
            "{'metadata': {'namespace': '%s', 'name': '%s', 'creationTimestamp': "
            "'2026-11-28T00:00:0%uZ'}, 'spec': {%s'addresses': ['10.0.0.%u', '10.9.0.%u'], ",
            slot->ns, slot->name, pick(seed, 2), one_of(seed, selectors, 2), 1 + pick(seed, 9),
            pick(seed, 3));
    if (pick(seed, 2) == 0) {
        fprintf(out, "'services': [{'namespace': 'a', 'name': 's%u'}], ", pick(seed, 3));
    }
    fprintf(out, "%s'mode': 'PLAINTEXT'}}", one_of(seed, ports, 4));
}

static char *make_text(const struct slot *slot, unsigned *seed)
{
    static const char *const modes[] = {"", ", 'annotations': {'tabard.dev/mode': 'observe'}"};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    switch (slot->kind) {
    case KUBE_POD:
        make_pod(out, slot, seed);
        break;
    case KUBE_SERVICE:
        make_service(out, slot, seed);
        break;
    case KUBE_ENDPOINT_SLICE:
        make_slice(out, slot, seed);
        break;
    case KUBE_MESH_POLICY:
        make_policy(out, slot, seed);
        break;
    case KUBE_MESH_DESTINATION:
        make_destination(out, slot, seed);
        break;
    default:
        fprintf(out, "{'metadata': {'name': '%s'%s}}", slot->name, one_of(seed, modes, 2));
    }
    fclose(out);
    return text;
}

static void make_slots(void)
{
    static const struct {
        enum kube_kind kind;
        unsigned num; // in each of two namespaces
    } plan[] = {{KUBE_POD, 8},         {KUBE_SERVICE, 3},          {KUBE_ENDPOINT_SLICE, 4},
                {KUBE_MESH_POLICY, 3}, {KUBE_MESH_DESTINATION, 3}, {KUBE_NAMESPACE, 1}};
    static const char prefixes[] = {'o', 's', 's', 'p', 'd', 'n'};
    unsigned at = 0;
    for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
        for (unsigned k = 0; k < plan[i].num * 2; k++) {
            struct slot *slot = &slots[at++];
            const char *ns = k % 2 == 0 ? "a" : "b";
            slot->kind = plan[i].kind;
            snprintf(slot->ns, sizeof slot->ns, "%s", plan[i].kind == KUBE_NAMESPACE ? "" : ns);
            if (plan[i].kind == KUBE_NAMESPACE) {
                snprintf(slot->name, sizeof slot->name, "%s", ns);
            } else {
                snprintf(slot->name, sizeof slot->name, "%c%u", prefixes[i], k / 2);
            }
        }
    }
    cr_assert_eq(at, NUM_SLOTS);
}

// The lines that a model's fleet is, in order; those of `live` alone, a fleet without what is idle.
struct lines {
    char *texts[LINES_MAX];
    size_t num;
};

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_line(struct lines *lines, const ProtobufCMessage *message)
{
    cr_assert_lt(lines->num, LINES_MAX);
    lines->texts[lines->num++] = pb_text_to_json(message);
}

static bool is_live(const Tabard__V1__FleetConfig *live, const Tabard__V1__Workload *workload)
{
    for (size_t i = 0; i < live->n_workloads; i++) {
        if (strcmp(live->workloads[i]->spiffe_id, workload->spiffe_id) == 0 &&
            strcmp(live->workloads[i]->variant, workload->variant) == 0) {
            return true;
        }
    }
    return false;
}

// Says whether a workload that is live could have this variant for a policy of this namespace.
static bool is_variant(const Tabard__V1__FleetConfig *live, const char *policy, const char *variant)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, TD "/ns/%c/", policy[0]);
    for (size_t i = 0; i < live->n_workloads; i++) {
        if (strncmp(live->workloads[i]->spiffe_id, prefix, strlen(prefix)) == 0 &&
            strcmp(live->workloads[i]->variant, variant) == 0) {
            return true;
        }
    }
    return false;
}

static void add_policy(struct lines *lines, Tabard__V1__FleetPolicy *policy,
                       const Tabard__V1__FleetConfig *live)
{
    char **variants = policy->variants;
    char *kept[LINES_MAX];
    size_t num = policy->n_variants;
    policy->variants = kept;
    policy->n_variants = 0;
    for (size_t i = 0; i < num; i++) {
        bool is_twice = false;
        for (size_t k = 0; k < policy->n_variants; k++) {
            is_twice = is_twice || strcmp(kept[k], variants[i]) == 0;
        }
        if (!is_twice && is_variant(live, policy->policy->name, variants[i])) {
            kept[policy->n_variants++] = variants[i];
        }
    }
    qsort(kept, policy->n_variants, sizeof kept[0], compare_lines);
    if (num == 0 || policy->n_variants > 0) {
        add_line(lines, &policy->base);
    }
    policy->variants = variants;
    policy->n_variants = num;
}

static void list(struct lines *lines, const Tabard__V1__FleetConfig *config,
                 const Tabard__V1__FleetConfig *live)
{
    lines->num = 0;
    for (size_t i = 0; i < config->n_workloads; i++) {
        if (is_live(live, config->workloads[i])) {
            add_line(lines, &config->workloads[i]->base);
        }
    }
    for (size_t i = 0; i < config->n_policies; i++) {
        add_policy(lines, config->policies[i], live);
    }
    for (size_t i = 0; i < config->n_destinations; i++) {
        add_line(lines, &config->destinations[i]->base);
    }
    for (size_t i = 0; i < config->n_services; i++) {
        add_line(lines, &config->services[i]->base);
    }
    qsort(lines->texts, lines->num, sizeof lines->texts[0], compare_lines);
}

static void free_lines(struct lines *lines)
{
    while (lines->num > 0) {
        free(lines->texts[--lines->num]);
    }
}

static void expect_same(const struct objects *grown, const struct objects *fresh, unsigned step)
{
    static struct lines was, is;
    list(&was, grown->config, fresh->config);
    list(&is, fresh->config, fresh->config);
    for (size_t i = 0; i < was.num && i < is.num; i++) {
        cr_assert_str_eq(was.texts[i], is.texts[i], "step %u: %s is not %s", step, was.texts[i],
                         is.texts[i]);
    }
    cr_assert_eq(was.num, is.num, "step %u: %zu lines, not %zu", step, was.num, is.num);
    free_lines(&was);
    free_lines(&is);
    for (unsigned i = 0; i < 130; i++) {
        char ip[32], owner[256];
        snprintf(ip, sizeof ip, "10.0.0.%u", i);
        snprintf(owner, sizeof owner, "%s", objects_owner(grown, ip));
        cr_assert_str_eq(owner, objects_owner(fresh, ip), "step %u: %s", step, ip);
    }
}

// Every sidecar takes what it would be sent.
static void expect_good_states(const struct objects *objects, unsigned step)
{
    struct fleet_states_place places[512];
    struct err err = {{0}, {0}};
    size_t num = 0;
    for (unsigned i = 0; i < objects->num_places; i++) {
        if (objects->places[i].owner[0] != '\0') {
            places[num++] =
                (struct fleet_states_place){objects->places[i].ip, objects->places[i].owner};
        }
    }
    cr_assert(fleet_states_check(objects->config, "demo.example", places, num, &err),
              "step %u: %s: %s", step, err.where, err.text);
}

static void compare_with_fresh(const struct objects *grown, unsigned *seed, unsigned step)
{
    static struct objects fresh;
    unsigned order[NUM_SLOTS];
    objects_start(&fresh);
    for (unsigned i = 0; i < NUM_SLOTS; i++) {
        unsigned at = pick(seed, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (unsigned i = 0; i < NUM_SLOTS; i++) {
        const struct slot *slot = &slots[order[i]];
        if (slot->text != NULL) {
            objects_put(&fresh, slot->kind, "%s", slot->text);
        }
    }
    objects_take(&fresh);
    expect_same(grown, &fresh, step);
    objects_end(&fresh);
}

Test(kube_order, what_the_model_says_depends_on_the_objects_that_are_left_alone, .timeout = TIMEOUT)
{
    static struct objects grown;
    unsigned seed = 11;
    unsigned num_takes = 0;
    make_slots();
    objects_start(&grown);
    for (unsigned step = 0; step < NUM_STEPS; step++) {
        struct slot *slot = &slots[pick(&seed, NUM_SLOTS)];
        bool is_end = slot->text != NULL && pick(&seed, 3) == 0;
        free(slot->text);
        slot->text = NULL;
        if (is_end) {
            kube_model_delete(grown.model, slot->kind, slot->ns, slot->name);
        } else {
            slot->text = make_text(slot, &seed);
            objects_put(&grown, slot->kind, "%s", slot->text);
        }
        if (pick(&seed, 3) == 0) {
            objects_take(&grown);
            compare_with_fresh(&grown, &seed, step);
            expect_good_states(&grown, step);
            num_takes++;
        }
    }
    cr_expect_gt(num_takes, 300);
    cr_expect_gt(num_takes, grown.num_configs, "each change made a new fleet");
    objects_end(&grown);
    for (unsigned i = 0; i < NUM_SLOTS; i++) {
        free(slots[i].text);
    }
}
