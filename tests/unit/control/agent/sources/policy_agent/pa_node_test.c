// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_node.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(pa_node, .timeout = 10);

// The token of the Node of a sidecar that has one.
static const char *token_sent(const char *unix_path, bool has_issued)
{
    struct pa_node node = {.list = {NULL}};
    Tabard__V1__MeshConfig__PolicyAgentAccess config =
        TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__INIT;
    Tabard__V1__Node out = TABARD__V1__NODE__INIT;
    const struct pa_access access = {.config = &config,
                                     .unix_path = (char *)unix_path,
                                     .node_id = (char *)"n",
                                     .join_token = (char *)"secret"};
    pa_node_fill(&node, &access, has_issued, &out);
    cr_expect_str_eq(out.id, "n");
    return out.join_token;
}

Test(pa_node, the_join_token_goes_only_where_no_certificate_proves_the_sidecar)
{
    cr_expect_str_eq(token_sent(NULL, false), "secret");
    cr_expect_str_eq(token_sent(NULL, true), "", "over TCP the certificate is shown");
    cr_expect_str_eq(token_sent("/pa.sock", false), "secret");
    cr_expect_str_eq(token_sent("/pa.sock", true), "secret", "a Unix socket shows none");
}

Test(pa_node, the_addresses_are_those_of_mesh_yaml_or_the_host_s_own)
{
    struct pa_node node = {.list = {NULL}};
    Tabard__V1__MeshConfig__PolicyAgentAccess config =
        TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__INIT;
    Tabard__V1__Node out = TABARD__V1__NODE__INIT;
    const struct pa_access access = {.config = &config, .node_id = (char *)"n"};
    pa_node_fill(&node, &access, false, &out);
    for (size_t i = 0; i < out.n_addresses; i++) {
        struct ip ip;
        cr_expect(ip_parse(&ip, out.addresses[i], NULL), "%s", out.addresses[i]);
        cr_expect_neq(strncmp(out.addresses[i], "127.", 4), 0, "nobody else reaches that");
    }
    config.n_addresses = 1;
    config.addresses = (char *[]){(char *)"10.1.2.3"};
    pa_node_fill(&node, &access, false, &out);
    cr_assert_eq(out.n_addresses, 1);
    cr_expect_str_eq(out.addresses[0], "10.1.2.3");
}
