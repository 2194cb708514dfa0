// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tabard/v1/mesh.pb-c.h"

#define NUM(array) (sizeof(array) / sizeof((array)[0]))
#define KNOWN_AT_TOP                                                                               \
    "known here: identity, trust_bundles, policies, destinations, inbound_ports, forwards, "       \
    "settings, policy_agent"

static Tabard__V1__MeshConfig *parse_bytes(const char *text, size_t len,
                                           struct pb_text_marks **out_marks, struct err *err)
{
    *err = (struct err){{0}, {0}};
    return (Tabard__V1__MeshConfig *)pb_text_parse(&tabard__v1__mesh_config__descriptor, text, len,
                                                   "mesh.yaml", out_marks, err);
}

static Tabard__V1__MeshConfig *parse(const char *text, struct err *err)
{
    return parse_bytes(text, strlen(text), NULL, err);
}

static void release(Tabard__V1__MeshConfig *config)
{
    tabard__v1__mesh_config__free_unpacked(config, NULL);
}

static const char whole[] =
    "# a comment\n"
    "identity: {certificate: web.pem, key: web.key}\n"
    "trust_bundles:\n"
    "  - trust_domain: demo.example\n"
    "    roots: roots.pem\n"
    "policies:\n"
    "  - name: shop-may-pay\n"
    "    action: ALLOW\n"
    "    mode: ENFORCE\n"
    "    ports: [8080,\n"
    "            9000-9100]\n"
    "    rules:\n"
    "      - principals:\n"
    "          - \"spiffe://demo.example/ns/shop/sa/web\"\n"
    "          - spiffe://demo.example/ns/x/\n"
    "settings: {unlisted_outbound: DENY, interception: {}, limits: {idle_ms: 600000}}\n";

TestSuite(pb_text, .timeout = 30);

Test(pb_text, a_whole_file_is_read)
{
    struct err err;
    Tabard__V1__MeshConfig *config = parse(whole, &err);
    cr_assert_not_null(config, "%s", err.text);
    cr_expect_str_eq(config->identity->key, "web.key");
    cr_expect_str_eq(config->trust_bundles[0]->crls, "");
    cr_assert_eq(config->n_policies, 1);
    cr_expect_eq(config->policies[0]->action, TABARD__V1__POLICY__ACTION__ALLOW);
    cr_expect_eq(config->policies[0]->ports[1], 9100u << 16 | 9000);
    cr_expect_str_eq(config->policies[0]->rules[0]->principals[1], "spiffe://demo.example/ns/x/");
    cr_expect_not_null(config->settings->interception);
    cr_expect_eq(config->settings->interception->inbound_port, 0);
    cr_expect_eq(config->settings->limits->idle_ms, 600000);
    release(config);
}

Test(pb_text, an_empty_document_is_an_empty_message)
{
    static const char *const rows[] = {"",        "\n\n", "# nothing\n", "---\n",
                                       "--- ~\n", "{}",   "null\n"};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        struct pb_text_marks *marks = NULL;
        Tabard__V1__MeshConfig *config = parse_bytes(rows[i], strlen(rows[i]), &marks, &err);
        cr_assert_not_null(config, "\"%s\": %s", rows[i], err.text);
        cr_expect_null(config->identity);
        cr_expect_eq(config->n_policies, 0);
        pb_text_marks_free(marks);
        release(config);
    }
}

Test(pb_text, a_list_of_messages_and_a_message_may_be_written_empty)
{
    struct err err;
    struct pb_text_marks *marks = NULL;
    static const char text[] = "policies: []\ninbound_ports: []\nsettings: {interception: {}}\n";
    Tabard__V1__MeshConfig *config = parse_bytes(text, sizeof text - 1, &marks, &err);
    cr_assert_not_null(config, "%s", err.text);
    cr_expect_eq(config->n_policies, 0);
    cr_expect_not_null(config->settings->interception);
    pb_text_marks_free(marks);
    release(config);
}

#define EMPTY_LIST                                                                                 \
    "the list is empty, which would mean the same as no list: write at least one value, or leave " \
    "the key out"
