// SPDX-License-Identifier: Apache-2.0
//
// Services: reads them, finds their members, and says which of them a workload sees.
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "control/policyd/fleet/fleet_impl.h"
#include "proxy/rules/name.h"
#include "proxy/rules/route.h"

static bool check_count(const char *where, size_t num, size_t max, struct err *err)
{
    if (num == 0) {
        return err_set_at(err, where, "missing");
    }
    return num <= max || err_set_at(err, where, "%zu of them, more than %zu", num, max);
}

static bool check_port(const Tabard__V1__FleetService__Port *port, struct err *err)
{
    if (!port_check(port->port, err)) {
        return err_prefix_where(err, "port");
    }
    if (!check_count("targets", port->n_targets, FLEET_SERVICE_TARGETS_MAX, err)) {
        return false;
    }
    for (size_t i = 0; i < port->n_targets; i++) {
        if (!port_check(port->targets[i], err)) {
            return err_prefix_where(err, "targets[%zu]", i);
        }
    }
    return true;
}

static bool check_ports(const Tabard__V1__FleetService *spec, struct err *err)
{
    struct keymap seen = {0};
    bool ok = check_count("ports", spec->n_ports, FLEET_SERVICE_PORTS_MAX, err);
    for (size_t i = 0; ok && i < spec->n_ports; i++) {
        const Tabard__V1__FleetService__Port *port = spec->ports[i];
        struct keymap_key key = keymap_key_of(&port->port, sizeof port->port, 0);
        bool is_new = false;
        ok = check_port(port, err) || err_prefix_where(err, "ports[%zu]", i);
        keymap_put(&seen, &key, &is_new);
        if (ok && !is_new) {
            err_set_at(err, "port", "%u is listed twice", port->port);
            ok = err_prefix_where(err, "ports[%zu]", i);
        }
    }
    keymap_cleanup(&seen);
    return ok;
}

bool fleet_read_service(struct fleet *fleet, const Tabard__V1__FleetService *spec, struct err *err)
{
    struct fleet_service *service = array_add(&fleet->services, sizeof *service);
    service->spec = spec;
    if (!name_check(spec->name, DESTINATION_NAME_LEN_MAX, err)) {
        return err_prefix_where(err, "name");
    }
    if (strncmp(spec->name, "spiffe://", 9) == 0) {
        return err_set_at(err, "name",
                          "names that begin with spiffe:// are reserved for the fleet's workloads");
    }
    if (!check_count("addresses", spec->n_addresses, FLEET_SERVICE_ADDRESSES_MAX, err)) {
        return false;
    }
    for (size_t i = 0; i < spec->n_addresses; i++) {
        struct ip ip;
        if (!ip_parse(&ip, spec->addresses[i], err)) {
            return err_prefix_where(err, "addresses[%zu]", i);
        }
    }
    return check_ports(spec, err) &&
           check_count("members", spec->n_members, FLEET_SERVICE_MEMBERS_MAX, err);
}

static int compare_memberships(const void *a, const void *b)
{
    const struct fleet_membership *left = a;
    const struct fleet_membership *right = b;
    return left->workload != right->workload
               ? (left->workload > right->workload ? 1 : -1)
               : (left->service > right->service) - (left->service < right->service);
}

static int compare_covers(const void *a, const void *b)
{
    const struct fleet_cover *left = a;
    const struct fleet_cover *right = b;
    return left->destination != right->destination
               ? (left->destination > right->destination ? 1 : -1)
               : (left->service > right->service) - (left->service < right->service);
}

// Adds a service's members, and the ids by which they are known, each once.
static bool find_members(struct fleet *fleet, uint32_t number, struct err *err)
{
    struct fleet_service *service = &((struct fleet_service *)fleet->services.items)[number];
    struct keymap ids = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < service->spec->n_members; i++) {
        const Tabard__V1__FleetService__Member *member = service->spec->members[i];
        char *text = fleet_key(member->spiffe_id, member->variant);
        uint32_t workload = fleet_find_key(fleet, text, strlen(text));
        struct keymap_key key = keymap_key_of(member->spiffe_id, strlen(member->spiffe_id), 0);
        bool is_new = false;
        ok = workload != FLEET_NONE ||
             err_set(err, "service %s: the fleet doesn't name its member %s", service->spec->name,
                     text);
        free(text);
        if (!ok) {
            break;
        }
        struct fleet_membership *membership = array_add(&fleet->memberships, sizeof *membership);
        *membership = (struct fleet_membership){.workload = workload, .service = number};
        keymap_put(&ids, &key, &is_new);
        if (is_new) {
            char **id = array_add(&service->identities, sizeof *id);
            *id = member->spiffe_id;
        }
    }
    keymap_cleanup(&ids);
    return ok &&
           (service->identities.num <= DESTINATION_IDENTITIES_MAX ||
            err_set(err, "service %s: its members have %u identities, more than %d",
                    service->spec->name, service->identities.num, DESTINATION_IDENTITIES_MAX));
}

