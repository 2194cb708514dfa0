// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/upkeep.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "control/intercept/expected.h"
#include "control/intercept/host.h"
#include "control/intercept/nft.h"
#include "control/intercept/passing.h"
#include "control/intercept/record.h"
#include "control/intercept/routes.h"

enum {
    SELF_CHECKS = 3,    // at most, while they pass
    UNSETTLED_MAX = 10, // looks; an `up` that takes longer hides no loss any more
};

void upkeep_init(struct upkeep *upkeep, uint16_t outbound_port, uint16_t inbound_port)
{
    *upkeep = (struct upkeep){.outbound_port = outbound_port, .inbound_port = inbound_port};
    upkeep->may_change = nft_check(NULL);
}

static void forget_record(struct upkeep *upkeep)
{
    free(upkeep->words);
    free(upkeep->asked);
    free(upkeep->expected);
    upkeep->words = upkeep->expected = NULL;
    upkeep->asked = NULL;
}

void upkeep_cleanup(struct upkeep *upkeep)
{
    forget_record(upkeep);
    array_cleanup(&upkeep->passing);
    *upkeep = (struct upkeep){0};
}

// Reads the record, if it is another one than at the last look. One that is there and can't be read
// changes nothing; one that says what no `up` would take counts as none.
static void take_record(struct upkeep *upkeep, bool *out_is_new)
{
    struct err why = {{0}, {0}};
    char *words = record_read(&why);
    if (words == NULL && why.text[0] != '\0') {
        *out_is_new = false;
        return;
    }
    *out_is_new = words != NULL && (upkeep->words == NULL || strcmp(words, upkeep->words) != 0);
    if (words != NULL && !*out_is_new) {
        free(words);
        return;
    }
    forget_record(upkeep);
    struct asked *asked = words == NULL ? NULL : must_alloc(1, sizeof *asked);
    if (asked != NULL && record_parse(asked, words, NULL)) {
        upkeep->words = words;
        upkeep->asked = asked;
        return;
    }
    free(asked);
    free(words);
}

