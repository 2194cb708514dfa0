// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "control/kube/inject/json_patch.h"
#include "tests/unit/control/kube/inject/inject_stage.h"

TestSuite(inject_refusal, .timeout = 10);

// A pod of one container with these parts beside, and what must be said of it. Criterion copies the
// rows into another process, so they hold their texts.
struct refusal {
    char metadata[160];
    char spec[220];
    enum inject_outcome outcome;
    char why[260];
};

#define CONTAINER(rest)         "\"containers\":[{\"name\":\"app\",\"image\":\"a\"" rest "}]"
#define ANNOTATION(name, value) "\"annotations\":{\"" name "\":\"" value "\"}"

ParameterizedTestParameters(inject_refusal, says_why_a_pod_is_not_injected)
{
    static struct refusal rows[] = {
        {"\"labels\":{\"tabard.dev/inject\":\"disabled\"}", CONTAINER(""), INJECT_NOTHING,
         "its label tabard.dev/inject says \"disabled\""},
        {"\"annotations\":{\"kubernetes.io/config.mirror\":\"x\"}", CONTAINER(""), INJECT_NOTHING,
         "it is the image of a static pod, which runs already"},
        {"\"labels\":{\"tabard.dev/inject\":\"false\"}", CONTAINER(""), INJECT_REFUSED,
         "label tabard.dev/inject: \"false\" is neither \"enabled\" nor \"disabled\""},
        {"", "\"hostNetwork\":true," CONTAINER(""), INJECT_REFUSED,
         "spec.hostNetwork: the pod shares the network of its node"},
        {"", "\"os\":{\"name\":\"windows\"}," CONTAINER(""), INJECT_REFUSED,
         "spec.os: the sidecar runs on Linux only"},
        {"", CONTAINER(",\"securityContext\":{\"runAsUser\":1337}"), INJECT_REFUSED,
         "spec.containers: container app runs as user 1337 (its securityContext.runAsUser), which "
         "is the sidecar's own"},
        {"", "\"securityContext\":{\"runAsUser\":1337}," CONTAINER(""), INJECT_REFUSED,
         "spec.containers: container app runs as user 1337 (spec.securityContext.runAsUser)"},
        {"",
         "\"securityContext\":{\"runAsUser\":1337}," CONTAINER(
             ",\"securityContext\":{\"runAsUser\":7}"),
         INJECT_PATCHED, ""},
        {"",
         "\"initContainers\":[{\"name\":\"i\",\"securityContext\":{\"runAsUser\":1337}}]"
         "," CONTAINER(""),
         INJECT_REFUSED, "spec.initContainers: container i runs as user 1337"},
        {"", CONTAINER(",\"ports\":[{\"containerPort\":80},{\"containerPort\":15021}]"),
         INJECT_REFUSED,
         "spec.containers: container app has port 15021, which is the sidecar's own (health)"},
        {"", CONTAINER(",\"ports\":[{\"containerPort\":15006,\"protocol\":\"UDP\"}]"),
         INJECT_PATCHED, ""},
        {"", "\"containers\":[{\"name\":\"tabard\"}]", INJECT_REFUSED,
         "spec.containers has a container tabard, which is the sidecar's own name"},
        {"", "\"containers\":[{\"name\":\"tabard-init\"}]", INJECT_REFUSED,
         "spec.containers has a container tabard-init, which is the sidecar's own name"},
        {"", "\"containers\":[{\"name\":\"tabard\",\"securityContext\":{\"runAsUser\":1337}}]",
         INJECT_REFUSED, "spec.containers: container tabard runs as user 1337"},
        {"", "\"volumes\":[{\"name\":\"tabard-config\"}]," CONTAINER(""), INJECT_REFUSED,
         "spec.volumes has a volume tabard-config"},
        {"\"annotations\":[]", CONTAINER(""), INJECT_REFUSED, "metadata.annotations is no object"},
        {"\"labels\":7", CONTAINER(""), INJECT_REFUSED, "metadata.labels is no object"},
        {"", "\"securityContext\":[]," CONTAINER(""), INJECT_REFUSED,
         "spec.securityContext is no object"},
        {"", CONTAINER(",\"securityContext\":7"), INJECT_REFUSED,
         "spec.containers[0].securityContext is no object"},
        {"", CONTAINER(",\"ports\":[7]"), INJECT_REFUSED,
         "spec.containers[0].ports[0] is no object"},
        {ANNOTATION("config.tabard.dev/alpn", "90"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/alpn: \"90\" is not PORT=PROTOCOL+PROTOCOL"},
        {ANNOTATION("config.tabard.dev/alpn", "90=h2,90=h3"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/alpn: 90 stands there twice"},
        {"", "\"volumes\":[{\"name\":\"tabard-run\"}]," CONTAINER(""), INJECT_REFUSED,
         "spec.volumes has a volume tabard-run"},
        {ANNOTATION("tabard.dev/status", "{}"), CONTAINER(""), INJECT_REFUSED,
         "annotation tabard.dev/status says that the sidecar is there"},
        {ANNOTATION("tabard.dev/status", "{}"),
         "\"initContainers\":[{\"name\":\"tabard\"},{\"name\":\"tabard-init\"}]," CONTAINER(""),
         INJECT_REFUSED,
         "annotation tabard.dev/status says that the sidecar is there, but the first two"},
        {ANNOTATION("tabard.dev/status", "{}"),
         "\"initContainers\":[{\"name\":\"tabard-init\"},{\"name\":\"tabard\"}]," CONTAINER(""),
         INJECT_REFUSED,
         "annotation tabard.dev/status says that the sidecar is there, but the first two"},
        {"", CONTAINER(",\"volumeMounts\":[{\"name\":\"tabard-config\",\"mountPath\":\"/t\"}]"),
         INJECT_REFUSED, "spec.containers: container app mounts the volume tabard-config"},
        {"",
         "\"initContainers\":[{\"name\":\"i\",\"volumeMounts\":[{\"name\":\"tabard-run\"}]}]"
         "," CONTAINER(""),
         INJECT_REFUSED, "spec.initContainers: container i mounts the volume tabard-run"},
        {"", CONTAINER(",\"volumeMounts\":7"), INJECT_REFUSED,
         "spec.containers[0].volumeMounts is no list"},
        {ANNOTATION("tabard.dev/inject", "enabled"), CONTAINER(""), INJECT_REFUSED,
         "annotation tabard.dev/inject counts for nothing: it is a label"},
        {ANNOTATION("tabard.dev/moot", "1"), CONTAINER(""), INJECT_REFUSED,
         "annotation tabard.dev/moot is unknown"},
        {ANNOTATION("config.tabard.dev/exclude-port", "1"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/exclude-port is unknown; behind config.tabard.dev/ may "
         "stand "
         "inbound-ports, alpn, "},
        {ANNOTATION("config.tabard.dev/inbound-ports", "9090"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/inbound-ports: \"9090\" is not PORT=MODE or "
         "FIRST-LAST=MODE"},
        {ANNOTATION("config.tabard.dev/inbound-ports", "70000=MTLS"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/inbound-ports: 70000 is not a TCP port"},
        {ANNOTATION("config.tabard.dev/inbound-ports", "90=OPEN"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/inbound-ports: inbound_ports[0].mode: "},
        {ANNOTATION("config.tabard.dev/inbound-ports", "90=MTLS,"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/inbound-ports: a comma stands at the end"},
        {ANNOTATION("config.tabard.dev/inbound-ports", ""), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/inbound-ports: \"\" is not PORT=MODE"},
        {ANNOTATION("config.tabard.dev/inbound-ports", "90=MTLS,90=PLAINTEXT"), CONTAINER(""),
         INJECT_REFUSED, "annotation config.tabard.dev/inbound-ports: 90 stands there twice"},
        {ANNOTATION("config.tabard.dev/inbound-ports", "1-9=MTLS,5-15=PLAINTEXT"), CONTAINER(""),
         INJECT_REFUSED, "annotation config.tabard.dev/inbound-ports: inbound_ports["},
        {ANNOTATION("config.tabard.dev/alpn", "90=h2+"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/alpn: inbound_ports[0].alpn"},
        {ANNOTATION("config.tabard.dev/exclude-inbound-ports", "22,x"), CONTAINER(""),
         INJECT_REFUSED, "annotation config.tabard.dev/exclude-inbound-ports: "},
        {ANNOTATION("config.tabard.dev/exclude-outbound-cidrs", "10.1.2.3/8"), CONTAINER(""),
         INJECT_REFUSED, "annotation config.tabard.dev/exclude-outbound-cidrs: "},
        {ANNOTATION("config.tabard.dev/cpu-request", "lots"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/cpu-request: \"lots\" is no amount above 0"},
        {ANNOTATION("config.tabard.dev/memory-request", "1Gi"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/memory-request: 1Gi is more than the limit, 256Mi: set "
         "config.tabard.dev/memory-limit too"},
        {ANNOTATION("config.tabard.dev/memory-limit", "1Mi"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/memory-limit: 1Mi is less than the request, 32Mi"},
        {ANNOTATION("config.tabard.dev/log-level", "all"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/log-level: \"all\" is none of debug, info, warn, error"},
        {ANNOTATION("config.tabard.dev/key", "ml-dsa-44"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/key: \"ml-dsa-44\" is none of P256, ED25519, ML_DSA_44, "
         "ML_DSA_65"},
        {ANNOTATION("config.tabard.dev/key", "KEY_UNSPECIFIED"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/key: \"KEY_UNSPECIFIED\" is none of "},
        {"\"annotations\":{\"config.tabard.dev/certificate-volume\":\"tls\","
         "\"config.tabard.dev/key\":\"P256\"}",
         CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/key: certificate-volume has the certificate"},
        {ANNOTATION("config.tabard.dev/rewrite-probes", "no"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/rewrite-probes: \"no\" is neither true nor false"},
        {ANNOTATION("config.tabard.dev/drain-seconds", "60"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/drain-seconds: 60 s are not less than the pod's "
         "terminationGracePeriodSeconds, 30"},
        {ANNOTATION("config.tabard.dev/drain-seconds", "30"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/drain-seconds: 30 s are not less than the pod's "
         "terminationGracePeriodSeconds, 30"},
        {ANNOTATION("config.tabard.dev/workers", "0"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/workers: \"0\" is no number from 1 to 256"},
        {ANNOTATION("config.tabard.dev/certificate-volume", "tls"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/certificate-volume: the pod has no volume \"tls\""},
        {"", CONTAINER(",\"livenessProbe\":{\"httpGet\":{\"port\":\"http\"}}"), INJECT_REFUSED,
         "container app: livenessProbe: the container has no port named \"http\""},
        {"", CONTAINER(",\"readinessProbe\":{\"tcpSocket\":{\"port\":0}}"), INJECT_REFUSED,
         "container app: readinessProbe: there is no port from 1 to 65535"},
        {"",
         CONTAINER(",\"startupProbe\":{\"httpGet\":{\"port\":1,\"httpHeaders\":[{\"name\":\"a\","
                   "\"value\":\"b\\r\\nc: d\"}]}}"),
         INJECT_REFUSED,
         "container app: startupProbe: probes[0].http.headers[0]: the value of a has a control"},
        {"", "\"containers\":[]", INJECT_REFUSED, "spec.containers: the pod has no container"},
        {"", "\"containers\":{}", INJECT_REFUSED, "spec.containers is no list"},
        {"", "\"containers\":[7]", INJECT_REFUSED, "spec.containers[0] is no object"},
        {"", "\"containers\":[{}]", INJECT_REFUSED, "spec.containers[0] has no name"},
        {"", "\"volumes\":null,\"initContainers\":null," CONTAINER(""), INJECT_PATCHED, ""},
    };
    return cr_make_param_array(struct refusal, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct refusal *row, inject_refusal, says_why_a_pod_is_not_injected)
{
    char text[512];
    struct inject_result result;
    struct err err = {{0}, {0}};
    snprintf(text, sizeof text, "{\"metadata\":{%s},\"spec\":{%s}}", row->metadata, row->spec);
    json_t *pod = json_loads(text, 0, NULL);
    cr_assert(pod != NULL, "%s", text);
    inject_run(&result, pod);
    cr_expect_eq(result.outcome, row->outcome, "%s: %s", text, result.why.text);
    cr_expect_eq(strncmp(result.why.text, row->why, strlen(row->why)), 0, "%s: %s", row->why,
                 result.why.text);
    cr_expect_eq(result.patch != NULL, result.outcome == INJECT_PATCHED);
    if (result.patch != NULL) {
        cr_expect(json_patch_apply(pod, result.patch, &err), "%s", err.text);
        pod_expect(pod, "spec.initContainers.1.name", "\"tabard\"");
    }
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject_refusal, a_pod_of_another_mesh_or_of_the_hosts_network_is_refused)
{
    static const char *const names[] = {"stateful_set_of_another_mesh", "host_network"};
    static const char *const whys[] = {"spec.initContainers: container mesh-proxy has port 15020",
                                       "spec.hostNetwork: "};
    for (size_t i = 0; i < 2; i++) {
        struct inject_result result;
        json_t *pod = pod_read(names[i]);
        inject_run(&result, pod);
        cr_expect_eq(result.outcome, INJECT_REFUSED);
        cr_expect_eq(strncmp(result.why.text, whys[i], strlen(whys[i])), 0, "%s", result.why.text);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject_refusal, what_is_no_pod_is_refused)
{
    static const char *const texts[] = {"{}", "[]", "7", "{\"spec\":[]}",
                                        "{\"spec\":{\"containers\":[{\"name\":\"a\"}]},"
                                        "\"metadata\":{\"annotations\":[]}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct inject_result result;
        json_t *pod = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        inject_run(&result, pod);
        cr_expect_eq(result.outcome, INJECT_REFUSED, "%s", texts[i]);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject_refusal, a_pod_without_metadata_gets_some)
{
    json_t *pod = json_loads("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}", 0, NULL);
    inject_good(pod);
    cr_expect_str_neq(pod_annotation(pod, "tabard.dev/status"), "nothing");
    json_decref(pod);
}

Test(inject_refusal, an_injected_pod_that_another_webhook_gave_the_proxys_user_is_refused)
{
    struct inject_result result;
    json_t *pod = pod_read("bare");
    inject_good(pod);
    json_array_append_new(
        json_object_get(json_object_get(pod, "spec"), "containers"),
        json_pack("{s:s, s:{s:i}}", "name", "late", "securityContext", "runAsUser", 1337));
    inject_run(&result, pod);
    cr_expect_eq(result.outcome, INJECT_REFUSED);
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject_refusal, an_injected_pod_that_another_webhook_gave_a_container_before_ours_is_refused)
{
    struct inject_result result;
    json_t *pod = pod_read("bare");
    inject_good(pod);
    json_array_insert_new(json_object_get(json_object_get(pod, "spec"), "initContainers"), 0,
                          json_pack("{s:s}", "name", "early"));
    inject_run(&result, pod);
    cr_expect_eq(result.outcome, INJECT_REFUSED, "%s", result.why.text);
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject_refusal, in_a_namespace_whose_label_is_unclear_only_what_opted_out_is_allowed)
{
    static const struct inject_context unclear = {
        .trust_domain = "demo.example", .roots = "PEM", .is_namespace_unclear = true};
    static const char *const labels[] = {"enabled", "off", "disabled"};
    Tabard__V1__InjectConfig *config = inject_config_of("");
    for (size_t i = 0; i < 3; i++) {
        struct inject_result result;
        json_t *pod = pod_read("bare");
        json_object_set_new(json_object_get(pod, "metadata"), "labels",
                            json_pack("{s:s}", "tabard.dev/inject", labels[i]));
        inject_pod(&result, pod, &unclear, config);
        cr_expect_eq(result.outcome, i < 2 ? INJECT_REFUSED : INJECT_NOTHING, "%s", labels[i]);
        cr_expect_eq(strstr(result.why.text, "of the namespace is neither") != NULL, i < 2);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
    inject_config_free(config);
}

Test(inject_refusal, without_roots_or_trust_domain_nothing_is_injected)
{
    static const struct inject_context none = {.trust_domain = "demo.example"};
    static const struct inject_context no_domain = {.roots = "PEM"};
    struct inject_result result;
    json_t *pod = pod_read("bare");
    Tabard__V1__InjectConfig *config = inject_config_of("");
    inject_pod(&result, pod, &none, config);
    cr_expect_eq(result.outcome, INJECT_REFUSED);
    cr_expect(strstr(result.why.text, "has no roots") != NULL, "%s", result.why.text);
    inject_result_cleanup(&result);
    inject_pod(&result, pod, &no_domain, config);
    cr_expect_eq(result.outcome, INJECT_REFUSED);
    cr_expect(strstr(result.why.text, "has no trust_domain") != NULL, "%s", result.why.text);
    inject_result_cleanup(&result);
    inject_config_free(config);
    json_decref(pod);
}
