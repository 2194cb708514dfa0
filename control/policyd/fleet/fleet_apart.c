// SPDX-License-Identifier: Apache-2.0
//
// Builds a fleet of pieces of which some are bad, with the forms in force in place of what is bad.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/keymap.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "base/pb/pb_text.h"
#include "control/policyd/fleet/fleet_impl.h"

#define BUILDS_MAX (2 * FLEET_FAULTS_MAX)

enum kind { WORKLOADS, POLICIES, DESTINATIONS, SERVICES, NUM_KINDS };

// A piece while the fleet is built.
struct draft {
    Tabard__V1__FleetConfig *config;       // owned
    struct pb_text_marks *marks;           // owned; NULL: config isn't what the piece says
    const Tabard__V1__FleetConfig *before; // the piece as it is in force; NULL: it isn't
    bool has_fault;
};

struct drafts {
    struct draft *all;          // owned
    struct fleet_piece *pieces; // owned; their names
    size_t num;
    const struct fleet *in_force;
    struct fleet_faults *faults;
    bool may_hide_deny; // the piece of what is refused may have had a DENY that it lacks now
};

// One of the lists of a config.
struct items {
    ProtobufCMessage **at; // entries may be NULL
    size_t num;
};

static struct items items_of(const Tabard__V1__FleetConfig *config, enum kind kind)
{
    switch (kind) {
    case WORKLOADS:
        return (struct items){(ProtobufCMessage **)config->workloads, config->n_workloads};
    case POLICIES:
        return (struct items){(ProtobufCMessage **)config->policies, config->n_policies};
    case DESTINATIONS:
        return (struct items){(ProtobufCMessage **)config->destinations, config->n_destinations};
    default:
        return (struct items){(ProtobufCMessage **)config->services, config->n_services};
    }
}

// Returns what an item is known by; "": it says nothing.
static const char *name_of(const ProtobufCMessage *item, enum kind kind)
{
    if (kind == WORKLOADS) {
        return ((const Tabard__V1__Workload *)item)->spiffe_id;
    }
    if (kind == POLICIES) {
        const Tabard__V1__Policy *policy = ((const Tabard__V1__FleetPolicy *)item)->policy;
        return policy == NULL ? "" : policy->name;
    }
    if (kind == DESTINATIONS) {
        const Tabard__V1__Destination *destination =
            ((const Tabard__V1__FleetDestination *)item)->destination;
        return destination == NULL ? "" : destination->name;
    }
    return ((const Tabard__V1__FleetService *)item)->name;
}

static bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t a_len = 0, b_len = 0;
    uint8_t *a_bytes = pb_copy_packed(a, &a_len);
    uint8_t *b_bytes = pb_copy_packed(b, &b_len);
    bool same = a_len == b_len && memcmp(a_bytes, b_bytes, a_len) == 0;
    free(a_bytes);
    free(b_bytes);
    return same;
}

static const ProtobufCMessage *find_item(const Tabard__V1__FleetConfig *config, enum kind kind,
                                         const char *name)
{
    struct items items = config == NULL ? (struct items){0} : items_of(config, kind);
    for (size_t i = 0; i < items.num; i++) {
        if (items.at[i] != NULL && strcmp(name_of(items.at[i], kind), name) == 0) {
            return items.at[i];
        }
    }
    return NULL;
}

static void note(struct drafts *drafts, size_t number, const char *text)
{
    struct fleet_faults *faults = drafts->faults;
    drafts->all[number].has_fault = true;
    if (faults->num < FLEET_FAULTS_MAX) {
        snprintf(faults->texts[faults->num++], FLEET_FAULT_BYTES, "%s", text);
    }
}

// Puts the form in force in place of an item, or nothing if there is none. Returns what it put.
static ProtobufCMessage *fall_back(const struct draft *draft, enum kind kind, size_t i)
{
    struct items items = items_of(draft->config, kind);
    const ProtobufCMessage *before = find_item(draft->before, kind, name_of(items.at[i], kind));
    bool is_tried = before == NULL || same_message(before, items.at[i]);
    ProtobufCMessage *other = is_tried ? NULL : pb_copy(before);
    protobuf_c_message_free_unpacked(items.at[i], NULL);
    items.at[i] = other;
    return other;
}

