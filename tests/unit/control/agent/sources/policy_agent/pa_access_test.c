// SPDX-License-Identifier: Apache-2.0
//
// mesh.yaml with policy_agent: what it says, what it must not say, and what comes of it together
// with a policy agent's state.
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent/snapshot/assemble_policy.h"
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
    {"an empty token", UNIX ", join_token: empty}", "policy_agent.join_token: empty: one line"},
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
        struct assembled out;
        struct err err = {{0}, {0}};
        char text[1024];
        folder_init(&folder);
        folder_write(&folder, "empty", "\n");
        folder_write(&folder, "lines", "one\ntwo\n");
        snprintf(text, sizeof text, "%s\n", rows[i].yaml);
        folder_write(&folder, "mesh.yaml", text);
        bool ok = mesh_load(folder.mesh, folder.now, &out, &err);
        cr_expect_eq(ok, rows[i].words == NULL, "%s: \"%s\"", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL,
                  "%s: \"%s\" lacks \"%s\"", rows[i].name, err.text, rows[i].words);
        cr_expect_eq(out.access != NULL, ok, "%s", rows[i].name);
        assembled_cleanup(&out);
        folder_cleanup(&folder);
    }
}

static void load(const struct folder *folder, const char *yaml, struct assembled *out)
{
    struct err err = {{0}, {0}};
    folder_write(folder, "mesh.yaml", yaml);
    cr_assert(mesh_load(folder->mesh, folder->now, out, &err), "%s", err.text);
}

Test(pa_access, paths_and_tokens_are_those_of_mesh_yaml_s_folder, .timeout = 20)
{
    struct folder folder;
    struct assembled out;
    char path[256];
    uint8_t digest[32];
    folder_init(&folder);
    load(&folder, UNIX ", join_token: token, state: st}\n", &out);
    snprintf(path, sizeof path, "%s/pa.sock", folder.path);
    cr_expect_str_eq(out.access->unix_path, path);
    snprintf(path, sizeof path, "%s/st", folder.path);
    cr_expect_str_eq(out.access->state_folder, path);
    cr_expect(out.access->is_token_missing);
    snprintf(path, sizeof path, "n by %s", folder.mesh);
    cr_expect_str_eq(out.access->owner, path);
    memcpy(digest, out.access->digest, sizeof digest);
    assembled_cleanup(&out);
    folder_write(&folder, "token", "secret\n");
    load(&folder, UNIX ", join_token: token, state: st}\n", &out);
    cr_expect_str_eq(out.access->join_token, "secret");
    cr_expect_neq(memcmp(digest, out.access->digest, sizeof digest), 0, "the token came");
    assembled_cleanup(&out);
    load(&folder, UNIX "}\n", &out);
    cr_expect_str_eq(out.access->state_folder, "/var/lib/tabard");
    assembled_cleanup(&out);
    folder_cleanup(&folder);
}

// The state of folder_mesh_yaml's world.
struct world {
    struct folder folder;
    struct assembled local;
    Tabard__V1__State state;
    Tabard__V1__TrustBundle bundle;
    Tabard__V1__TrustBundle *bundles[1];
    ProtobufCBinaryData root;
    Tabard__V1__Policy policy;
    Tabard__V1__Policy *policies[1];
    Tabard__V1__Policy__Rule rule;
    Tabard__V1__Policy__Rule *rules[1];
    char *principals[1];
};

