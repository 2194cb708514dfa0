// SPDX-License-Identifier: Apache-2.0
//
// mesh.yaml with policy_agent: what it says, and what it must not say.
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent/sources/files/mesh.h"
#include "control/agent/sources/policy_agent/pa_access.h"
#include "control/agent/sources/sources.h"
#include "tests/unit/control/agent/folder.h"

#define UNIX "policy_agent: {address: \"unix:pa.sock\", node_id: n"
#define TCP  "policy_agent: {address: \"10.1.2.3:15012\", node_id: n"
#define ID   ", identity: \"spiffe://demo.example/pa\""

static const struct {
    const char *name;
    const char *yaml;
    const char *words; // NULL: good
} rows[] = {
    {"unix", UNIX "}", NULL},
    {"tcp", TCP ID ", roots: roots.pem}", NULL},
    {"tcp with its trust domain", TCP ID ", roots: roots.pem, trust_domain: demo.example}", NULL},
    {"identity beside it", UNIX "}\nidentity: {certificate: web.pem, key: web.key}", NULL},
    {"ports beside it", UNIX "}\ninbound_ports: [{port: 1, mode: MTLS, listen: \"127.0.0.1:0\"}]",
     NULL},
    {"a token that isn't there", UNIX ", join_token: none}", NULL},
    {"no address", "policy_agent: {node_id: n}", "mesh.yaml:1:1: policy_agent.address: missing"},
    {"no such address", "policy_agent: {address: \"policyd:1\"}",
     "policy_agent.address: neither unix:PATH nor IP:PORT"},
    {"an empty path", "policy_agent: {address: \"unix:\"}",
     "policy_agent.address: a socket's path"},
    {"tcp without identity", TCP ", roots: roots.pem}", "policy_agent.identity: missing"},
    {"a trust domain as identity", TCP ", identity: \"spiffe://demo.example\", roots: roots.pem}",
     "policy_agent.identity: "},
    {"tcp without roots", TCP ID "}", "policy_agent.roots: missing"},
    {"no such roots", TCP ID ", roots: none.pem}", "policy_agent.roots: none.pem: No such file"},
    {"roots that are none", TCP ID ", roots: web.key}", "policy_agent.roots: web.key"},
    {"a leaf as root", TCP ID ", roots: web.pem}", "policy_agent.roots: web.pem"},
    {"another trust domain", TCP ID ", roots: roots.pem, trust_domain: other.example}",
     "policy_agent.trust_domain: "},
    {"a check that nobody makes", UNIX ID "}", "policy_agent.identity: for TCP only"},
    {"roots that nobody uses", UNIX ", roots: roots.pem}", "policy_agent.roots: for TCP only"},
    {"a hostile id", UNIX ", spiffe_id: \"spiffe://demo.example/../x\"}",
     "policy_agent.spiffe_id: "},
    {"a bad address", UNIX ", addresses: [\"10.1.2.3\", \"10.1.2\"]}",
     "policy_agent.addresses[1]: "},
    {"an empty token", UNIX ", join_token: empty}", "policy_agent.join_token: empty: is empty"},
    {"a token of two lines", UNIX ", join_token: lines}", "policy_agent.join_token: lines: one"},
    {"a folder as token", UNIX ", join_token: \".\"}",
     "policy_agent.join_token: .: is a directory"},
    {"policies beside it", UNIX "}\npolicies: [{name: p, action: ALLOW, mode: ENFORCE}]",
     "mesh.yaml:2:1: policies: the policy agent gives these"},
    {"destinations beside it", UNIX "}\ndestinations: [{name: d}]",
     "destinations: the policy agent"},
    {"bundles beside it", UNIX "}\ntrust_bundles: [{trust_domain: demo.example, roots: roots.pem}]",
     "trust_bundles: the policy agent"},
    {"half an identity", UNIX "}\nidentity: {certificate: web.pem}", "identity.key: missing"},
    {"a bad port", UNIX "}\ninbound_ports: [{port: 70000, mode: MTLS}]", "inbound_ports[0].port: "},
};

Test(pa_access, mesh_yaml_may_name_a_policy_agent_and_says_what_is_wrong, .timeout = 60)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct folder folder;
        struct mesh out;
        struct err err = {{0}, {0}};
        char text[1024];
        folder_init(&folder);
        folder_write(&folder, "empty", "\n");
        folder_write(&folder, "lines", "one\ntwo\n");
        snprintf(text, sizeof text, "%s\n", rows[i].yaml);
        folder_write(&folder, "mesh.yaml", text);
        bool ok = mesh_load(&out, folder.mesh, sources_fields, folder.now, &err);
        cr_expect_eq(ok, rows[i].words == NULL, "%s: \"%s\"", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL,
                  "%s: \"%s\" lacks \"%s\"", rows[i].name, err.text, rows[i].words);
        cr_expect_eq(out.accesses[0] != NULL, ok, "%s", rows[i].name);
        mesh_cleanup(&out);
        folder_cleanup(&folder);
    }
}

// Loads mesh.yaml and returns what it says of the policy agent, which stays out's.
static const struct pa_access *load(const struct folder *folder, const char *yaml, struct mesh *out)
{
    struct err err = {{0}, {0}};
    folder_write(folder, "mesh.yaml", yaml);
    cr_assert(mesh_load(out, folder->mesh, sources_fields, folder->now, &err), "%s", err.text);
    return out->accesses[0];
}

Test(pa_access, paths_and_tokens_are_those_of_mesh_yaml_s_folder, .timeout = 20)
{
    struct folder folder;
    struct mesh out;
    const struct pa_access *access;
    char path[256];
    uint8_t digest[32];
    folder_init(&folder);
    access = load(&folder, UNIX ", join_token: token, state: st}\n", &out);
    snprintf(path, sizeof path, "%s/pa.sock", folder.path);
    cr_expect_str_eq(access->unix_path, path);
    snprintf(path, sizeof path, "%s/st", folder.path);
    cr_expect_str_eq(access->state_folder, path);
    cr_expect(access->is_token_missing);
    snprintf(path, sizeof path, "n by %s", folder.mesh);
    cr_expect_str_eq(access->owner, path);
    memcpy(digest, access->digest, sizeof digest);
    mesh_cleanup(&out);
    folder_write(&folder, "token", "secret\n");
    access = load(&folder, UNIX ", join_token: token, state: st}\n", &out);
    cr_expect_str_eq(access->join_token, "secret");
    cr_expect_neq(memcmp(digest, access->digest, sizeof digest), 0, "the token came");
    mesh_cleanup(&out);
    access = load(&folder, UNIX "}\n", &out);
    cr_expect_str_eq(access->state_folder, "/var/lib/tabard");
    mesh_cleanup(&out);
    folder_cleanup(&folder);
}
