// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "control/kube/inject/inject_config.h"
#include "control/kube/inject/quantity.h"

TestSuite(inject_config, .timeout = 10);

static const char least[] = "image: localhost/tabard:dev\n"
                            "policy_agent: tabard-policyd.tabard-system.svc:15012\n";

static Tabard__V1__InjectConfig *parse(const char *more, struct err *err)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", least, more);
    return inject_config_parse(text, strlen(text), "inject.yaml", err);
}

Test(inject_config, the_least_gets_the_defaults)
{
    struct err err = {{0}, {0}};
    Tabard__V1__InjectConfig *config = parse("", &err);
    cr_assert(config != NULL, "%s", err.text);
    cr_expect_str_eq(config->token_audience, "tabard.dev");
    cr_expect_eq(config->token_seconds, 3600);
    cr_expect_eq(config->proxy_uid, 1337);
    cr_expect_eq(config->workers, 2);
    cr_expect_str_eq(config->memory_limit, "256Mi");
    inject_config_free(config);
}

// Criterion copies the rows into another process, so they hold their texts.
struct row {
    char more[120];
    char why[160];
};

ParameterizedTestParameters(inject_config, a_wrong_value_is_refused_where_it_stands)
{
    static struct row rows[] = {
        {"imagine: 1\n", "inject.yaml:3:1: unknown key \"imagine\""},
        {"image_pull_policy: Sometimes\n", "inject.yaml:3:20: image_pull_policy: \"Sometimes\" is"},
        {"trust_domain: spiffe://demo.example\n", "inject.yaml:3:15: trust_domain: "},
        {"policy_agent_identity: demo.example\n", "inject.yaml:3:24: policy_agent_identity: "},
        {"roots: nothing\n", "inject.yaml:3:8: roots: "},
        {"token_seconds: 60\n", "inject.yaml:3:16: token_seconds: 60 is not 600 to 86400"},
        {"workers: 300\n", "inject.yaml:3:10: workers: 300 is not 1 to 256"},
        {"key: ml-dsa-44\n", "inject.yaml:3:6: key: "},
        {"log_level: loud\n", "inject.yaml:3:12: log_level: \"loud\" is none of"},
        {"cpu_request: \"0\"\n", "inject.yaml:3:14: cpu_request: \"0\" is no amount above 0"},
        {"memory_limit: 16Mi\n",
         "inject.yaml:3:15: memory_limit: 16Mi is less than the request, 32Mi"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, inject_config, a_wrong_value_is_refused_where_it_stands)
{
    struct err err = {{0}, {0}};
    Tabard__V1__InjectConfig *config = parse(row->more, &err);
    cr_expect(config == NULL);
    cr_expect_eq(strncmp(err.text, row->why, strlen(row->why)), 0, "%s", err.text);
    inject_config_free(config);
}

Test(inject_config, image_and_policy_agent_are_needed)
{
    struct err err = {{0}, {0}};
    cr_expect(inject_config_parse("{}", 2, "inject.yaml", &err) == NULL);
    cr_expect_str_eq(err.text,
                     "inject.yaml:1:1: image: missing: the image of init container and sidecar");
    cr_expect(inject_config_parse("image: a", 8, "inject.yaml", &err) == NULL);
    cr_expect_eq(strncmp(err.text, "inject.yaml:1:1: policy_agent: ", 31), 0, "%s", err.text);
}

struct amount {
    char text[32];
    double value; // 0: refused
};

ParameterizedTestParameters(inject_config, amounts_are_read_as_kubernetes_does)
{
    static struct amount amounts[] = {
        {"10m", 0.01},
        {"1", 1},
        {"0.5", 0.5},
        {".5", 0.5},
        {"1.", 1},
        {"64Mi", 64.0 * 1048576},
        {"2Gi", 2147483648.0},
        {"1k", 1000},
        {"1E", 1e18},
        {"1e3", 1000},
        {"1E3", 1000},
        {"1e-3", 0.001},
        {"0", 0},
        {"0Mi", 0},
        {"", 0},
        {"-1", 0},
        {"1MB", 0},
        {"1 Mi", 0},
        {"Mi", 0},
        {"1e", 0},
        {"1e99", 0},
        {"0x10", 0},
        {"1K", 0},
        {"9999999999999999999", 0},
    };
    return cr_make_param_array(struct amount, amounts, sizeof amounts / sizeof amounts[0]);
}

ParameterizedTest(struct amount *amount, inject_config, amounts_are_read_as_kubernetes_does)
{
    struct err err = {{0}, {0}};
    double value = 0;
    bool is_read = quantity_parse(&value, amount->text, &err);
    cr_expect_eq(is_read, amount->value > 0, "%s", amount->text);
    cr_expect(!is_read || (value > amount->value * 0.999999 && value < amount->value * 1.000001),
              "%s is %f", amount->text, value);
}