static void world_init(struct world *world)
{
    *world = (struct world){.state = TABARD__V1__STATE__INIT,
                            .bundle = TABARD__V1__TRUST_BUNDLE__INIT,
                            .policy = TABARD__V1__POLICY__INIT,
                            .rule = TABARD__V1__POLICY__RULE__INIT};
    folder_init(&world->folder);
    load(&world->folder, UNIX "}\nidentity: {certificate: web.pem, key: web.key}\n", &world->local);
    cr_assert(mint_cert_der(&world->root.data, &world->root.len, world->folder.root.cert));
    world->bundle.trust_domain = (char *)FOLDER_DOMAIN;
    world->bundle.n_roots = 1;
    world->bundle.roots = &world->root;
    world->bundles[0] = &world->bundle;
    world->state.n_trust_bundles = 1;
    world->state.trust_bundles = world->bundles;
    world->principals[0] = (char *)FOLDER_ID;
    world->rule.n_principals = 1;
    world->rule.principals = world->principals;
    world->rules[0] = &world->rule;
    world->policy.name = (char *)"p";
    world->policy.action = TABARD__V1__POLICY__ACTION__ALLOW;
    world->policy.mode = TABARD__V1__POLICY__MODE__ENFORCE;
    world->policy.n_rules = 1;
    world->policy.rules = world->rules;
    world->policies[0] = &world->policy;
    world->state.n_policies = 1;
    world->state.policies = world->policies;
}

static void world_cleanup(struct world *world)
{
    free(world->root.data);
    assembled_cleanup(&world->local);
    folder_cleanup(&world->folder);
}

Test(pa_access, a_state_and_the_local_part_make_one_snapshot, .timeout = 20)
{
    struct world world;
    struct assembled out;
    struct assembled again;
    struct err err = {{0}, {0}};
    world_init(&world);
    struct assemble_policy from = {.local = &world.local, .state = &world.state};
    cr_assert(assemble_policy(&out, &from, world.folder.now, &err), "%s", err.text);
    cr_expect_str_eq(out.spiffe_id, FOLDER_ID);
    cr_expect_eq(out.snapshot->n_policies, 1);
    cr_expect_eq(out.snapshot->identity->key_id.len, 32);
    cr_expect_null(out.access);
    cr_assert(assemble_policy(&again, &from, world.folder.now, &err), "%s", err.text);
    cr_expect_eq(memcmp(out.digest, again.digest, sizeof out.digest), 0);
    assembled_cleanup(&out);
    assembled_cleanup(&again);
    world_cleanup(&world);
}

Test(pa_access, a_state_that_is_not_good_is_refused_by_its_field, .timeout = 20)
{
    struct world world;
    struct assembled out;
    char text[1024];
    EVP_PKEY *other = folder_key(MINT_KEY_P256);
    world_init(&world);
    Tabard__V1__Identity none = TABARD__V1__IDENTITY__INIT;
    struct assemble_policy from = {.local = &world.local, .state = &world.state};
    struct assembled without = {.snapshot = world.local.snapshot};
    Tabard__V1__Snapshot bare = *world.local.snapshot;
    bare.identity = NULL;
    without.snapshot = &bare;
    static const char *const words[] = {
        "trust_bundles: missing",
        "trust_bundles[0].roots",
        "policies[0].action",
        "policies[0].rules[0].principals[0]",
        "there is no certificate",
        "certificate.chain: no",
        "another key",
        "expired",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct err err = {{0}, {0}};
        struct assemble_policy bad = from;
        time_t now = world.folder.now;
        world.state.n_trust_bundles = i == 0 ? 0 : 1;
        world.bundle.n_roots = i == 1 ? 0 : 1;
        world.policy.action =
            i == 2 ? (Tabard__V1__Policy__Action)0 : TABARD__V1__POLICY__ACTION__ALLOW;
        world.principals[0] = (char *)(i == 3 ? "spiffe://demo.example/a//b" : FOLDER_ID);
        bad.local = i == 4 ? &without : &world.local;
        bad.issued = i == 5 ? &none : i == 6 ? world.local.snapshot->identity : NULL;
        bad.issued_key = other;
        now += i == 7 ? 400L * 86400 : 0;
        cr_expect_not(assemble_policy(&out, &bad, now, &err), "%s", words[i]);
        cr_expect_null(out.snapshot);
        err_text(&err, text, sizeof text);
        cr_expect(strstr(text, words[i]) != NULL, "\"%s\" lacks \"%s\"", text, words[i]);
    }
    EVP_PKEY_free(other);
    world_cleanup(&world);
}
