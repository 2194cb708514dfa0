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
#include "control/agent/sources/policy_agent/pa_token.h"
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
    {"a name",
     "policy_agent: {address: \"tabard-policyd.tabard-system.svc:15012\", node_id: n" ID
     ", roots: roots.pem}",
     NULL},
    {"a name without its identity", "policy_agent: {address: \"policyd:1\"}",
     "policy_agent.identity: missing"},
    {"no such address", "policy_agent: {address: \"policyd\"}",
     "policy_agent.address: neither unix:PATH nor IP:PORT nor HOST:PORT"},
    {"half an address", "policy_agent: {address: \"10.1.2:15012\"}",
     "policy_agent.address: neither unix:PATH nor IP:PORT nor HOST:PORT"},
    {"a service account's token that isn't there yet", UNIX ", service_account_token: none}", NULL},
    {"an identity that is kept",
     UNIX ", keep_identity: true}\nidentity: {certificate: web.pem, key: "
          "web.key}",
     NULL},
    {"no identity to be kept", UNIX ", keep_identity: true}",
     "policy_agent.keep_identity: there is no identity"},
    {"an identity that is kept, and a token for another",
     UNIX ", keep_identity: true, service_account_token: token}\nidentity: {certificate: web.pem, "
          "key: web.key}",
     "policy_agent.keep_identity: a token asks for another"},
    {"a kind of key", UNIX ", key: ML_DSA_44}", NULL},
    {"a kind of key that nobody knows", UNIX ", key: ML_DSA_87}", "key: "},
    {"an identity that is kept, and a kind of key for another",
     UNIX ", keep_identity: true, key: ML_DSA_65}\nidentity: {certificate: web.pem, key: web.key}",
     "policy_agent.key: keep_identity asks for no certificate"},
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

Test(pa_access, a_service_account_s_token_is_read_when_it_is_needed, .timeout = 20)
{
    static const struct {
        const char *text; // NULL: no file
        const char *token;
        const char *words;
    } tokens[] = {
        {NULL, NULL, "/sa: No such file"},
        {"secret", "secret", NULL},
        {"secret\r\n", "secret", NULL},
        {"", NULL, "/sa: one line"},
        {"\n", NULL, "/sa: one line of 1 to 16384"},
        {"a b", NULL, "/sa: one line"},
        {"a\nb", NULL, "/sa: one line"},
        {"a\x80", NULL, "/sa: one line"},
    };
    struct folder folder;
    struct mesh out;
    uint8_t digest[32];
    folder_init(&folder);
    const struct pa_access *access = load(&folder, UNIX ", service_account_token: sa}\n", &out);
    memcpy(digest, access->digest, sizeof digest);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        struct err err = {{0}, {0}};
        if (tokens[i].text != NULL) {
            folder_write(&folder, "sa", tokens[i].text);
        }
        char *token = pa_token_read(access->account_token_path, &err);
        cr_assert_eq(token != NULL, tokens[i].token != NULL, "%zu: %s", i, err.text);
        cr_expect(token == NULL || strcmp(token, tokens[i].token) == 0, "%zu: %s", i, token);
        cr_expect(tokens[i].words == NULL || strstr(err.text, tokens[i].words) != NULL, "%s",
                  err.text);
        pa_token_free(token);
    }
    char *large = malloc(PA_TOKEN_LEN_MAX + 4);
    struct err err = {{0}, {0}};
    memset(large, 'a', PA_TOKEN_LEN_MAX + 3);
    large[PA_TOKEN_LEN_MAX + 3] = '\0';
    folder_write(&folder, "sa", large);
    cr_expect_null(pa_token_read(access->account_token_path, &err));
    free(large);
    mesh_cleanup(&out);
    access = load(&folder, UNIX ", service_account_token: sa}\n", &out);
    cr_expect_eq(memcmp(digest, access->digest, sizeof digest), 0, "rotation changes nothing");
    mesh_cleanup(&out);
    folder_cleanup(&folder);
}