// Leaves every ALLOW of a piece as it is in force, since a DENY beside it is left out.
static void hold_allows(const struct draft *draft)
{
    struct items items = items_of(draft->config, POLICIES);
    for (size_t i = 0; i < items.num; i++) {
        const Tabard__V1__FleetPolicy *spec = (const Tabard__V1__FleetPolicy *)items.at[i];
        if (spec != NULL && spec->policy != NULL &&
            spec->policy->action == TABARD__V1__POLICY__ACTION__ALLOW) {
            const ProtobufCMessage *before = find_item(draft->before, POLICIES, spec->policy->name);
            if (before == NULL || !same_message(before, items.at[i])) {
                fall_back(draft, POLICIES, i);
            }
        }
    }
}

static bool may_deny(const ProtobufCMessage *item)
{
    const Tabard__V1__Policy *policy = ((const Tabard__V1__FleetPolicy *)item)->policy;
    return policy == NULL || (policy->action != TABARD__V1__POLICY__ACTION__ALLOW &&
                              policy->mode != TABARD__V1__POLICY__MODE__AUDIT);
}

static void add_item(Tabard__V1__FleetConfig *config, enum kind kind, const ProtobufCMessage *item)
{
    void **const lists[NUM_KINDS] = {(void **)&config->workloads, (void **)&config->policies,
                                     (void **)&config->destinations, (void **)&config->services};
    size_t *const nums[NUM_KINDS] = {&config->n_workloads, &config->n_policies,
                                     &config->n_destinations, &config->n_services};
    ProtobufCMessage **grown = must_grow(*lists[kind], *nums[kind] + 1, sizeof *grown);
    grown[(*nums[kind])++] = pb_copy(item);
    *lists[kind] = grown;
}

// Keeps what a piece has in force and does not name any more: what was refused may be one of these
// under a name that was misspelt.
static void keep_missing(const struct draft *draft, enum kind kind)
{
    struct items items = draft->before == NULL ? (struct items){0} : items_of(draft->before, kind);
    for (size_t i = 0; i < items.num; i++) {
        if (find_item(draft->config, kind, name_of(items.at[i], kind)) == NULL) {
            add_item(draft->config, kind, items.at[i]);
        }
    }
}

// Judges an item that was refused. false: it isn't there.
static bool refuse(struct drafts *drafts, const ProtobufCMessage *refused, struct err *err)
{
    for (size_t d = 0; d < drafts->num; d++) {
        struct draft *draft = &drafts->all[d];
        for (enum kind kind = 0; kind < NUM_KINDS; kind++) {
            struct items items = items_of(draft->config, kind);
            size_t i = 0;
            while (i < items.num && items.at[i] != refused) {
                i++;
            }
            if (i == items.num) {
                continue;
            }
            char text[sizeof *err];
            if (draft->marks != NULL && err->where[0] != '\0') {
                pb_text_marks_locate(draft->marks, drafts->pieces[d].name, err);
            } else {
                err_prefix(err, "%s", drafts->pieces[d].name);
            }
            note(drafts, d, err_text(err, text, sizeof text));
            bool denies = kind == POLICIES && may_deny(refused);
            bool was_known = find_item(draft->before, kind, name_of(refused, kind)) != NULL;
            if (fall_back(draft, kind, i) == NULL && denies) {
                drafts->may_hide_deny = true;
                hold_allows(draft);
            }
            if (!was_known) {
                drafts->may_hide_deny = true;
                keep_missing(draft, kind);
            }
            return true;
        }
    }
    return false;
}

