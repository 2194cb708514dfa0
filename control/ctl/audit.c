// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/now.h"
#include "base/pb/pb_text.h"
#include "control/ctl/ask.h"
#include "control/ctl/show/audit_cluster.h"
#include "control/ctl/show/audit_table.h"
#include "control/ctl/show/screen.h"
#include "control/ctl/ctl.h"
#include "control/ctl/show/when.h"
#include "proto/contract.h"
#include "tabard/v1/admin.pb-c.h"

#define DEADLINE_MS 5000

const char ctl_audit_usage[] =
    "usage: tabardctl audit [--admin PATH] [--current] [--json]\n"
    "       tabardctl audit --kubernetes [--namespace NAME] [flags]\n"
    "\n"
    "Lists what would be denied if settings.enforcement were ENFORCE: who called, what, how "
    "often,\n"
    "and why. An entry stays after a policy allows it; * marks those that have not come again "
    "since\n"
    "the configuration changed.\n"
    "\n"
    "  --admin PATH      the agent's admin socket (" CONTRACT_ADMIN_PATH ")\n"
    "  --current         only what has come since the configuration changed\n"
    "  --json            as JSON, by the fields of proto/tabard/v1/admin.proto\n"
    "  --kubernetes      asks every sidecar of the cluster, through kubectl, and adds up by "
    "workload\n"
    "  --namespace NAME  only those of one namespace\n"
    "  --context NAME    a context of the kubeconfig\n"
    "  --kubectl PATH    the kubectl to use (that of PATH)\n"
    "\n"
    "Exit status: 0, 1 no agent or no answer of a pod, 2 for a wrong flag.\n";

// Takes out what the configuration in force may not deny, as far as can be told.
static size_t keep_current(Tabard__V1__Audit *audit)
{
    size_t num = 0;
    for (size_t i = 0; i < audit->n_denials; i++) {
        if (audit->denials[i]->generation < audit->generation) {
            tabard__v1__denial__free_unpacked(audit->denials[i], NULL);
        } else {
            audit->denials[num++] = audit->denials[i];
        }
    }
    size_t num_old = audit->n_denials - num;
    audit->n_denials = num;
    return num_old;
}

static void print_dropped(uint64_t num)
{
    if (num > 0) {
        printf("%" PRIu64 " connections more are in no entry (settings.limits.denials)\n", num);
    }
}

static void print_audit(Tabard__V1__Audit *audit, bool is_current_only)
{
    char text[WHEN_TEXT_MAX];
    size_t num_left_out = is_current_only ? keep_current(audit) : 0;
    bool is_observing = audit->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    bool has_old = false;
    printf("enforcement: %s; generation %" PRIu64 ", in force since %s\n",
           is_observing ? "OBSERVE: what policy denies is served" : "ENFORCE", audit->generation,
           when_date(audit->applied_unix_ms, text, sizeof text));
    if (audit->n_denials == 0) {
        printf("nothing would be denied%s\n",
               num_left_out > 0 ? " since then; without --current there is more" : "");
    }
    audit_table_print(audit->denials, audit->n_denials, audit->generation, now_unix_ms());
    for (size_t i = 0; i < audit->n_denials; i++) {
        has_old |= audit->denials[i]->generation < audit->generation;
    }
    if (has_old) {
        printf("* not since the configuration in force\n");
    }
    print_dropped(audit->denials_dropped);
}

