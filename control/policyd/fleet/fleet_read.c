// SPDX-License-Identifier: Apache-2.0
//
// Reads pieces into a fleet: checks their form and meaning, and that no two define the same thing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/policyd/fleet/fleet_impl.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

// The reading under way, with the names and ids that were given already, and in which piece.
struct reader {
    struct fleet *fleet;
    const struct fleet_piece *pieces; // NULL: one message
    struct spiffe_id domain;          // text: the trust domain's name
    struct keymap ids;
    struct keymap policy_names;
    struct keymap destination_names;
    size_t piece;
};

// Notes a name. Refuses one that was given before; err says in which file.
static bool note_name(const struct reader *reader, struct keymap *names, const char *name,
                      const char *where, struct err *err)
{
    struct keymap_key key = keymap_key_of(name, strlen(name), 0);
    bool is_new = false;
    uint32_t *piece = keymap_put(names, &key, &is_new);
    if (is_new) {
        *piece = (uint32_t)reader->piece;
        return true;
    }
    if (reader->pieces == NULL) {
        return err_set_at(err, where, "%s stands twice", name);
    }
    return *piece == reader->piece ? err_set_at(err, where, "%s stands twice in this file", name)
                                   : err_set_at(err, where, "%s stands in %s already", name,
                                                reader->pieces[*piece].name);
}

static bool read_blocks(struct fleet *fleet, struct fleet_workload *row, struct err *err)
{
    row->first_block = fleet->blocks.num;
    for (size_t i = 0; i < row->spec->n_addresses; i++) {
        struct cidr *block = array_add(&fleet->blocks, sizeof *block);
        if (!cidr_parse(block, row->spec->addresses[i], err)) {
            return err_prefix_where(err, "addresses[%zu]", i);
        }
        row->num_blocks++;
    }
    return true;
}

// Makes the key of a workload, and notes it.
static bool read_key(struct reader *reader, struct fleet_workload *row, struct err *err)
{
    const char *variant = row->spec->variant;
    if (variant[0] != '\0' && reader->pieces != NULL) {
        return err_set_at(err, "variant",
                          "not in a file, since nothing in one tells which variant a sidecar is");
    }
    row->key = fleet_key(row->spec->spiffe_id, variant);
    row->key_len = strlen(row->key);
    return note_name(reader, &reader->ids, row->key, "spiffe_id", err);
}

static bool check_settings(const Tabard__V1__Workload *spec, struct err *err)
{
    if ((unsigned)spec->enforcement > TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE) {
        return err_set_at(err, "enforcement", "%d is neither ENFORCE nor OBSERVE",
                          (int)spec->enforcement);
    }
    if ((unsigned)spec->unlisted_outbound > TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__PLAINTEXT) {
        return err_set_at(err, "unlisted_outbound", "%d is neither DENY nor PLAINTEXT",
                          (int)spec->unlisted_outbound);
    }
    return (unsigned)spec->key_exchange <= TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM ||
           err_set_at(err, "key_exchange", "%d is neither ANY nor POST_QUANTUM",
                      (int)spec->key_exchange);
}

static bool check_ports(const Tabard__V1__Workload *spec, struct err *err)
{
    if (spec->n_ports > FLEET_PORTS_MAX) {
        return err_set_at(err, "ports", "%zu ports, more than %d", spec->n_ports, FLEET_PORTS_MAX);
    }
    struct array ranges = {0}; // struct port_range
    bool good =
        port_range_list(&ranges, spec->ports, spec->n_ports, err) || err_prefix_where(err, "ports");
    array_cleanup(&ranges);
    return good;
}

static bool read_workload(struct reader *reader, const Tabard__V1__Workload *spec, struct err *err)
{
    struct fleet *fleet = reader->fleet;
    struct fleet_workload *row = array_add(&fleet->workloads, sizeof *row);
    row->spec = spec;
    if (!spiffe_workload_parse(&row->id, spec->spiffe_id, strlen(spec->spiffe_id), err)) {
        return err_prefix_where(err, "spiffe_id");
    }
    if (row->id.domain_len != reader->domain.text_len ||
        memcmp(row->id.domain, reader->domain.text, row->id.domain_len) != 0) {
        return err_set_at(err, "spiffe_id", "the CA signs for the trust domain %s only",
                          reader->domain.text);
    }
    if (row->id.path_len > 8 && memcmp(row->id.path, "/tabard/", 8) == 0) {
        return err_set_at(err, "spiffe_id",
                          "ids below /tabard/ are reserved for the mesh's own programs");
    }
    if (!read_key(reader, row, err) || !check_settings(spec, err)) {
        return false;
    }
    uint32_t seconds = spec->certificate_seconds;
    if (seconds != 0 &&
        (seconds < FLEET_CERTIFICATE_SECONDS_MIN || seconds > FLEET_CERTIFICATE_SECONDS_MAX)) {
        return err_set_at(err, "certificate_seconds", "%u is not a life of %d to %d seconds",
                          seconds, FLEET_CERTIFICATE_SECONDS_MIN, FLEET_CERTIFICATE_SECONDS_MAX);
    }
    return check_ports(spec, err) && read_blocks(fleet, row, err);
}