// Finds which destinations name an address of a service exactly.
static bool find_covers(struct fleet *fleet, struct err *err)
{
    struct array ips = {0}; // struct ip, borrowed by the map: filled first
    struct keymap owners = {0};
    const struct fleet_service *services = fleet->services.items;
    const Tabard__V1__FleetDestination **destinations = fleet->destinations.items;
    bool ok = true;
    for (uint32_t i = 0; i < fleet->services.num; i++) {
        for (size_t a = 0; a < services[i].spec->n_addresses; a++) {
            ip_parse(array_add(&ips, sizeof(struct ip)), services[i].spec->addresses[a], NULL);
        }
    }
    const struct ip *ip = ips.items;
    for (uint32_t i = 0; ok && i < fleet->services.num; i++) {
        for (size_t a = 0; ok && a < services[i].spec->n_addresses; a++, ip++) {
            struct keymap_key key = keymap_key_of(ip, sizeof *ip, 0);
            bool is_new = false;
            *keymap_put(&owners, &key, &is_new) = i;
            ok = is_new || err_set(err, "service %s: %s is an address of another service, or twice",
                                   services[i].spec->name, services[i].spec->addresses[a]);
            fleet->refused = ok ? NULL : &services[i].spec->base;
        }
    }
    for (uint32_t i = 0; ok && i < fleet->destinations.num; i++) {
        const Tabard__V1__Destination *destination = destinations[i]->destination;
        for (size_t a = 0; a < destination->n_addresses; a++) {
            struct cidr block;
            cidr_parse(&block, destination->addresses[a], NULL);
            struct keymap_key key = keymap_key_of(&block.ip, sizeof block.ip, 0);
            const uint32_t *owner = block.prefix_bits == 128 ? keymap_find(&owners, &key) : NULL;
            if (owner != NULL) {
                struct fleet_cover *cover = array_add(&fleet->covers, sizeof *cover);
                *cover = (struct fleet_cover){.destination = i, .service = *owner};
            }
        }
    }
    keymap_cleanup(&owners);
    array_cleanup(&ips);
    return ok;
}

bool fleet_index_services(struct fleet *fleet, struct err *err)
{
    for (uint32_t i = 0; i < fleet->services.num; i++) {
        if (!find_members(fleet, i, err)) {
            fleet->refused = &((struct fleet_service *)fleet->services.items)[i].spec->base;
            return false;
        }
    }
    if (fleet->memberships.num > 1) {
        qsort(fleet->memberships.items, fleet->memberships.num, sizeof(struct fleet_membership),
              compare_memberships);
    }
    struct fleet_workload *workloads = fleet->workloads.items;
    const struct fleet_membership *memberships = fleet->memberships.items;
    for (uint32_t i = 0; i < fleet->memberships.num; i++) {
        struct fleet_workload *row = &workloads[memberships[i].workload];
        row->first_service = row->num_services == 0 ? i : row->first_service;
        row->num_services++;
    }
    if (!find_covers(fleet, err)) {
        return false;
    }
    if (fleet->covers.num > 1) {
        qsort(fleet->covers.items, fleet->covers.num, sizeof(struct fleet_cover), compare_covers);
    }
    return true;
}

// A service of which a callee is a member.
struct offer {
    uint32_t service;
    uint32_t callee; // of the sight's callees
};

static int compare_offers(const void *a, const void *b)
{
    uint32_t left = ((const struct offer *)a)->service;
    uint32_t right = ((const struct offer *)b)->service;
    return (left > right) - (left < right);
}

// Says whether a destination that the workload may call stands in place of the service.
static bool is_covered(const struct fleet_sight *sight, const struct fleet *fleet, uint32_t service)
{
    const uint32_t *destinations = sight->destinations.items;
    for (uint32_t i = 0; i < sight->destinations.num && fleet->covers.num > 0; i++) {
        struct fleet_cover cover = {.destination = destinations[i], .service = service};
        if (bsearch(&cover, fleet->covers.items, fleet->covers.num, sizeof cover, compare_covers) !=
            NULL) {
            return true;
        }
    }
    return false;
}

