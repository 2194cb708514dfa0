// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "certs/cert.h"
#include "control/agent/sources/files/mesh.h"
#include "control/agent/sources/sources.h"
#include "control/ctl/ctl.h"
#include "control/ctl/kube/kube_check.h"
#include "base/flags.h"

const char ctl_check_usage[] =
    "usage: tabardctl check [mesh.yaml]\n"
    "       tabardctl check --kubernetes [flags]\n"
    "\n"
    "Checks the file, and the certificates and keys that it names, by the same code that the "
    "agent\n"
    "uses before it sends anything to its proxy. Exit status: 0 good, 1 not, with the first error\n"
    "as file:line:column on standard error; 2 for a wrong flag.\n"
    "\n"
    "With --kubernetes it looks at a cluster instead, through kubectl: before an install whether "
    "Tabard\n"
    "can be installed there, and after it what doesn't work and what is behind. One line for each "
    "thing,\n"
    "with a mark: √ good, ! to look at, × wrong; exit status 1 if anything is wrong.\n"
    "\n"
    "  --kubernetes        looks at the cluster of the current kubeconfig\n"
    "  --namespace NAME    the namespace of policyd (" KUBE_CHECK_NAMESPACE ")\n"
    "  --context NAME      a context of the kubeconfig\n"
    "  --kubectl PATH      the kubectl to use (that of PATH)\n";

static void print_count(size_t num, const char *one, const char *many)
{
    printf(", %zu %s", num, num == 1 ? one : many);
}

// Prints which source besides the file says who this sidecar is and what peers may do. Returns
// whether mesh.yaml names one.
static bool print_others(const char *path, const struct mesh *mesh)
{
    for (size_t i = 0; mesh->fields[i] != NULL; i++) {
        if (mesh->accesses[i] != NULL) {
            printf("%s: ok: follows the %s at %s", path, mesh->fields[i]->name,
                   mesh->fields[i]->access_address(mesh->accesses[i]));
            return true;
        }
    }
    return false;
}

static void print_good(const char *path, const struct mesh *mesh)
{
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    const struct assembly *assembly = &mesh->assembly;
    char until[CERT_TIME_TEXT_MAX];
    snapshot_join(&snapshot, SNAPSHOT_LOCAL, mesh->slots.parts[SNAPSHOT_LOCAL]->message);
    if (!print_others(path, mesh)) {
        printf("%s: ok: %s until %s", path, assembly->spiffe_id,
               cert_time_text(assembly->not_after, until));
        print_count(assembly->snapshot->n_trust_bundles, "trust bundle", "trust bundles");
        print_count(assembly->snapshot->n_policies, "policy", "policies");
        print_count(assembly->snapshot->n_destinations, "destination", "destinations");
    }
    print_count(snapshot.n_inbound_ports, "inbound port", "inbound ports");
    print_count(snapshot.n_forwards, "forward", "forwards");
    bool is_intercepted = snapshot.settings != NULL && snapshot.settings->interception != NULL;
    printf("%s\n", is_intercepted ? ", interception" : "");
}

static int check_file(const char *path)
{
    struct err err = {{0}, {0}};
    struct mesh mesh = {0};
    if (!mesh_load(&mesh, path, sources_fields, time(NULL), &err)) {
        // As compilers print it, so that editors and CI find the place.
        char buf[1024];
        fprintf(stderr, "%s\n", err_text(&err, buf, sizeof buf));
        return CTL_FAILED;
    }
    bool is_whole = mesh.assembly.left_out.text[0] == '\0';
    if (is_whole) {
        print_good(path, &mesh);
    } else {
        char buf[1024];
        fprintf(stderr, "%s: %s; the agent would leave it out\n", path,
                err_text(&mesh.assembly.left_out, buf, sizeof buf));
    }
    mesh_cleanup(&mesh);
    return is_whole ? CTL_OK : CTL_FAILED;
}

int ctl_check(int argc, char **argv)
{
    const char *path = NULL;
    const char *namespace = NULL;
    bool is_kubernetes = false;
    struct kubectl kubectl = {0};
    struct err err = {{0}, {0}};
    const struct flag flags[] = {
        {.name = "kubernetes", .out_given = &is_kubernetes},
        {.name = "namespace", .value = &namespace},
        {.name = "context", .value = &kubectl.context},
        {.name = "kubectl", .value = &kubectl.program},
    };
    bool good =
        flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, &path, 1, NULL, &err);
    bool has_more = namespace != NULL || kubectl.context != NULL || kubectl.program != NULL;
    if (good && is_kubernetes && path != NULL) {
        good = err_set(&err, "--kubernetes looks at a cluster and takes no file");
    } else if (good && !is_kubernetes && has_more) {
        good = err_set(&err, "--namespace, --context and --kubectl are for --kubernetes alone");
    }
    if (!good) {
        err_prefix(&err, "check");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (!is_kubernetes) {
        return check_file(path != NULL ? path : "mesh.yaml");
    }
    kubectl.program = kubectl.program != NULL ? kubectl.program : "kubectl";
    return kube_check(stdout, &kubectl, namespace != NULL ? namespace : KUBE_CHECK_NAMESPACE)
               ? CTL_OK
               : CTL_FAILED;
}