// Returns the number of the draft of a piece, made if there is none.
static size_t draft_of(struct drafts *drafts, const char *name)
{
    for (size_t i = 0; i < drafts->num; i++) {
        if (strcmp(drafts->pieces[i].name, name) == 0) {
            return i;
        }
    }
    size_t num = drafts->num++;
    drafts->all = must_grow(drafts->all, drafts->num, sizeof *drafts->all);
    drafts->pieces = must_grow(drafts->pieces, drafts->num, sizeof *drafts->pieces);
    drafts->pieces[num] = (struct fleet_piece){.name = name};
    drafts->all[num] = (struct draft){.config = must_alloc(1, sizeof(Tabard__V1__FleetConfig))};
    tabard__v1__fleet_config__init(drafts->all[num].config);
    return num;
}

// Keeps every enforced DENY that is in force and stands nowhere any more.
static void keep_denies(struct drafts *drafts)
{
    struct keymap names = {0};
    bool is_new = false;
    for (size_t d = 0; d < drafts->num; d++) {
        struct items items = items_of(drafts->all[d].config, POLICIES);
        for (size_t i = 0; i < items.num; i++) {
            if (items.at[i] != NULL) {
                const char *name = name_of(items.at[i], POLICIES);
                struct keymap_key key = keymap_key_of(name, strlen(name), 0);
                keymap_put(&names, &key, &is_new);
            }
        }
    }
    for (size_t p = 0; p < drafts->in_force->num_pieces; p++) {
        const Tabard__V1__FleetConfig *config = drafts->in_force->pieces[p];
        for (size_t i = 0; i < config->n_policies; i++) {
            const Tabard__V1__Policy *policy = config->policies[i]->policy;
            struct keymap_key key = keymap_key_of(policy->name, strlen(policy->name), 0);
            if (policy->action == TABARD__V1__POLICY__ACTION__DENY &&
                policy->mode == TABARD__V1__POLICY__MODE__ENFORCE &&
                keymap_find(&names, &key) == NULL) {
                char text[FLEET_FAULT_BYTES];
                size_t number = draft_of(drafts, drafts->in_force->names[p]);
                add_item(drafts->all[number].config, POLICIES, &config->policies[i]->base);
                snprintf(text, sizeof text,
                         "%s: the DENY %s stays, though it stands in no file: it may have moved "
                         "to what is refused",
                         drafts->in_force->names[p], policy->name);
                note(drafts, number, text);
            }
        }
    }
    keymap_cleanup(&names);
}

static void draft_cleanup(struct draft *draft)
{
    if (draft->config != NULL) {
        protobuf_c_message_free_unpacked(&draft->config->base, NULL);
    }
    pb_text_marks_free(draft->marks);
    draft->config = NULL;
    draft->marks = NULL;
}

// Puts the whole piece that is in force in place of what the piece says now.
static void fall_back_whole(struct drafts *drafts, size_t number)
{
    struct draft *draft = &drafts->all[number];
    draft_cleanup(draft);
    drafts->may_hide_deny = true;
    if (draft->before != NULL) {
        draft->config = pb_copy(&draft->before->base);
    } else {
        draft->config = must_alloc(1, sizeof *draft->config);
        tabard__v1__fleet_config__init(draft->config);
    }
}

static const Tabard__V1__FleetConfig *before_of(const struct fleet *in_force, const char *name)
{
    for (size_t i = 0; in_force->names != NULL && i < in_force->num_pieces; i++) {
        if (strcmp(in_force->names[i], name) == 0) {
            return in_force->pieces[i];
        }
    }
    return NULL;
}

static void read_draft(struct drafts *drafts, const struct fleet_piece *piece, size_t number)
{
    struct draft *draft = &drafts->all[number];
    struct err err = {{0}, {0}};
    char text[sizeof err];
    drafts->pieces[number] = *piece;
    *draft = (struct draft){.before = before_of(drafts->in_force, piece->name)};
    if (piece->text == NULL) {
        err_set(&err, "%s", piece->error);
    } else {
        draft->config = (Tabard__V1__FleetConfig *)pb_text_parse(
            &tabard__v1__fleet_config__descriptor, piece->text, piece->len, piece->name,
            &draft->marks, &err);
    }
    if (draft->config != NULL && pb_text_marks_are_none(draft->marks)) {
        fleet_refuse_empty(piece->name, &err);
        fall_back_whole(drafts, number);
    } else if (draft->config == NULL) {
        fall_back_whole(drafts, number);
    } else {
        return;
    }
    note(drafts, number, err_text(&err, text, sizeof text));
}

