// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/api/kube_config.h"
#include "tests/unit/support/temp.h"

struct server_case {
    char address[40];
    char host[24]; // "": refused
    unsigned port;
    char message[80];
};

ParameterizedTestParameters(kube_config, reads_where_a_server_is)
{
    static struct server_case cases[] = {
        {"10.96.0.1:443", "10.96.0.1", 443, ""},
        {"[fd00::1]:6443", "fd00::1", 6443, ""},
        {"api.example:443", "api.example", 443, ""},
        {"api.example", "", 0, "api.example has no port: HOST:PORT is what it takes"},
        {"api.example:0", "", 0, "0 is not a TCP port (1 to 65535)"},
        {"api.example:70000", "", 0, "70000 is not a TCP port (1 to 65535)"},
        {"api.example:", "", 0, " is not a TCP port (1 to 65535)"},
        {":443", "", 0, "the host has 0 characters; 1 to 253 are possible"},
        {"fd00::1:443", "", 0, "fd00::1:443: an IPv6 address stands in brackets, [fd00::1]:443"},
    };
    return cr_make_param_array(struct server_case, cases, sizeof cases / sizeof *cases);
}

ParameterizedTest(struct server_case *c, kube_config, reads_where_a_server_is, .timeout = 10)
{
    struct kube_config config = {.port = 0};
    struct err err = {{0}, {0}};
    bool ok = kube_config_set_server(&config, c->address, &err);
    cr_expect_eq(ok, c->host[0] != '\0', "%s", c->address);
    cr_expect_str_eq(err.text, c->message);
    if (ok) {
        cr_expect_str_eq(config.host, c->host);
        cr_expect_eq(config.port, c->port);
    }
}

Test(kube_config, a_pod_finds_its_server_and_its_own_namespace, .init = temp_set_up,
     .fini = temp_tear_down, .timeout = 10)
{
    struct kube_config config;
    struct err err = {{0}, {0}};
    char token[200];
    temp_write(temp_folder, "namespace", "tabard-system\n", 14);
    setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    cr_assert(kube_config_in_cluster(&config, temp_folder, &err), "%s", err.text);
    snprintf(token, sizeof token, "%s/token", temp_folder);
    cr_expect_str_eq(config.host, "10.96.0.1");
    cr_expect_eq(config.port, 443);
    cr_expect_str_eq(config.namespace, "tabard-system");
    cr_expect_str_eq(config.token_file, token);
}

Test(kube_config, outside_of_a_pod_nothing_is_guessed, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = 10)
{
    struct kube_config config;
    struct err err = {{0}, {0}};
    unsetenv("KUBERNETES_SERVICE_HOST");
    cr_expect_not(kube_config_in_cluster(&config, temp_folder, &err));
    cr_expect(strstr(err.text, "this is no pod") != NULL, "%s", err.text);
    setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    cr_expect_not(kube_config_in_cluster(&config, temp_folder, &err));
    cr_expect(strstr(err.text, "/namespace: ") != NULL, "%s", err.text);
}