// Sends a datagram to the address of the self check, which needs no capability, and returns what
// the kernel says: EPERM where the rules catch it, 0 where it passed.
static int send_to_self_check(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(RULESET_SELF_CHECK_PORT)};
    inet_pton(AF_INET, RULESET_SELF_CHECK_IP, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_sent =
        fd >= 0 && sendto(fd, "", 1, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) > 0;
    int error = is_sent ? 0 : errno;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

// One that passed is remembered by connection tracking for half a minute, and by that lets pass the
// next one that happens to come from the same port. So one that is caught counts for more.
static int self_check(void)
{
    int error = 0;
    for (int i = 0; i < SELF_CHECKS && error == 0; i++) {
        error = send_to_self_check();
    }
    return error;
}

bool upkeep_is_suspect(void)
{
    return self_check() == 0;
}

static bool leads_to(const char *rules, uint16_t port)
{
    char rule[32];
    snprintf(rule, sizeof rule, "redirect to :%u\n", port);
    return strstr(rules, rule) != NULL;
}

// Whether the rules are those of the record; without one, whether there are rules that lead here.
static bool check_rules(struct upkeep *upkeep, struct err *err)
{
    char *have = NULL;
    if (!upkeep->may_change) {
        return self_check() == EPERM || err_set(err, "a datagram that table " RULESET_TABLE
                                                     " must stop passes: the table is "
                                                     "gone, or its chain of outbound traffic");
    }
    // libnftables ends the process where it gets no socket.
    if (!nft_check(err)) {
        return err_prefix(err, "table " RULESET_TABLE " can't be read");
    }
    if (!nft_list(&have, RULESET_TABLE, err)) {
        return err_set(err, "there is no table " RULESET_TABLE);
    }
    bool good = leads_to(have, upkeep->outbound_port) && leads_to(have, upkeep->inbound_port);
    if (!good) {
        err_set(err, "table " RULESET_TABLE " doesn't lead to ports %u and %u of this sidecar",
                upkeep->outbound_port, upkeep->inbound_port);
    }
    const struct ruleset *ruleset = upkeep->asked == NULL ? NULL : &upkeep->asked->ruleset;
    if (good && ruleset != NULL && upkeep->expected == NULL) {
        good = expected_list(&upkeep->expected, ruleset, RULESET_WATCHED_TABLE, err);
    }
    if (good && ruleset != NULL && !expected_compare(have, upkeep->expected, err)) {
        good = err_prefix(err, "table " RULESET_TABLE " was changed");
    }
    // An older `up` made no rule for the self check.
    if (good && strstr(have, RULESET_SELF_CHECK_IP) != NULL && self_check() == 0) {
        good = err_set(err, "table " RULESET_TABLE " is there, and other rules (notrack, say) keep "
                            "connections from it");
    }
    free(have);
    return good;
}

// The rules that the record asks for lead to this sidecar.
static bool is_ours(const struct upkeep *upkeep)
{
    return upkeep->asked != NULL && upkeep->asked->ruleset.outbound_port == upkeep->outbound_port &&
           upkeep->asked->ruleset.inbound_port == upkeep->inbound_port;
}

static bool check_loopback(const struct host *host, struct err *err)
{
    const struct host_interface *interfaces = host->interfaces.items;
    for (uint32_t i = 0; i < host->interfaces.num; i++) {
        if (interfaces[i].is_loopback && !interfaces[i].is_up) {
            return err_set(err, "%s is down, and what goes out is redirected to it",
                           interfaces[i].name);
        }
    }
    return true;
}

// Looks at the routes, and with is_mending makes them. Without a record they are those that every
// `up` makes.
static void check_routes(struct upkeep *upkeep, bool is_mending)
{
    struct rtnl rtnl;
    struct host host = {0};
    struct err *why = &upkeep->routes_why;
    struct ruleset *plain = must_alloc(1, sizeof *plain);
    ruleset_init(plain);
    const struct ruleset *ruleset = upkeep->asked != NULL ? &upkeep->asked->ruleset : plain;
    int error = rtnl_open(&rtnl);
    upkeep->has_lost_routes = upkeep->lacks_routes = upkeep->has_traces = false;
    if (error != 0) {
        err_set(why, "this host's routes can't be asked for: %s", strerror(error));
        upkeep->has_lost_routes = true;
    } else if (!host_read(&host, &rtnl, why) || !check_loopback(&host, why) ||
               (is_mending && !routes_up(&rtnl, &host, ruleset, why))) {
        upkeep->has_lost_routes = true;
    } else {
        enum routes_state state = routes_check(&rtnl, &host, ruleset, why);
        upkeep->has_lost_routes = state == ROUTES_LOST;
        upkeep->lacks_routes = state == ROUTES_LACK;
        upkeep->has_traces = routes_are_there(&rtnl);
    }
    host_cleanup(&host);
    rtnl_close(&rtnl);
    free(plain);
}

static bool put_back(struct upkeep *upkeep, bool rules, struct err *err)
{
    check_routes(upkeep, true);
    if (upkeep->has_lost_routes) {
        return err_set(err, "%s", upkeep->routes_why.text);
    }
    if (!rules) {
        return true;
    }
    char *text = ruleset_up(&upkeep->asked->ruleset);
    bool good = nft_load(text, err);
    free(text);
    return good;
}

// What it means that interception doesn't hold.
static enum upkeep_state state_of_absence(const struct upkeep *upkeep)
{
    if (upkeep->asked != NULL && !is_ours(upkeep)) {
        return upkeep->was_up ? UPKEEP_LOST : UPKEEP_UNSEEN; // it is another sidecar's
    }
    if (upkeep->asked == NULL && upkeep->is_taken_down) {
        return UPKEEP_TAKEN_DOWN;
    }
    bool has_sign = upkeep->asked != NULL || upkeep->was_up || upkeep->has_traces;
    return has_sign ? UPKEEP_LOST : UPKEEP_UNSEEN;
}

// Makes what was lost, or routes that a new interface needs, and looks again.
static void mend(struct upkeep *upkeep, bool has_rules, struct upkeep_found *out)
{
    struct err err = {{0}, {0}};
    if (!put_back(upkeep, !has_rules, &err) || !check_rules(upkeep, &err)) {
        out->why = err;
    } else if (out->was_lost) {
        out->state = UPKEEP_HOLDS;
        out->is_put_back = true;
    }
}

// Ends what passed, and counts it, at the end of a loss; counts at the beginning what was open
// before the rules were there and goes on beside them, which is no part of it.
static void end_passing(struct upkeep *upkeep, struct upkeep_found *out)
{
    bool is_end = out->was_lost || upkeep->is_lost;
    if (out->state == UPKEEP_HOLDS && (is_end || !upkeep->was_up)) {
        struct ruleset *plain = must_alloc(1, sizeof *plain);
        ruleset_init(plain);
        const struct ruleset *ruleset = upkeep->asked != NULL ? &upkeep->asked->ruleset : plain;
        if (is_end && upkeep->may_change) {
            passing_forget(ruleset, &out->goes_on);
        }
        struct array passing;
        passing_list(&passing, ruleset);
        out->num_passed = is_end ? passing_num_new(&passing, &upkeep->passing) : 0;
        array_cleanup(&upkeep->passing);
        upkeep->passing = passing;
        free(plain);
    }
    upkeep->is_lost = out->state == UPKEEP_LOST;
}

// Whether somebody was changing rules, routes and record on purpose at any time of a look.
static bool is_in_turn(struct record_turn before)
{
    struct record_turn now = record_turn();
    return before.is_under_way || now.is_under_way || before.begun_ns != now.begun_ns;
}

void upkeep_look(struct upkeep *upkeep, bool routes, bool can_put_back, struct upkeep_found *out)
{
    struct record_turn turn = record_turn();
    bool had_record = upkeep->asked != NULL;
    bool is_new = false;
    *out = (struct upkeep_found){.state = UPKEEP_HOLDS};
    if (upkeep->may_change) {
        take_record(upkeep, &is_new);
        upkeep->is_taken_down = upkeep->asked == NULL && (had_record || upkeep->is_taken_down);
    }
    bool has_rules = check_rules(upkeep, &out->why);
    if (routes || is_new) {
        check_routes(upkeep, false);
    }
    bool has_routes = !upkeep->has_lost_routes || (upkeep->asked == NULL && !upkeep->had_routes);
    if (has_rules && !has_routes) {
        out->why = upkeep->routes_why;
    }
    if (!has_rules || !has_routes) {
        out->state = state_of_absence(upkeep);
        out->was_lost = out->state == UPKEEP_LOST;
        out->is_unsettled = upkeep->num_unsettled < UNSETTLED_MAX && is_in_turn(turn);
    }
    upkeep->num_unsettled = out->is_unsettled ? upkeep->num_unsettled + 1 : 0;
    out->puts_back = upkeep->may_change && is_ours(upkeep);
    bool is_mendable = out->puts_back && can_put_back && !out->is_unsettled;
    if (is_mendable && (out->was_lost || upkeep->lacks_routes)) {
        mend(upkeep, has_rules, out);
    }
    end_passing(upkeep, out);
    upkeep->was_up = upkeep->was_up || out->state == UPKEEP_HOLDS;
    upkeep->had_routes = upkeep->was_up && (upkeep->had_routes || !upkeep->has_lost_routes);
}
