// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/ca_bundle.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ca_bundle, .timeout = 10);

// "roots\n" in BASE64, and the start of a patch for resourceVersion 7.
#define ROOTS "cm9vdHMK"
#define TEST  "{\"op\":\"test\",\"path\":\"/metadata/resourceVersion\",\"value\":\"7\"}"
#define ADD(i)                                                                                     \
    "{\"op\":\"add\",\"path\":\"/webhooks/" i "/clientConfig/caBundle\",\"value\":\"" ROOTS "\"}"
#define OURS   "\"service\":{\"name\":\"tabard-policyd\",\"namespace\":\"mesh\"}"
#define OTHERS "\"service\":{\"name\":\"tabard-policyd\",\"namespace\":\"elsewhere\"}"
#define CONFIGURATION(webhooks)                                                                    \
    "{\"metadata\":{\"name\":\"tabard\",\"resourceVersion\":\"7\"},\"webhooks\":[" webhooks "]}"
#define WEBHOOK(client) "{\"name\":\"inject.tabard.dev\",\"clientConfig\":{" client "}}"

struct row {
    char what[48];
    char configuration[500];
    char patch[400]; // "": an error
};

ParameterizedTestParameters(ca_bundle, is_put_where_our_service_is_called)
{
    static struct row rows[] = {
        {"none", CONFIGURATION(WEBHOOK(OURS)), "[" TEST "," ADD("0") "]"},
        {"an empty one", CONFIGURATION(WEBHOOK(OURS ",\"caBundle\":\"\"")),
         "[" TEST "," ADD("0") "]"},
        {"others", CONFIGURATION(WEBHOOK(OURS ",\"caBundle\":\"b3RoZXJz\"")),
         "[" TEST "," ADD("0") "]"},
        {"the same", CONFIGURATION(WEBHOOK(OURS ",\"caBundle\":\"" ROOTS "\"")), "[]"},
        {"the second of two", CONFIGURATION(WEBHOOK(OTHERS) "," WEBHOOK(OURS)),
         "[" TEST "," ADD("1") "]"},
        {"both of two", CONFIGURATION(WEBHOOK(OURS) "," WEBHOOK(OURS)),
         "[" TEST "," ADD("0") "," ADD("1") "]"},
        {"one of two", CONFIGURATION(WEBHOOK(OURS ",\"caBundle\":\"" ROOTS "\"") "," WEBHOOK(OURS)),
         "[" TEST "," ADD("1") "]"},
        {"another namespace", CONFIGURATION(WEBHOOK(OTHERS)), ""},
        {"a URL", CONFIGURATION(WEBHOOK("\"url\":\"https://x/\"")), ""},
        {"no webhooks", CONFIGURATION(""), ""},
        {"webhooks of another type", "{\"webhooks\":7}", ""},
        {"no client", CONFIGURATION("{\"name\":\"x\"}"), ""},
        {"no configuration", "[]", ""},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, ca_bundle, is_put_where_our_service_is_called)
{
    struct err err = {{0}, {0}};
    json_t *configuration = json_loads(row->configuration, 0, NULL);
    cr_assert_not_null(configuration, "%s", row->what);
    json_t *patch = ca_bundle_patch(configuration, "mesh", "roots\n", &err);
    char *text = patch == NULL ? strdup("") : json_dumps(patch, JSON_COMPACT);
    cr_expect_str_eq(text, row->patch, "%s: %s", row->what, text);
    if (patch == NULL) {
        cr_expect_str_eq(err.text, "none of its webhooks calls the Service mesh/tabard-policyd");
    }
    free(text);
    json_decref(patch);
    json_decref(configuration);
}