static int audit_one(const char *path, bool is_current_only, bool as_json)
{
    struct err err = {{0}, {0}};
    size_t len = 0;
    size_t num_unknown = 0;
    char *text = ask(path, "/audit", DEADLINE_MS, &len, &err);
    Tabard__V1__Audit *audit =
        text == NULL
            ? NULL
            : (Tabard__V1__Audit *)pb_text_parse_known(&tabard__v1__audit__descriptor, text, len,
                                                       "the agent's answer", &num_unknown, &err);
    if (audit == NULL) {
        free(text);
        err_prefix(&err, "audit");
        return ctl_fail(CTL_FAILED, &err);
    }
    if (as_json) {
        screen_pass_through();
        fwrite(text, 1, len, stdout);
    } else {
        screen_clean(&audit->base);
        print_audit(audit, is_current_only);
        ctl_tell_unknown(num_unknown);
    }
    tabard__v1__audit__free_unpacked(audit, NULL);
    free(text);
    return CTL_OK;
}

static void print_cluster(const Tabard__V1__ClusterAudit *audit)
{
    size_t num_quiet = 0;
    for (size_t i = 0; i < audit->n_workloads; i++) {
        const Tabard__V1__ClusterAudit__Workload *at = audit->workloads[i];
        if (at->n_denials == 0 && at->denials_dropped == 0) {
            num_quiet++;
            continue;
        }
        printf("%s/%s: %u sidecar%s, %u of which observe\n", at->namespace_, at->name, at->sidecars,
               at->sidecars == 1 ? "" : "s", at->observing);
        audit_table_print(at->denials, at->n_denials, 0, now_unix_ms());
        print_dropped(at->denials_dropped);
        printf("\n");
    }
    printf("%zu workloads with sidecars; in %zu nothing would be denied\n", audit->n_workloads,
           num_quiet);
}

static int audit_kubernetes(const struct kubectl *kubectl,
                            const struct audit_cluster_question *question, bool as_json)
{
    struct err err = {{0}, {0}};
    Tabard__V1__ClusterAudit *audit = audit_cluster(kubectl, question, &err);
    if (audit == NULL) {
        err_prefix(&err, "audit");
        return ctl_fail(CTL_FAILED, &err);
    }
    if (as_json) {
        screen_pass_through();
        char *text = pb_text_to_json(&audit->base);
        printf("%s\n", text != NULL ? text : "");
        free(text);
    } else {
        screen_clean(&audit->base);
        print_cluster(audit);
    }
    for (size_t i = 0; i < audit->n_failures; i++) {
        fprintf(stderr, "tabardctl: audit: no answer of %s\n", audit->failures[i]);
    }
    int status = audit->n_failures == 0 ? CTL_OK : CTL_FAILED;
    tabard__v1__cluster_audit__free_unpacked(audit, NULL);
    return status;
}

int ctl_audit(int argc, char **argv)
{
    const char *path = NULL;
    bool is_current_only = false;
    bool as_json = false;
    bool is_kubernetes = false;
    struct kubectl kubectl = {0};
    struct audit_cluster_question question = {0};
    struct err err = {{0}, {0}};
    const struct flag flags[] = {
        {.name = "admin", .value = &path},
        {.name = "current", .out_given = &is_current_only},
        {.name = "json", .out_given = &as_json},
        {.name = "kubernetes", .out_given = &is_kubernetes},
        {.name = "namespace", .value = &question.namespace},
        {.name = "context", .value = &kubectl.context},
        {.name = "kubectl", .value = &kubectl.program},
    };
    bool good = flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, &err);
    bool has_more =
        question.namespace != NULL || kubectl.context != NULL || kubectl.program != NULL;
    if (good && is_kubernetes && path != NULL) {
        good = err_set(&err, "--admin is of one sidecar, and --kubernetes asks all");
    } else if (good && !is_kubernetes && has_more) {
        good = err_set(&err, "--namespace, --context and --kubectl are for --kubernetes alone");
    }
    if (!good) {
        err_prefix(&err, "audit");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (!is_kubernetes) {
        return audit_one(path != NULL ? path : CONTRACT_ADMIN_PATH, is_current_only, as_json);
    }
    kubectl.program = kubectl.program != NULL ? kubectl.program : "kubectl";
    question.is_current_only = is_current_only;
    return audit_kubernetes(&kubectl, &question, as_json);
}