#define NO_PORT "is not a TCP port (1 to 65535) or a range of them, as in 8000-8999"
#define EMPTY_TEXT                                                                                 \
    "the text is empty, which would mean the same as no text: write one, or leave the key out"

Test(pb_text, what_is_wrong_is_named_with_its_place)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        // Keys.
        {"polices: []",
         "mesh.yaml:1:1: unknown key \"polices\", did you mean policies?; " KNOWN_AT_TOP},
        {"\n\n  Identity: {}",
         "mesh.yaml:3:3: unknown key \"Identity\", did you mean identity?; " KNOWN_AT_TOP},
        {"zzz: 1", "mesh.yaml:1:1: unknown key \"zzz\"; " KNOWN_AT_TOP},
        {"<<: {}", "mesh.yaml:1:1: unknown key \"<<\"; " KNOWN_AT_TOP},
        {"'': 1", "mesh.yaml:1:1: unknown key \"\"; " KNOWN_AT_TOP},
        {"\"a\\n\\0b\": 1", "mesh.yaml:1:1: unknown key \"a\\x0a\\x00b\"; " KNOWN_AT_TOP},
        {"\"identity\\0\": {}",
         "mesh.yaml:1:1: unknown key \"identity\\x00\", did you mean identity?; " KNOWN_AT_TOP},
        {"identity: {cert: x}", "mesh.yaml:1:12: identity: unknown key \"cert\"; known here: "
                                "certificate, key, fallback_certificate, fallback_key"},
        {"policies: [{}, {rules: [{principal: []}]}]",
         "mesh.yaml:1:26: policies[1].rules[0]: unknown key \"principal\", did you mean "
         "principals?; known "
         "here: principals, not_principals, source_ips, not_source_ips"},
        {"policies: []\nsettings: {}\npolicies: []",
         "mesh.yaml:3:1: the key \"policies\" stands here twice, first in line 1"},
        {"identity:\n  key: a\n  key: a",
         "mesh.yaml:3:3: identity: the key \"key\" stands here twice, first in line 2"},
        {"[a]: b", "mesh.yaml:1:1: a key must be a plain word"},
        {"? {a: b}\n: c", "mesh.yaml:1:3: a key must be a plain word"},
        // Shapes.
        {"[]", "mesh.yaml:1:1: the document must consist of keys and their values"},
        {"text", "mesh.yaml:1:1: the document must consist of keys and their values"},
        {"policies: {}", "mesh.yaml:1:11: policies: this is a list, so write [...] or one \"- \" "
                         "line for each value"},
        {"policies: [{ports: 8080}]", "mesh.yaml:1:20: policies[0].ports: this is a list, so write "
                                      "[...] or one \"- \" line for each value"},
        {"policies: [[]]", "mesh.yaml:1:12: policies[0]: this takes one value, not a list"},
        {"policies: [x]",
         "mesh.yaml:1:12: policies[0]: this takes keys and their values, not a single value"},
        {"identity: x",
         "mesh.yaml:1:11: identity: this takes keys and their values, not a single value"},
        {"identity: {key: [a]}", "mesh.yaml:1:17: identity.key: this takes one value, not a list"},
        {"identity: {key: {a: b}}",
         "mesh.yaml:1:17: identity.key: this takes a single value, not keys"},
        {"settings:",
         "mesh.yaml:1:10: settings: there is no value: write one, or leave the key out"},
        {"policies: ~",
         "mesh.yaml:1:11: policies: there is no value: write one, or leave the key out"},
        {"identity: {key: null}",
         "mesh.yaml:1:17: identity.key: there is no value: write one, or leave the key out"},
        {"policies: [{ports: ~}]",
         "mesh.yaml:1:20: policies[0].ports: there is no value: write one, or leave the key out"},
        {"policies: [{ports: [8080, ]}, {ports: [~]}]",
         "mesh.yaml:1:40: policies[1].ports[0]: there is no value: write one, or leave the key "
         "out"},
        // Empty where that would read as absent.
        {"policies: [{ports: []}]", "mesh.yaml:1:20: policies[0].ports: " EMPTY_LIST},
        {"policies:\n- ports:\n    [\n    ]\n", "mesh.yaml:3:5: policies[0].ports: " EMPTY_LIST},
        {"{\"policies\": [{\"rules\": [{\"principals\": [\n]}]}]}",
         "mesh.yaml:1:41: policies[0].rules[0].principals: " EMPTY_LIST},
        {"policies: [{rules: [{not_principals: []}]}]",
         "mesh.yaml:1:38: policies[0].rules[0].not_principals: " EMPTY_LIST},
        {"policies: [{rules: [{source_ips: []}]}]",
         "mesh.yaml:1:34: policies[0].rules[0].source_ips: " EMPTY_LIST},
        {"policies: [{rules: [{not_source_ips: []}]}]",
         "mesh.yaml:1:38: policies[0].rules[0].not_source_ips: " EMPTY_LIST},
        {"destinations: [{addresses: []}]",
         "mesh.yaml:1:28: destinations[0].addresses: " EMPTY_LIST},
        {"destinations: [{identities: []}]",
         "mesh.yaml:1:29: destinations[0].identities: " EMPTY_LIST},
        {"policy_agent: {addresses: []}", "mesh.yaml:1:27: policy_agent.addresses: " EMPTY_LIST},
        {"trust_bundles: [{crls: \"\"}]", "mesh.yaml:1:24: trust_bundles[0].crls: " EMPTY_TEXT},
        {"trust_bundles:\n- crls: |\n", "mesh.yaml:2:9: trust_bundles[0].crls: " EMPTY_TEXT},
        {"policies: [{rules: [{principals: ['']}]}]",
         "mesh.yaml:1:35: policies[0].rules[0].principals[0]: " EMPTY_TEXT},
        // Values.
        {"policies:\n  - action: allow\n", "mesh.yaml:2:13: policies[0].action: \"allow\" is not "
                                           "one of ALLOW, DENY; did you mean ALLOW?"},
        {"policies:\n  - action: ACTION_UNSPECIFIED\n",
         "mesh.yaml:2:13: policies[0].action: \"ACTION_UNSPECIFIED\" is not one of ALLOW, DENY"},
        {"policies:\n  - mode: 1\n",
         "mesh.yaml:2:11: policies[0].mode: \"1\" is not one of ENFORCE, AUDIT"},
        {"policies:\n- ports:\n  - 1\n  - 99999999999\n",
         "mesh.yaml:4:5: policies[0].ports[1]: 99999999999 " NO_PORT},
        {"policies: [{ports: [80, 70000]}]",
         "mesh.yaml:1:25: policies[0].ports[1]: 70000 " NO_PORT},
        // As a number the wire's form of 8000-8999 is none.
        {"policies: [{ports: [589766464]}]",
         "mesh.yaml:1:21: policies[0].ports[0]: 589766464 " NO_PORT},
        {"inbound_ports: [{port: 0}]", "mesh.yaml:1:24: inbound_ports[0].port: 0 " NO_PORT},
        {"inbound_ports: [{port: 8000-}]", "mesh.yaml:1:24: inbound_ports[0].port: 8000- " NO_PORT},
        {"destinations: [{ports: ['9000-8000']}]",
         "mesh.yaml:1:25: destinations[0].ports[0]: the range 9000-8000 ends before it begins: "
         "write the lower port first"},
        {"policies: [{ports: ['8080']}]",
         "mesh.yaml:1:21: policies[0].ports[0]: \"8080\" is a text in quotes: write the number "
         "without them"},
        {"settings: {limits: {idle_ms: 1-2}}",
         "mesh.yaml:1:30: settings.limits.idle_ms: \"1-2\" is not a whole number from 0 to "
         "4294967295"},
        // YAML that is not supported, and what is none.
        {"identity: &x {}", "mesh.yaml:1:11: identity: anchors (&name) are not supported"},
        {"identity: {key: &x y}",
         "mesh.yaml:1:17: identity.key: anchors (&name) are not supported"},
        {"policies: &x []", "mesh.yaml:1:11: policies: anchors (&name) are not supported"},
        {"identity: *x",
         "mesh.yaml:1:11: identity: aliases (*name) are not supported: write the value out"},
        {"*x : 1", "mesh.yaml:1:1: aliases (*name) are not supported: write the value out"},
        {"identity: !!map {}",
         "mesh.yaml:1:11: identity: tags (!name) are not supported: the schema knows the types"},
        {"identity: {key: !x y}", "mesh.yaml:1:17: identity.key: tags (!name) are not supported: "
                                  "the schema knows the types"},
        {"identity: {key: ! y}", "mesh.yaml:1:17: identity.key: tags (!name) are not supported: "
                                 "the schema knows the types"},
        {"{}\n---\n{}\n", "mesh.yaml:2:1: a second document begins here; only one is read"},
        {"...\n{}\n...\n---\n", "mesh.yaml:"},
        {"identity: {key: a", "mesh.yaml:2:1: identity: not YAML (while parsing a flow mapping: "
                              "did not find expected ',' or '}')"},
        {"identity:\n\tkey: a", "mesh.yaml:2:1: identity: not YAML (while scanning for the next "
                                "token: found character that cannot start any token)"},
        {"a: b: c", "mesh.yaml:1:"},
        {"identity: {key: \"\\q\"}", "mesh.yaml:1:18: identity.key: not YAML (while parsing a "
                                     "quoted scalar: found unknown escape character)"},
        {"identity: {key: \"\\ud800\"}",
         "mesh.yaml:1:20: identity.key: not YAML (while parsing a quoted scalar: found invalid "
         "Unicode character escape code)"},
        {"identity: {key: a}\n# \xff",
         "mesh.yaml:2:3: not text in UTF-8 (invalid leading UTF-8 octet)"},
        {"identity: {key: \"\xc3\"}",
         "mesh.yaml:1:19: not text in UTF-8 (invalid trailing UTF-8 octet)"},
        {"identity: {key: \"\x01\"}",
         "mesh.yaml:1:18: not text in UTF-8 (control characters are not allowed)"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        Tabard__V1__MeshConfig *config = parse(rows[i].text, &err);
        cr_expect_null(config, "%s was read", rows[i].text);
        size_t len = strlen(rows[i].message);
        bool is_beginning = rows[i].message[len - 1] == ':';
        cr_expect_eq(strncmp(err.text, rows[i].message, is_beginning ? len : sizeof err.text), 0,
                     "row %zu: %s\ninstead of: %s", i, err.text, rows[i].message);
        cr_expect_str_eq(err.where, "");
        release(config);
    }
}