// Reads the pieces: first those that are in force in some form, so that of two that name the same
// thing the older one counts.
static void read_drafts(struct drafts *drafts, const struct fleet_piece *pieces, size_t num)
{
    drafts->all = must_alloc(num, sizeof *drafts->all);
    drafts->pieces = must_alloc(num, sizeof *drafts->pieces);
    for (int is_new = 0; is_new <= 1; is_new++) {
        for (size_t i = 0; i < num; i++) {
            if ((before_of(drafts->in_force, pieces[i].name) == NULL) == (is_new != 0)) {
                read_draft(drafts, &pieces[i], drafts->num++);
            }
        }
    }
}

static struct fleet *build(struct drafts *drafts, const char *trust_domain,
                           const ProtobufCMessage **out_refused, struct err *err)
{
    Tabard__V1__FleetConfig **configs = must_alloc(drafts->num, sizeof *configs);
    for (size_t i = 0; i < drafts->num; i++) {
        configs[i] = drafts->all[i].config;
    }
    *err = (struct err){{0}, {0}};
    struct fleet *fleet =
        fleet_build(configs, drafts->pieces, drafts->num, trust_domain, out_refused, err);
    for (size_t i = 0; fleet != NULL && i < drafts->num; i++) {
        drafts->all[i].config = NULL; // the fleet's
    }
    free(configs);
    return fleet;
}

// Closes the gaps that items which were left out have made.
static void close_gaps(const struct fleet *fleet)
{
    for (size_t p = 0; p < fleet->num_pieces; p++) {
        Tabard__V1__FleetConfig *config = fleet->pieces[p];
        size_t *const nums[NUM_KINDS] = {&config->n_workloads, &config->n_policies,
                                         &config->n_destinations, &config->n_services};
        for (enum kind kind = 0; kind < NUM_KINDS; kind++) {
            struct items items = items_of(config, kind);
            size_t num = 0;
            for (size_t i = 0; i < items.num; i++) {
                if (items.at[i] != NULL) {
                    items.at[num++] = items.at[i];
                }
            }
            *nums[kind] = num;
        }
    }
}

struct fleet *fleet_new_apart(const struct fleet_piece *pieces, size_t num_pieces,
                              const char *trust_domain, const struct fleet *in_force,
                              struct fleet_faults *out_faults, struct err *err)
{
    struct drafts drafts = {.in_force = in_force, .faults = out_faults};
    const ProtobufCMessage *refused = NULL;
    struct fleet *fleet = NULL;
    out_faults->num = 0;
    read_drafts(&drafts, pieces, num_pieces);
    for (int builds = 0; fleet == NULL && builds < BUILDS_MAX; builds++) {
        // Before each build: what stood in an item that was refused since stands there no more.
        if (drafts.may_hide_deny) {
            keep_denies(&drafts);
        }
        fleet = build(&drafts, trust_domain, &refused, err);
        if (fleet == NULL && (refused == NULL || !refuse(&drafts, refused, err))) {
            break;
        }
        for (size_t i = 0; builds == FLEET_FAULTS_MAX && fleet == NULL && i < drafts.num; i++) {
            if (drafts.all[i].has_fault) {
                fall_back_whole(&drafts, i);
            }
        }
    }
    if (fleet != NULL) {
        close_gaps(fleet);
    }
    for (size_t i = 0; i < drafts.num; i++) {
        draft_cleanup(&drafts.all[i]);
    }
    free(drafts.all);
    free(drafts.pieces);
    return fleet;
}

bool fleet_same_content(const struct fleet *a, const struct fleet *b)
{
    bool same = a->names != NULL && b->names != NULL && a->num_pieces == b->num_pieces;
    for (size_t i = 0; same && i < a->num_pieces; i++) {
        const Tabard__V1__FleetConfig *other = before_of(b, a->names[i]);
        same = other != NULL && same_message(&a->pieces[i]->base, &other->base);
    }
    return same;
}
