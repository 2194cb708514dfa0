// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/asked.h"

#include "base/flags.h"

static bool set_port(void *out, const char *value, struct err *err)
{
    return ruleset_set_port(out, value, err);
}

static bool set_uid(void *out, const char *value, struct err *err)
{
    return ruleset_set_uid(out, value, err);
}

static bool add_ports(void *list, const char *value, struct err *err)
{
    return ruleset_add_ports(list, value, err);
}

static bool add_uids(void *list, const char *value, struct err *err)
{
    return ruleset_add_uids(list, value, err);
}

static bool add_cidrs(void *list, const char *value, struct err *err)
{
    return ruleset_add_cidrs(list, value, err);
}

static bool add_interfaces(void *list, const char *value, struct err *err)
{
    return ruleset_add_interfaces(list, value, err);
}

static bool add_addresses(void *list, const char *value, struct err *err)
{
    return ruleset_add_addresses(list, value, err);
}

bool asked_parse(struct asked *out, int argc, char **argv, struct err *err)
{
    struct ruleset *ruleset = &out->ruleset;
    *out = (struct asked){0};
    ruleset_init(ruleset);
    const struct flag flags[] = {
        {.name = "outbound-port", .set = set_port, .ctx = &ruleset->outbound_port},
        {.name = "inbound-port", .set = set_port, .ctx = &ruleset->inbound_port},
        {.name = "proxy-uid", .set = set_uid, .ctx = &ruleset->proxy_uid},
        {.name = "exclude-uids", .set = add_uids, .ctx = &ruleset->exclude_uids},
        {.name = "exclude-inbound-ports", .set = add_ports, .ctx = &ruleset->exclude_inbound_ports},
        {.name = "include-inbound-ports", .set = add_ports, .ctx = &ruleset->include_inbound_ports},
        {.name = "exclude-inbound-cidrs", .set = add_cidrs, .ctx = &ruleset->exclude_inbound_cidrs},
        {.name = "exclude-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset->exclude_outbound_ports},
        {.name = "include-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset->include_outbound_ports},
        {.name = "exclude-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset->exclude_outbound_cidrs},
        {.name = "include-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset->include_outbound_cidrs},
        {.name = "exclude-inbound-interfaces",
         .set = add_interfaces,
         .ctx = &ruleset->exclude_inbound_interfaces},
        {.name = "service-sources", .set = add_addresses, .ctx = &ruleset->service_sources},
        {.name = "verify", .out_given = &out->verifies},
        {.name = "caller-addresses", .out_given = &ruleset->has_caller_addresses},
    };
    size_t num_operands = 0;
    return flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, &out->action, 1,
                       &num_operands, err) &&
           ruleset_check(ruleset, err);
}