Test(pb_text, utf_16_is_not_guessed)
{
    static const char text[] = "\xff\xfe{\0}\0";
    struct err err;
    cr_expect_null(parse_bytes(text, sizeof text - 1, NULL, &err));
    cr_expect_str_eq(err.text, "mesh.yaml:1:1: not text in UTF-8 (invalid leading UTF-8 octet)");
}

Test(pb_text, a_nul_in_the_file_is_an_error)
{
    struct err err;
    cr_expect_null(parse_bytes("identity: {}\0", 13, NULL, &err));
    cr_expect_str_eq(err.text,
                     "mesh.yaml:1:13: not text in UTF-8 (control characters are not allowed)");
}

Test(pb_text, ten_megabytes_are_refused_by_their_length)
{
    size_t len = 10u << 20;
    char *text = malloc(len);
    cr_assert_not_null(text);
    memset(text, ' ', len);
    struct err err;
    cr_expect_null(parse_bytes(text, len, NULL, &err));
    cr_expect_str_eq(err.text, "mesh.yaml: 10485760 bytes are over the limit of 8388608");
    Tabard__V1__MeshConfig *config = parse_bytes(text, PB_TEXT_BYTES_MAX, NULL, &err);
    cr_expect_not_null(config, "%s", err.text);
    release(config);
    free(text);
}

