// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/now.h"
#include "base/pb/pb_text.h"
#include "control/ctl/ask.h"
#include "control/ctl/ctl.h"
#include "control/ctl/when.h"
#include "proto/contract.h"
#include "tabard/v1/admin.pb-c.h"

#define DEADLINE_MS 5000

const char ctl_audit_usage[] =
    "usage: tabardctl audit [--admin PATH] [--current] [--json]\n"
    "\n"
    "Lists what would be denied if settings.enforcement were ENFORCE: who called, what, how "
    "often,\n"
    "and why. An entry stays after a policy allows it; * marks those that have not come again "
    "since\n"
    "the configuration changed.\n"
    "\n"
    "  --admin PATH  the agent's admin socket (" CONTRACT_ADMIN_PATH ")\n"
    "  --current     only what the configuration in force would deny\n"
    "  --json        the agent's answer as it is\n"
    "\n"
    "Exit status: 0, 1 no agent or no answer, 2 for a wrong flag.\n";

// Why, and by which policy.
static void print_reason(const Tabard__V1__Denial *denial)
{
    printf("%s", denial->reason);
    if (denial->policy[0] != '\0') {
        printf(" by %s", denial->policy);
    }
    if (denial->deciding_case == TABARD__V1__DENIAL__DECIDING_RULE) {
        printf("#%u", denial->rule);
    }
    printf("\n");
}

static const char *who(const Tabard__V1__Denial *denial)
{
    return denial->peer[0] != '\0'     ? denial->peer
           : denial->source[0] != '\0' ? denial->source
                                       : "this service";
}

static void print_audit(const Tabard__V1__Audit *audit, bool is_current_only, int64_t now_ms)
{
    char text[WHEN_TEXT_MAX];
    size_t num = 0;
    size_t num_old = 0;
    bool is_observing = audit->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    printf("enforcement: %s; generation %" PRIu64 ", in force since %s\n",
           is_observing ? "OBSERVE: what policy denies is served" : "ENFORCE", audit->generation,
           when_date(audit->applied_unix_ms, text, sizeof text));
    for (size_t i = 0; i < audit->n_denials; i++) {
        const Tabard__V1__Denial *denial = audit->denials[i];
        bool is_old = denial->generation < audit->generation;
        num_old += is_old;
        if (is_old && is_current_only) {
            continue;
        }
        if (num++ == 0) {
            printf("\n%8s  %-12s %-40s %-23s %s\n", "count", "last", "from", "to", "would be");
        }
        printf("%8" PRIu64 "%c %-12s %-40s %-23s ", denial->count, is_old ? '*' : ' ',
               when_distance((denial->last_unix_ms - now_ms) / 1000, text, sizeof text),
               who(denial), denial->destination);
        print_reason(denial);
    }
    if (num == 0) {
        printf("nothing would be denied%s\n",
               num_old > 0 ? " since then; without --current there is more" : "");
    } else if (num_old > 0 && !is_current_only) {
        printf("* not since the configuration in force\n");
    }
    if (audit->denials_dropped > 0) {
        printf("%" PRIu64 " connections more are in no entry (settings.limits.denials)\n",
               audit->denials_dropped);
    }
}

int ctl_audit(int argc, char **argv)
{
    const char *path = CONTRACT_ADMIN_PATH;
    bool is_current_only = false;
    bool as_json = false;
    struct err err = {{0}, {0}};
    const struct flag flags[] = {
        {.name = "admin", .value = &path},
        {.name = "current", .out_given = &is_current_only},
        {.name = "json", .out_given = &as_json},
    };
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, &err)) {
        err_prefix(&err, "audit");
        return ctl_fail(CTL_USAGE, &err);
    }
    size_t len = 0;
    char *text = ask(path, "/audit", DEADLINE_MS, &len, &err);
    Tabard__V1__Audit *audit =
        text == NULL ? NULL
                     : (Tabard__V1__Audit *)pb_text_parse(&tabard__v1__audit__descriptor, text, len,
                                                          "the agent's answer", NULL, &err);
    if (audit == NULL) {
        free(text);
        err_prefix(&err, "audit");
        return ctl_fail(CTL_FAILED, &err);
    }
    if (as_json) {
        fwrite(text, 1, len, stdout);
    } else {
        print_audit(audit, is_current_only, now_unix_ms());
    }
    tabard__v1__audit__free_unpacked(audit, NULL);
    free(text);
    return CTL_OK;
}