static bool add_pattern(struct array *to, const char *text, struct err *err)
{
    struct spiffe_pattern *pattern = array_add(to, sizeof *pattern);
    return spiffe_pattern_parse(pattern, text, strlen(text), err);
}

// Names the place of an error as this file names it. Returns false.
static bool rename_where(struct err *err, const char *from, const char *to)
{
    size_t from_len = strlen(from);
    if (strncmp(err->where, from, from_len) == 0) {
        char rest[sizeof err->where];
        snprintf(rest, sizeof rest, "%s%s", to, err->where + from_len);
        snprintf(err->where, sizeof err->where, "%s", rest);
    }
    return false;
}

// Checks a policy alone, as a sidecar would.
static bool check_policy(const Tabard__V1__Policy *policy, struct err *err)
{
    Tabard__V1__Policy *const one[] = {(Tabard__V1__Policy *)policy};
    struct policy_index *index = policy_index_new(one, 1, err);
    policy_index_free(index);
    return index != NULL || rename_where(err, "policies[0]", "policy");
}

// Checks a policy's targets, and adds them to `to`.
static bool read_targets(struct array *to, const Tabard__V1__FleetPolicy *spec, struct err *err)
{
    if (spec->policy == NULL) {
        return err_set_at(err, "policy", "missing");
    }
    if (spec->n_targets == 0) {
        return err_set_at(err, "targets", "missing: the SPIFFE ids whose sidecars enforce it");
    }
    for (size_t i = 0; i < spec->n_targets; i++) {
        if (!add_pattern(to, spec->targets[i], err)) {
            return err_prefix_where(err, "targets[%zu]", i);
        }
    }
    return true;
}

bool fleet_check_policy(const Tabard__V1__FleetPolicy *spec, struct err *err)
{
    struct array targets = {0};
    bool ok = read_targets(&targets, spec, err) && check_policy(spec->policy, err);
    array_cleanup(&targets);
    return ok;
}

static bool read_policy(struct reader *reader, const Tabard__V1__FleetPolicy *spec, struct err *err)
{
    struct fleet_policy *policy = array_add(&reader->fleet->policies, sizeof *policy);
    policy->spec = spec;
    if (spec->n_variants > 0 && reader->pieces != NULL) {
        return err_set_at(err, "variants", "not in a file, where no workload has a variant");
    }
    return read_targets(&policy->targets, spec, err) && check_policy(spec->policy, err) &&
           note_name(reader, &reader->policy_names, spec->policy->name, "policy.name", err);
}

// Checks a destination alone, as a sidecar would.
static bool check_destination(const Tabard__V1__Destination *destination, struct err *err)
{
    Tabard__V1__Destination *one[] = {(Tabard__V1__Destination *)destination};
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.destinations = one;
    snapshot.n_destinations = 1;
    struct route_index *index = route_index_new(&snapshot, err);
    route_index_free(index);
    return index != NULL || rename_where(err, "destinations[0]", "destination");
}

bool fleet_check_destination(const Tabard__V1__FleetDestination *spec, struct err *err)
{
    struct spiffe_pattern pattern;
    if (spec->destination == NULL) {
        return err_set_at(err, "destination", "missing");
    }
    if (spec->n_callers == 0) {
        return err_set_at(err, "callers", "missing: the SPIFFE ids that may call it");
    }
    for (size_t i = 0; i < spec->n_callers; i++) {
        if (!spiffe_pattern_parse(&pattern, spec->callers[i], strlen(spec->callers[i]), err)) {
            return err_prefix_where(err, "callers[%zu]", i);
        }
    }
    if (!check_destination(spec->destination, err)) {
        return false;
    }
    return strncmp(spec->destination->name, "spiffe://", 9) != 0 ||
           err_set_at(err, "destination.name",
                      "names that begin with spiffe:// are reserved for the fleet's workloads");
}