Test(pb_text, a_bomb_of_brackets_ends_at_the_depth_limit)
{
    static char text[200000];
    struct err err;
    memset(text, '[', sizeof text - 1);
    memcpy(text, "policies: ", 10);
    cr_expect_null(parse(text, &err));
    cr_expect_str_eq(err.text, "mesh.yaml:1:12: policies[0]: this takes one value, not a list");
}

Test(pb_text, a_later_error_finds_its_field_or_the_nearest_around_it)
{
    static const struct {
        const char *where;
        const char *located;
    } rows[] = {
        {"policies[0].ports[1]", "mesh.yaml:11:13: policies[0].ports[1]: bad"},
        {"policies[0].ports", "mesh.yaml:10:5: policies[0].ports: bad"},
        {"policies[0].rules[0].principals[1]",
         "mesh.yaml:15:13: policies[0].rules[0].principals[1]: bad"},
        {"policies[0].rules[0].source_ips[3]",
         "mesh.yaml:13:9: policies[0].rules[0].source_ips[3]: bad"},
        {"policies[0].action", "mesh.yaml:8:13: policies[0].action: bad"},
        {"policies[7].name", "mesh.yaml:6:1: policies[7].name: bad"},
        {"identity.key", "mesh.yaml:2:39: identity.key: bad"},
        {"settings.limits.idle_ms", "mesh.yaml:16:73: settings.limits.idle_ms: bad"},
        {"settings.limits.stall_ms", "mesh.yaml:16:55: settings.limits.stall_ms: bad"},
        {"destinations", "mesh.yaml:2:1: destinations: bad"},
        {"polic", "mesh.yaml:2:1: polic: bad"}, // no field by a beginning of its name
        {"[", "mesh.yaml:2:1: [: bad"},
        {"", "mesh.yaml:2:1: bad"},
    };
    struct err err;
    struct pb_text_marks *marks = NULL;
    Tabard__V1__MeshConfig *config = parse_bytes(whole, strlen(whole), &marks, &err);
    cr_assert_not_null(config, "%s", err.text);
    for (size_t i = 0; i < NUM(rows); i++) {
        err_set_at(&err, rows[i].where, "bad");
        cr_expect_not(pb_text_marks_locate(marks, "mesh.yaml", &err));
        cr_expect_str_eq(err.text, rows[i].located, "%s\ninstead of: %s", err.text,
                         rows[i].located);
        cr_expect_str_eq(err.where, "");
    }
    pb_text_marks_free(marks);
    release(config);
}

