// SPDX-License-Identifier: Apache-2.0
//
// reviews.jsonl holds requests that a Kubernetes 1.32 API server made, for a Deployment, a Job, a
// StatefulSet and bare pods, some of them asked again after another mesh had put its sidecar in.
#include "control/kube/webhook/review.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <openssl/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/inject/json_patch.h"

#define FILE_PATH "tests/unit/control/kube/webhook/reviews.jsonl"

TestSuite(review, .timeout = 20);

// Decides about a request of `len` bytes.
static void decide(struct review *out, const char *text, size_t len)
{
    static const char yaml[] = "image: localhost/tabard:dev\n"
                               "policy_agent: tabard-policyd.tabard-system.svc:15012\n";
    static const struct inject_context context = {.trust_domain = "demo.example", .roots = "PEM\n"};
    struct err err = {{0}, {0}};
    Tabard__V1__InjectConfig *config = inject_config_parse(yaml, strlen(yaml), "inject.yaml", &err);
    cr_assert(config != NULL, "%s", err.text);
    review_decide(out, (const uint8_t *)text, len, &context, config);
    cr_assert_not_null(out->body);
    inject_config_free(config);
}

// The answer to a review with the uid, checked as an API server does.
static json_t *response_of(const struct review *review, const char *uid, json_t **out_root)
{
    json_t *root = json_loads(review->body, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(root, "%s", review->body);
    cr_expect_eq(review->status, 200);
    cr_expect_str_eq(json_string_value(json_object_get(root, "apiVersion")), "admission.k8s.io/v1");
    cr_expect_str_eq(json_string_value(json_object_get(root, "kind")), "AdmissionReview");
    json_t *response = json_object_get(root, "response");
    cr_expect_str_eq(json_string_value(json_object_get(response, "uid")), uid);
    cr_expect_eq(json_object_get(response, "patch") != NULL,
                 json_object_get(response, "patchType") != NULL);
    *out_root = root;
    return response;
}

// The patch of a response, decoded.
static json_t *patch_of(const json_t *response)
{
    const char *encoded = json_string_value(json_object_get(response, "patch"));
    size_t len = 0;
    cr_assert_not_null(encoded);
    cr_expect_str_eq(json_string_value(json_object_get(response, "patchType")), "JSONPatch");
    uint8_t *text = malloc(strlen(encoded));
    cr_assert(EVP_DecodeBase64(text, &len, strlen(encoded), (const uint8_t *)encoded,
                               strlen(encoded)) == 1);
    json_t *patch = json_loadb((char *)text, len, 0, NULL);
    cr_assert(json_is_array(patch));
    free(text);
    return patch;
}

// The 13 requests: a pod that passed once, and what becomes of it if it comes again.
static void expect_recorded(const char *line, unsigned num, enum review_result expected)
{
    struct review review;
    struct err err = {{0}, {0}};
    json_t *request = json_loads(line, 0, NULL);
    json_t *asked = json_object_get(request, "request");
    const char *uid = json_string_value(json_object_get(asked, "uid"));
    decide(&review, line, strlen(line));
    cr_expect_eq(review.result, expected, "%u: %s %s", num, review.name, review.why.text);
    json_t *root = NULL;
    const json_t *response = response_of(&review, uid, &root);
    cr_expect_eq(json_is_true(json_object_get(response, "allowed")), expected != REVIEW_REFUSED);
    if (expected == REVIEW_PATCHED) {
        json_t *patch = patch_of(response);
        cr_assert(json_patch_apply(json_object_get(asked, "object"), patch, &err), "%s", err.text);
        json_decref(patch);
        char *again = json_dumps(request, 0);
        review_cleanup(&review);
        decide(&review, again, strlen(again));
        cr_expect_eq(review.result, REVIEW_NOTHING, "%u, again: %s", num, review.why.text);
        free(again);
    }
    json_decref(root);
    json_decref(request);
    review_cleanup(&review);
}

Test(review, decides_about_each_recorded_request_and_nothing_the_second_time)
{
    FILE *file = fopen(FILE_PATH, "r");
    cr_assert_not_null(file);
    char *line = NULL;
    size_t cap = 0;
    unsigned num = 0;
    unsigned num_refused = 0;
    while (getline(&line, &cap, file) > 0) {
        // The other mesh's sidecar has a port that ours needs, too.
        bool is_refused = strstr(line, "\"hostNetwork\": true") != NULL ||
                          strstr(line, "\"name\": \"mesh-proxy\"") != NULL;
        num_refused += is_refused;
        expect_recorded(line, ++num, is_refused ? REVIEW_REFUSED : REVIEW_PATCHED);
    }
    cr_expect_eq(num, 13);
    cr_expect_eq(num_refused, 6);
    free(line);
    fclose(file);
}

#define ENVELOPE "\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\""
#define POD_KIND "\"kind\":{\"group\":\"\",\"version\":\"v1\",\"kind\":\"Pod\"}"
#define POD(name, spec)                                                                            \
    "\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{" name "},\"spec\":{" spec   \
    "}}"
#define CONTAINERS     "\"containers\":[{\"name\":\"app\",\"image\":\"x\"}]"
#define REQUEST(parts) "{" ENVELOPE ",\"request\":{" parts "}}"
#define CREATE(parts)                                                                              \
    REQUEST("\"uid\":\"u-1\"," POD_KIND ",\"namespace\":\"shop\",\"operation\":\"CREATE\"," parts)

struct row {
    char what[64];
    char text[900];
    enum review_result result;
    unsigned status;
    char says[120]; // in why, and so in the answer
};

ParameterizedTestParameters(review, answers_each_request)
{
    static struct row rows[] = {
        {"a pod", CREATE(POD("\"name\":\"a\"", CONTAINERS)), REVIEW_PATCHED, 200, ""},
        {"a dry run", CREATE("\"dryRun\":true," POD("\"name\":\"a\"", CONTAINERS)), REVIEW_PATCHED,
         200, ""},
        {"white space around", " \n" CREATE(POD("", CONTAINERS)) "\r\n\t ", REVIEW_PATCHED, 200,
         ""},
        {"an opted out pod",
         CREATE(POD("\"labels\":{\"tabard.dev/inject\":\"disabled\"}", CONTAINERS)), REVIEW_NOTHING,
         200, "its label tabard.dev/inject says \"disabled\""},
        {"a label that is none",
         CREATE(POD("\"labels\":{\"tabard.dev/inject\":\"yes\"}", CONTAINERS)), REVIEW_REFUSED, 200,
         "label tabard.dev/inject: \"yes\""},
        {"a label that is cut in a character",
         CREATE(POD("\"labels\":{\"tabard.dev/inject\":"
                    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u00e4\"}",
                    CONTAINERS)),
         REVIEW_REFUSED, 200, "aaaa?\" is neither"},
        {"no containers", CREATE(POD("", "\"containers\":[]")), REVIEW_REFUSED, 200, "containers"},
        {"containers of another type", CREATE(POD("", "\"containers\":7")), REVIEW_REFUSED, 200,
         "containers"},
        {"an unknown annotation of ours",
         CREATE(POD("\"annotations\":{\"config.tabard.dev/a~b\":\"\"}", CONTAINERS)),
         REVIEW_REFUSED, 200, "config.tabard.dev/a~b"},
        {"an update", REQUEST("\"uid\":\"u-1\",\"operation\":\"UPDATE\"," POD_KIND), REVIEW_NOTHING,
         200, "only CREATE"},
        {"a deletion", REQUEST("\"uid\":\"u-1\",\"operation\":\"DELETE\",\"object\":null"),
         REVIEW_NOTHING, 200, "only CREATE"},
        {"an unknown operation", REQUEST("\"uid\":\"u-1\",\"operation\":\"create\"," POD_KIND),
         REVIEW_REFUSED, 200, "request.operation is \"create\""},
        {"no operation", REQUEST("\"uid\":\"u-1\"," POD_KIND "," POD("", CONTAINERS)),
         REVIEW_REFUSED, 200, "request.operation is \"\""},
        {"a subresource", CREATE("\"subResource\":\"binding\"," POD("", CONTAINERS)),
         REVIEW_NOTHING, 200, "subresources pass"},
        {"a subresource that is none", CREATE("\"subResource\":\"\"," POD("", CONTAINERS)),
         REVIEW_PATCHED, 200, ""},
        {"a subresource of another type", CREATE("\"subResource\":7," POD("", CONTAINERS)),
         REVIEW_NOTHING, 200, "subresources pass"},
        {"another kind",
         REQUEST("\"uid\":\"u-1\",\"operation\":\"CREATE\",\"kind\":{\"group\":\"apps\","
                 "\"version\":\"v1\",\"kind\":\"Deployment\"}," POD("", CONTAINERS)),
         REVIEW_REFUSED, 200, "request.kind is Deployment of \"apps/v1\""},
        {"a pod of another group",
         REQUEST("\"uid\":\"u-1\",\"operation\":\"CREATE\",\"kind\":{\"group\":\"x.example\","
                 "\"version\":\"v1\",\"kind\":\"Pod\"}," POD("", CONTAINERS)),
         REVIEW_REFUSED, 200, "request.kind is Pod of \"x.example/v1\""},
        {"no kind", REQUEST("\"uid\":\"u-1\",\"operation\":\"CREATE\"," POD("", CONTAINERS)),
         REVIEW_REFUSED, 200, "request.kind is "},
        {"an object that is no pod",
         CREATE("\"object\":{\"kind\":\"Secret\",\"apiVersion\":\"v1\"}"), REVIEW_REFUSED, 200,
         "request.object is Secret of \"v1\""},
        {"an object without kind", CREATE("\"object\":{\"spec\":{" CONTAINERS "}}"), REVIEW_PATCHED,
         200, ""},
        {"no object", CREATE("\"object\":null"), REVIEW_REFUSED, 200,
         "request.object is not there"},
        {"an object of another type", CREATE("\"object\":[]"), REVIEW_REFUSED, 200,
         "request.object is not there"},
        {"nothing", "", REVIEW_MALFORMED, 400, "is not one JSON document"},
        {"cut", "{" ENVELOPE ",\"request\":{\"uid\":\"u-1\",", REVIEW_MALFORMED, 400,
         "is not one JSON document"},
        {"two documents", CREATE(POD("", CONTAINERS)) "{}", REVIEW_MALFORMED, 400,
         "end of file expected"},
        {"a key twice", REQUEST("\"uid\":\"u-1\",\"uid\":\"u-2\""), REVIEW_MALFORMED, 400,
         "duplicate object key"},
        {"a key twice deep inside",
         CREATE(POD("", CONTAINERS ",\"hostNetwork\":true,\"hostNetwork\":false")),
         REVIEW_MALFORMED, 400, "duplicate object key"},
        {"a NUL in a text", CREATE(POD("\"name\":\"a\\u0000b\"", CONTAINERS)), REVIEW_MALFORMED,
         400, "is not one JSON document"},
        {"bad UTF-8", CREATE(POD("\"name\":\"a\xff\"", CONTAINERS)), REVIEW_MALFORMED, 400,
         "unable to decode byte 0xff"},
        {"no object at all", "[]", REVIEW_MALFORMED, 400, "must be AdmissionReview of admission"},
        {"another version",
         "{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\","
         "\"request\":{\"uid\":\"u-1\"}}",
         REVIEW_MALFORMED, 400, "\"admission.k8s.io/v1beta1\", and must be"},
        {"another envelope",
         "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"ConversionReview\","
         "\"request\":{\"uid\":\"u-1\"}}",
         REVIEW_MALFORMED, 400, "the request is \"ConversionReview\""},
        {"no request", "{" ENVELOPE "}", REVIEW_MALFORMED, 400, "no object \"request\""},
        {"an answer", "{" ENVELOPE ",\"response\":{\"uid\":\"u-1\",\"allowed\":true}}",
         REVIEW_MALFORMED, 400, "no object \"request\""},
        {"no uid", REQUEST("\"operation\":\"CREATE\""), REVIEW_MALFORMED, 400, "request.uid"},
        {"an empty uid", REQUEST("\"uid\":\"\""), REVIEW_MALFORMED, 400, "request.uid"},
        {"a uid of another type", REQUEST("\"uid\":7"), REVIEW_MALFORMED, 400, "request.uid"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, review, answers_each_request)
{
    struct review review;
    decide(&review, row->text, strlen(row->text));
    cr_expect_eq(review.result, row->result, "%s: %s: %s", row->what,
                 review_result_text(review.result), review.why.text);
    cr_expect_eq(review.status, row->status, "%s: %u", row->what, review.status);
    cr_expect(strstr(review.why.text, row->says) != NULL, "%s: %s", row->what, review.why.text);
    if (row->status == 200) {
        json_t *root = NULL;
        const json_t *response = response_of(&review, "u-1", &root);
        const json_t *status = json_object_get(response, "status");
        cr_expect_eq(json_is_true(json_object_get(response, "allowed")),
                     row->result != REVIEW_REFUSED, "%s", row->what);
        cr_expect_eq(json_object_get(response, "patch") != NULL, row->result == REVIEW_PATCHED,
                     "%s", row->what);
        if (row->result == REVIEW_REFUSED) {
            cr_expect_str_eq(json_string_value(json_object_get(status, "message")),
                             review.why.text);
            cr_expect_eq(json_integer_value(json_object_get(status, "code")), 403);
        }
        json_decref(root);
    } else {
        cr_expect(strstr(review.body, row->says) != NULL, "%s: %s", row->what, review.body);
    }
    review_cleanup(&review);
}

Test(review, names_the_pod_as_well_as_it_is_named)
{
    static const struct {
        const char *metadata;
        const char *name;
    } rows[] = {{"\"name\":\"a\"", "shop/a"},
                {"\"generateName\":\"a-\"", "shop/a-*"},
                {"\"generateName\":\"a-\",\"name\":\"a-1\"", "shop/a-1"},
                {"", "shop/"},
                {"\"name\":7", "shop/"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[900];
        struct review review;
        snprintf(text, sizeof text, CREATE("\"object\":{\"metadata\":{%s},\"spec\":{}}"),
                 rows[i].metadata);
        decide(&review, text, strlen(text));
        cr_expect_str_eq(review.name, rows[i].name);
        review_cleanup(&review);
    }
}

// A request of 10 MB.
static char *long_request(const char *unit, size_t *out_len)
{
    static const char head[] = "{" ENVELOPE ",\"request\":{\"uid\":\"u-1\"," POD_KIND
                               ",\"operation\":\"CREATE\",\"object\":{\"metadata\":{"
                               "\"annotations\":{\"a\":\"b\"}},\"more\":[0";
    static const char tail[] = "],\"spec\":{" CONTAINERS "}}}}";
    const size_t max = 10 << 20;
    char *text = malloc(max + sizeof head + sizeof tail + 64);
    size_t len = (size_t)sprintf(text, "%s", head);
    while (len < max - sizeof tail - strlen(unit)) {
        len += (size_t)sprintf(text + len, "%s", unit);
    }
    len += (size_t)sprintf(text + len, "%s", tail);
    *out_len = len;
    return text;
}

Test(review, ten_megabytes_of_few_values_are_a_request_and_of_many_are_refused_unparsed)
{
    struct review review;
    size_t len = 0;
    char piece[2001];
    memset(piece, 'x', sizeof piece - 1);
    memcpy(piece, ",\"", 2);
    memcpy(piece + sizeof piece - 2, "\"", 2);
    char *text = long_request(piece, &len);
    decide(&review, text, len);
    cr_expect_eq(review.result, REVIEW_PATCHED, "%s", review.why.text);
    review_cleanup(&review);
    free(text);
    text = long_request(",{}", &len);
    decide(&review, text, len);
    cr_expect_eq(review.result, REVIEW_MALFORMED);
    cr_expect_str_eq(review.why.text, "the request's JSON has more than 200000 values");
    review_cleanup(&review);
    free(text);
}
