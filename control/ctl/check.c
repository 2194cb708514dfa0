// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <time.h>

#include "control/agent/snapshot/assemble.h"
#include "control/ctl/ctl.h"
#include "base/flags.h"

const char ctl_check_usage[] =
    "usage: tabardctl check [mesh.yaml]\n"
    "\n"
    "Checks the file, and the certificates and keys that it names, by the same code that the "
    "agent\n"
    "uses before it sends anything to its proxy. Exit status: 0 good, 1 not, with the first error\n"
    "as file:line:column on standard error; 2 for a wrong flag.\n";

static void print_count(size_t num, const char *one, const char *many)
{
    printf(", %zu %s", num, num == 1 ? one : many);
}

static void print_good(const char *path, const struct assembled *assembled)
{
    const Tabard__V1__Snapshot *snapshot = assembled->snapshot;
    char until[32] = "?";
    struct tm utc;
    if (gmtime_r(&assembled->not_after, &utc) != NULL) {
        strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    if (assembled->access != NULL) {
        // Who this is, and what peers may do, is the policy agent's to say.
        printf("%s: ok: follows the policy agent at %s", path, assembled->access->config->address);
        print_count(snapshot->n_inbound_ports, "inbound port", "inbound ports");
        print_count(snapshot->n_forwards, "forward", "forwards");
        printf("%s\n", assembled->outbound_port != 0 ? ", interception" : "");
        return;
    }
    printf("%s: ok: %s until %s", path, assembled->spiffe_id, until);
    print_count(snapshot->n_trust_bundles, "trust bundle", "trust bundles");
    print_count(snapshot->n_policies, "policy", "policies");
    print_count(snapshot->n_destinations, "destination", "destinations");
    print_count(snapshot->n_inbound_ports, "inbound port", "inbound ports");
    print_count(snapshot->n_forwards, "forward", "forwards");
    printf("%s\n", assembled->outbound_port != 0 ? ", interception" : "");
}

int ctl_check(int argc, char **argv)
{
    const char *path = "mesh.yaml";
    struct err err = {{0}, {0}};
    struct assembled assembled = {0};
    if (!flags_parse(NULL, 0, argc, argv, &path, 1, NULL, &err)) {
        err_prefix(&err, "check");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (!mesh_load(path, time(NULL), &assembled, &err)) {
        // As compilers print it, so that editors and CI find the place.
        char buf[1024];
        fprintf(stderr, "%s\n", err_text(&err, buf, sizeof buf));
        return CTL_FAILED;
    }
    print_good(path, &assembled);
    assembled_cleanup(&assembled);
    return CTL_OK;
}