Test(pb_text, json_leaves_zeros_out_and_reads_back)
{
    struct err err;
    Tabard__V1__MeshConfig *config = parse(whole, &err);
    char *json = pb_text_to_json(&config->base);
    cr_expect_not_null(strstr(json, "\"interception\": {}"), "%s", json);
    cr_expect_null(strstr(json, "crls"), "%s", json);
    cr_expect_null(strstr(json, "stall_ms"), "%s", json);
    Tabard__V1__MeshConfig *again = parse(json, &err);
    cr_assert_not_null(again, "%s", err.text);
    char *json_again = pb_text_to_json(&again->base);
    cr_expect_str_eq(json, json_again);
    free(json);
    free(json_again);
    release(config);
    release(again);
}

Test(pb_text, a_range_of_ports_reads_quoted_or_not_and_prints_as_it_reads)
{
    struct err err;
    Tabard__V1__MeshConfig *config =
        parse("policies: [{ports: [80, 8000-8999, '9000-9001', 7-7]}]\n"
              "inbound_ports: [{port: 1-65535}]\n",
              &err);
    cr_assert_not_null(config, "%s", err.text);
    const uint32_t want[] = {80, 8999u << 16 | 8000, 9001u << 16 | 9000, 7};
    cr_assert_eq(config->policies[0]->n_ports, NUM(want));
    cr_expect_eq(memcmp(config->policies[0]->ports, want, sizeof want), 0);
    cr_expect_eq(config->inbound_ports[0]->port, 0xffff0001);
    char *json = pb_text_to_json(&config->base);
    cr_expect_not_null(
        strstr(json, "80,\n        \"8000-8999\",\n        \"9000-9001\",\n        7"), "%s", json);
    cr_expect_not_null(strstr(json, "\"port\": \"1-65535\""), "%s", json);
    Tabard__V1__MeshConfig *again = parse(json, &err);
    cr_assert_not_null(again, "%s", err.text);
    cr_expect_eq(memcmp(again->policies[0]->ports, want, sizeof want), 0);
    free(json);
    release(config);
    release(again);
}