static int compare_ranges(const void *a, const void *b)
{
    return (int)((const struct port_range *)a)->first - ((const struct port_range *)b)->first;
}

// Lists what is open of the members of one service, each port in one range at most, in order.
static void open_ranges(struct array *out, const struct fleet_sight *sight,
                        const struct offer *offers, uint32_t num)
{
    const struct fleet_callee *callees = sight->callees.items;
    const uint32_t *ports = sight->ports.items;
    out->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        const struct fleet_callee *callee = &callees[offers[i].callee];
        for (uint32_t p = 0; p < callee->num_ports; p++) {
            port_range_of(array_add(out, sizeof(struct port_range)), ports[callee->first_port + p],
                          NULL);
        }
    }
    struct port_range *ranges = out->items;
    uint32_t num_kept = 0;
    if (out->num > 1) {
        qsort(ranges, out->num, sizeof *ranges, compare_ranges);
    }
    for (uint32_t i = 0; i < out->num; i++) {
        struct port_range *last = num_kept > 0 ? &ranges[num_kept - 1] : NULL;
        if (last == NULL || ranges[i].first > last->last) {
            ranges[num_kept++] = ranges[i];
        } else if (ranges[i].last > last->last) {
            last->last = ranges[i].last;
        }
    }
    out->num = num_kept;
}

static bool sees_target(const struct array *open, const Tabard__V1__FleetService__Port *port)
{
    const struct port_range *ranges = open->items;
    for (size_t t = 0; t < port->n_targets; t++) {
        uint16_t target = (uint16_t)port->targets[t];
        uint32_t low = 0;
        for (uint32_t high = open->num; low < high;) { // to the first range that doesn't end before
            uint32_t middle = low + (high - low) / 2;
            low = ranges[middle].last < target ? middle + 1 : low;
            high = ranges[middle].last < target ? high : middle;
        }
        if (low < open->num && port_range_has(ranges[low], target)) {
            return true;
        }
    }
    return false;
}

static void see_service(struct fleet_sight *sight, const struct fleet *fleet, uint32_t service,
                        const struct array *open)
{
    const Tabard__V1__FleetService *spec =
        ((const struct fleet_service *)fleet->services.items)[service].spec;
    uint32_t first = sight->ports.num;
    for (size_t p = 0; p < spec->n_ports; p++) {
        if (sees_target(open, spec->ports[p])) {
            uint32_t *port = array_add(&sight->ports, sizeof *port);
            *port = spec->ports[p]->port;
        }
    }
    if (sight->ports.num > first) {
        struct fleet_served *served = array_add(&sight->services, sizeof *served);
        *served = (struct fleet_served){service, first, sight->ports.num - first};
    }
}

void fleet_see_services(struct fleet_sight *sight, const struct fleet *fleet, uint32_t workload)
{
    struct array all = {0};  // struct offer
    struct array open = {0}; // struct port_range
    const struct fleet_callee *callees = sight->callees.items;
    const struct fleet_membership *memberships = fleet->memberships.items;
    const struct fleet_service *services = fleet->services.items;
    bool is_observed = fleet_workload(fleet, workload)->spec->enforcement ==
                       TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    for (uint32_t i = 0; i < sight->callees.num; i++) {
        const struct fleet_workload *row = fleet_workload(fleet, callees[i].workload);
        for (uint32_t s = 0; s < row->num_services; s++) {
            uint32_t service = memberships[row->first_service + s].service;
            if (!(is_observed && services[service].spec->has_strangers)) {
                struct offer *offer = array_add(&all, sizeof *offer);
                *offer = (struct offer){.service = service, .callee = i};
            }
        }
    }
    struct offer *offers = all.items;
    if (all.num > 1) {
        qsort(offers, all.num, sizeof *offers, compare_offers);
    }
    for (uint32_t i = 0, end; i < all.num; i = end) {
        for (end = i; end < all.num && offers[end].service == offers[i].service;) {
            end++;
        }
        if (!is_covered(sight, fleet, offers[i].service)) {
            open_ranges(&open, sight, offers + i, end - i);
            see_service(sight, fleet, offers[i].service, &open);
        }
    }
    array_cleanup(&all);
    array_cleanup(&open);
}