static bool read_destination(struct reader *reader, const Tabard__V1__FleetDestination *spec,
                             struct err *err)
{
    const Tabard__V1__FleetDestination **row = array_add(&reader->fleet->destinations, sizeof *row);
    *row = spec;
    return fleet_check_destination(spec, err) &&
           note_name(reader, &reader->destination_names, spec->destination->name,
                     "destination.name", err);
}

static bool read_service(struct reader *reader, const Tabard__V1__FleetService *spec,
                         struct err *err)
{
    return fleet_read_service(reader->fleet, spec, err) &&
           note_name(reader, &reader->destination_names, spec->name, "name", err);
}

#define READ_ALL(piece, field, read_one)                                                           \
    for (size_t i = 0; ok && i < (piece)->n_##field; i++) {                                        \
        if ((piece)->field[i] != NULL && !read_one(reader, (piece)->field[i], err)) {              \
            ok = err_prefix_where(err, #field "[%zu]", i);                                         \
            reader->fleet->refused = &(piece)->field[i]->base;                                     \
        }                                                                                          \
    }

static bool read_config(struct reader *reader, const Tabard__V1__FleetConfig *config,
                        struct err *err)
{
    bool ok = true;
    READ_ALL(config, workloads, read_workload)
    READ_ALL(config, policies, read_policy)
    READ_ALL(config, destinations, read_destination)
    READ_ALL(config, services, read_service)
    return ok;
}

bool fleet_refuse_empty(const char *name, struct err *err)
{
    return err_set(
        err,
        "%s: is empty: it has no key, and what it named before would be gone; delete the "
        "file, or write \"workloads: []\", if that is meant",
        name);
}

static bool read_piece(struct reader *reader, const struct fleet_piece *piece, struct err *err)
{
    struct pb_text_marks *marks = NULL;
    Tabard__V1__FleetConfig *config = (Tabard__V1__FleetConfig *)pb_text_parse(
        &tabard__v1__fleet_config__descriptor, piece->text, piece->len, piece->name, &marks, err);
    reader->fleet->pieces[reader->piece] = config;
    bool ok = config != NULL;
    if (ok && pb_text_marks_are_none(marks)) {
        ok = fleet_refuse_empty(piece->name, err);
    } else if (ok && !read_config(reader, config, err)) {
        ok = pb_text_marks_locate(marks, piece->name, err);
    }
    pb_text_marks_free(marks);
    return ok;
}

// A fixed destination or a service may not be at an address that a workload's sidecar could claim:
// a sidecar would get the address twice and refuse.
static bool check_address(const struct fleet *fleet, const char *what, const char *name,
                          const char *address, struct err *err)
{
    struct cidr own;
    const struct cidr *blocks = fleet->blocks.items;
    if (!cidr_parse(&own, address, err)) {
        return false;
    }
    for (uint32_t b = 0; own.prefix_bits == 128 && b < fleet->blocks.num; b++) {
        if (cidr_contains(&blocks[b], &own.ip)) {
            return err_set(err, "%s %s: %s is an address that a workload's sidecars may take", what,
                           name, address);
        }
    }
    return true;
}

static bool check_addresses(struct fleet *fleet, struct err *err)
{
    const Tabard__V1__FleetDestination **all = fleet->destinations.items;
    const struct fleet_service *services = fleet->services.items;
    for (uint32_t i = 0; i < fleet->destinations.num; i++) {
        const Tabard__V1__Destination *destination = all[i]->destination;
        for (size_t a = 0; a < destination->n_addresses; a++) {
            if (!check_address(fleet, "destination", destination->name, destination->addresses[a],
                               err)) {
                fleet->refused = &all[i]->base;
                return false;
            }
        }
    }
    for (uint32_t i = 0; i < fleet->services.num; i++) {
        const Tabard__V1__FleetService *service = services[i].spec;
        for (size_t a = 0; a < service->n_addresses; a++) {
            if (!check_address(fleet, "service", service->name, service->addresses[a], err)) {
                fleet->refused = &service->base;
                return false;
            }
        }
    }
    return true;
}

static bool check_sizes(const struct fleet *fleet, struct err *err)
{
    if (fleet->workloads.num > FLEET_WORKLOADS_MAX || fleet->policies.num > FLEET_POLICIES_MAX ||
        fleet->destinations.num > FLEET_DESTINATIONS_MAX ||
        fleet->services.num > FLEET_SERVICES_MAX) {
        return err_set(err,
                       "a fleet has at most %d workloads, %d policies, %d destinations and %d "
                       "services; this one has %u, %u, %u and %u",
                       FLEET_WORKLOADS_MAX, FLEET_POLICIES_MAX, FLEET_DESTINATIONS_MAX,
                       FLEET_SERVICES_MAX, fleet->workloads.num, fleet->policies.num,
                       fleet->destinations.num, fleet->services.num);
    }
    return true;
}

static void reader_init(struct reader *reader, const struct fleet_piece *pieces, size_t num_pieces,
                        const char *trust_domain)
{
    struct fleet *fleet = must_alloc(1, sizeof *fleet);
    *reader = (struct reader){.fleet = fleet, .pieces = pieces};
    reader->domain.text = trust_domain;
    reader->domain.text_len = strlen(trust_domain);
    fleet->pieces = must_alloc(num_pieces, sizeof *fleet->pieces);
    fleet->num_pieces = num_pieces;
    fleet->names = pieces == NULL ? NULL : must_alloc(num_pieces, sizeof *fleet->names);
    for (size_t i = 0; pieces != NULL && i < num_pieces; i++) {
        fleet->names[i] = must_strdup(pieces[i].name);
    }
}

// Checks what concerns several items, and builds the indexes. false sets err.
static bool finish(struct reader *reader, bool ok, struct err *err)
{
    struct fleet *fleet = reader->fleet;
    ok = ok && check_sizes(fleet, err) && check_addresses(fleet, err) && fleet_index(fleet, err);
    keymap_cleanup(&reader->ids);
    keymap_cleanup(&reader->policy_names);
    keymap_cleanup(&reader->destination_names);
    return ok;
}

// Returns the fleet, or NULL where something is refused.
static struct fleet *take(struct reader *reader, bool ok)
{
    if (!ok) {
        fleet_free(reader->fleet);
        return NULL;
    }
    return reader->fleet;
}

struct fleet *fleet_new(const struct fleet_piece *pieces, size_t num_pieces,
                        const char *trust_domain, struct err *err)
{
    struct reader reader;
    bool ok = true;
    reader_init(&reader, pieces, num_pieces, trust_domain);
    for (size_t i = 0; ok && i < num_pieces; i++) {
        reader.piece = i;
        ok = read_piece(&reader, &pieces[i], err);
    }
    return take(&reader, finish(&reader, ok, err));
}

struct fleet *fleet_build(Tabard__V1__FleetConfig **configs, const struct fleet_piece *pieces,
                          size_t num, const char *trust_domain,
                          const ProtobufCMessage **out_refused, struct err *err)
{
    struct reader reader;
    bool ok = true;
    reader_init(&reader, pieces, num, trust_domain);
    for (size_t i = 0; ok && i < num; i++) {
        reader.piece = i;
        reader.fleet->pieces[i] = configs[i];
        ok = read_config(&reader, configs[i], err);
    }
    ok = finish(&reader, ok, err);
    *out_refused = reader.fleet->refused;
    if (!ok) {
        memset(reader.fleet->pieces, 0, num * sizeof *configs); // they stay the caller's
    }
    return take(&reader, ok);
}

struct fleet *fleet_new_again(Tabard__V1__FleetConfig **configs, char *const *names, size_t num,
                              const char *trust_domain, struct err *err)
{
    struct fleet_piece *pieces = must_alloc(num, sizeof *pieces);
    const ProtobufCMessage *refused = NULL;
    for (size_t i = 0; i < num; i++) {
        pieces[i].name = names[i];
    }
    struct fleet *fleet = fleet_build(configs, pieces, num, trust_domain, &refused, err);
    for (size_t i = 0; fleet == NULL && i < num; i++) {
        protobuf_c_message_free_unpacked(&configs[i]->base, NULL);
    }
    free(pieces);
    return fleet;
}

struct fleet *fleet_new_of(Tabard__V1__FleetConfig *config, const char *trust_domain,
                           struct err *err)
{
    struct reader reader;
    reader_init(&reader, NULL, 1, trust_domain);
    reader.fleet->pieces[0] = config;
    return take(&reader, finish(&reader, read_config(&reader, config, err), err));
}