Test(pb_text, an_empty_message_prints_as_braces)
{
    Tabard__V1__MeshConfig config = TABARD__V1__MESH_CONFIG__INIT;
    char *json = pb_text_to_json(&config.base);
    cr_expect_str_eq(json, "{}\n");
    free(json);
}

Test(pb_text, fields_and_values_that_nobody_knows_are_found_wherever_they_are)
{
    Tabard__V1__Policy__Rule rule = TABARD__V1__POLICY__RULE__INIT;
    Tabard__V1__Policy__Rule *rules[] = {&rule};
    Tabard__V1__Policy good = TABARD__V1__POLICY__INIT;
    Tabard__V1__Policy policy = TABARD__V1__POLICY__INIT;
    Tabard__V1__Policy *policies[] = {&good, &policy};
    Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    ProtobufCMessageUnknownField unknown = {.tag = 99};
    char where[160] = "untouched";
    policy.rules = rules;
    policy.n_rules = 1;
    snapshot.policies = policies;
    snapshot.n_policies = 2;
    snapshot.settings = &settings;
    cr_expect_not(pb_text_has_unknown(&snapshot.base, where));
    cr_expect_str_eq(where, "untouched");

    rule.base.n_unknown_fields = 1;
    rule.base.unknown_fields = &unknown;
    cr_expect(pb_text_has_unknown(&snapshot.base, where));
    cr_expect_str_eq(where, "policies[1].rules[0]");
    cr_expect(pb_text_has_unknown(&snapshot.base, NULL));
    rule.base.n_unknown_fields = 0;

    policy.mode = (Tabard__V1__Policy__Mode)7;
    cr_expect(pb_text_has_unknown(&snapshot.base, where));
    cr_expect_str_eq(where, "policies[1].mode");
    policy.mode = TABARD__V1__POLICY__MODE__AUDIT;

    settings.unlisted_outbound = (Tabard__V1__Settings__UnlistedOutbound)-1;
    cr_expect(pb_text_has_unknown(&snapshot.base, where));
    cr_expect_str_eq(where, "settings.unlisted_outbound");
    settings.unlisted_outbound = TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__DENY;

    snapshot.base.n_unknown_fields = 1;
    cr_expect(pb_text_has_unknown(&snapshot.base, where));
    cr_expect_str_eq(where, "");
}

Test(pb_text, a_large_file_is_read_in_a_moment)
{
    enum { NUM_ROWS = 60000 };
    char *text = malloc(NUM_ROWS * 128);
    size_t len = (size_t)sprintf(text, "destinations:\n");
    for (unsigned i = 0; i < NUM_ROWS; i++) {
        len += (size_t)sprintf(text + len,
                               "- {name: d%u, addresses: [10.%u.%u.%u], mode: PLAINTEXT}\n", i,
                               i >> 16 & 255, i >> 8 & 255, i & 255);
    }
    struct err err;
    struct pb_text_marks *marks = NULL;
    Tabard__V1__MeshConfig *config = parse_bytes(text, len, &marks, &err);
    cr_assert_not_null(config, "%s", err.text);
    cr_expect_eq(config->n_destinations, NUM_ROWS);
    cr_expect_str_eq(config->destinations[NUM_ROWS - 1]->name, "d59999");
    err_set_at(&err, "destinations[59999].mode", "bad");
    pb_text_marks_locate(marks, "mesh.yaml", &err);
    cr_expect_eq(strncmp(err.text, "mesh.yaml:60001:", 16), 0, "%s", err.text);
    pb_text_marks_free(marks);
    release(config);
    free(text);
}
