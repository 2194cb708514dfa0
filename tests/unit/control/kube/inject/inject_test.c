// SPDX-License-Identifier: Apache-2.0
//
// The pods are requests that a Kubernetes 1.32 API server made, for a Deployment, a Job, a
// StatefulSet and bare pods.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/inject/inject.h"
#include "control/kube/inject/json_patch.h"

TestSuite(inject, .timeout = 10);

static Tabard__V1__InjectConfig *config_of(const char *more)
{
    static const char base[] = "image: localhost/tabard:dev\n"
                               "policy_agent: tabard-policyd.tabard-system.svc:15012\n";
    char text[1024];
    struct err err = {{0}, {0}};
    snprintf(text, sizeof text, "%s%s", base, more);
    Tabard__V1__InjectConfig *config = inject_config_parse(text, strlen(text), "inject.yaml", &err);
    cr_assert(config != NULL, "%s", err.text);
    return config;
}

static json_t *pod_read(const char *name)
{
    char path[160];
    json_error_t error;
    snprintf(path, sizeof path, "tests/unit/control/kube/inject/pods/%s.json", name);
    json_t *pod = json_load_file(path, 0, &error);
    cr_assert(pod != NULL, "%s: %s", path, error.text);
    return pod;
}

static void run(struct inject_result *out, const json_t *pod)
{
    static const struct inject_context context = {.trust_domain = "demo.example", .roots = "PEM\n"};
    Tabard__V1__InjectConfig *config = config_of("");
    inject_pod(out, pod, &context, config);
    inject_config_free(config);
}

// Injects into the pod, which must be possible.
static void inject(json_t *pod)
{
    struct err err = {{0}, {0}};
    struct inject_result result;
    run(&result, pod);
    cr_assert_eq(result.outcome, INJECT_PATCHED, "%s", result.why.text);
    cr_assert(json_patch_apply(pod, result.patch, &err), "%s", err.text);
    inject_result_cleanup(&result);
}

// The part of a pod at a path of names and numbers, "spec.containers.0.name".
static const json_t *at(const json_t *pod, const char *path)
{
    char copy[160];
    char *rest = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *step = strtok_r(copy, ".", &rest); step != NULL; step = strtok_r(NULL, ".", &rest)) {
        pod = json_is_array(pod) ? json_array_get(pod, (size_t)atoi(step))
                                 : json_object_get(pod, step);
    }
    return pod;
}

static void expect(const json_t *pod, const char *path, const char *json)
{
    char *text = json_dumps(at(pod, path), JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    cr_expect_str_eq(text == NULL ? "nothing" : text, json, "%s is %s", path,
                     text == NULL ? "nothing" : text);
    free(text);
}

static const char *annotation(const json_t *pod, const char *name)
{
    const char *value = json_string_value(json_object_get(at(pod, "metadata.annotations"), name));
    return value == NULL ? "nothing" : value;
}

static void annotate(json_t *pod, const char *name, const char *value)
{
    json_t *metadata = json_object_get(pod, "metadata");
    json_t *annotations = json_object_get(metadata, "annotations");
    if (annotations == NULL) {
        annotations = json_object();
        json_object_set_new(metadata, "annotations", annotations);
    }
    json_object_set_new(annotations, name, json_string(value));
}

struct name {
    char text[40];
};

ParameterizedTestParameters(inject,
                            init_and_sidecar_come_before_everything_and_a_second_time_nothing)
{
    static struct name names[] = {{"deployment"}, {"job"},     {"bare"},
                                  {"no_token"},   {"dry_run"}, {"stateful_set"}};
    return cr_make_param_array(struct name, names, sizeof names / sizeof names[0]);
}

ParameterizedTest(struct name *name, inject,
                  init_and_sidecar_come_before_everything_and_a_second_time_nothing)
{
    json_t *pod = pod_read(name->text);
    size_t inits = json_array_size(at(pod, "spec.initContainers"));
    size_t volumes = json_array_size(at(pod, "spec.volumes"));
    json_t *containers = json_deep_copy(at(pod, "spec.containers"));
    inject(pod);
    expect(pod, "spec.initContainers.0.name", "\"tabard-init\"");
    expect(pod, "spec.initContainers.1.name", "\"tabard\"");
    expect(pod, "spec.initContainers.1.restartPolicy", "\"Always\"");
    cr_expect_eq(json_array_size(at(pod, "spec.initContainers")), inits + 2);
    cr_expect_eq(json_array_size(at(pod, "spec.volumes")), volumes + 2);
    cr_expect_eq(json_array_size(at(pod, "spec.containers")), json_array_size(containers));
    struct inject_result again;
    run(&again, pod);
    cr_expect_eq(again.outcome, INJECT_NOTHING, "%s", again.why.text);
    cr_expect_str_eq(again.why.text, "the sidecar is there already, put in by version 0.1.0");
    inject_result_cleanup(&again);
    json_decref(containers);
    json_decref(pod);
}

Test(inject, the_init_container_is_root_with_net_admin_and_nothing_else)
{
    json_t *pod = pod_read("bare");
    inject(pod);
    expect(pod, "spec.initContainers.0.securityContext",
           "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"NET_ADMIN\"],"
           "\"drop\":[\"ALL\"]},\"privileged\":false,\"readOnlyRootFilesystem\":true,"
           "\"runAsGroup\":0,\"runAsNonRoot\":false,\"runAsUser\":0,"
           "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}}");
    expect(pod, "spec.initContainers.0.command",
           "[\"/usr/bin/tabardctl\",\"intercept\",\"up\",\"--verify\",\"--proxy-uid\",\"1337\"]");
    json_decref(pod);
}

Test(inject, the_sidecar_passes_the_restricted_pod_security_standard)
{
    json_t *pod = pod_read("bare");
    inject(pod);
    expect(pod, "spec.initContainers.1.securityContext",
           "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]},"
           "\"privileged\":false,\"readOnlyRootFilesystem\":true,\"runAsGroup\":1337,"
           "\"runAsNonRoot\":true,\"runAsUser\":1337,"
           "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}}");
    json_decref(pod);
}

Test(inject, the_sidecar_asks_for_resources_and_has_three_probes_of_its_own)
{
    json_t *pod = pod_read("bare");
    inject(pod);
    expect(
        pod, "spec.initContainers.1.resources",
        "{\"limits\":{\"memory\":\"256Mi\"},\"requests\":{\"cpu\":\"10m\",\"memory\":\"32Mi\"}}");
    expect(pod, "spec.initContainers.1.startupProbe.httpGet",
           "{\"path\":\"/healthz/ready\",\"port\":15021}");
    expect(pod, "spec.initContainers.1.readinessProbe.httpGet",
           "{\"path\":\"/healthz/ready\",\"port\":15021}");
    expect(pod, "spec.initContainers.1.livenessProbe.httpGet",
           "{\"path\":\"/healthz/live\",\"port\":15021}");
    json_decref(pod);
}

Test(inject, keys_and_sockets_are_in_memory_and_the_token_is_for_our_audience_alone)
{
    json_t *pod = pod_read("no_token");
    inject(pod);
    expect(pod, "spec.volumes.0",
           "{\"emptyDir\":{\"medium\":\"Memory\",\"sizeLimit\":\"64Mi\"},\"name\":\"tabard-run\"}");
    expect(pod, "spec.volumes.1.projected.sources.0",
           "{\"serviceAccountToken\":{\"audience\":\"tabard.dev\",\"expirationSeconds\":3600,"
           "\"path\":\"token\"}}");
    expect(pod, "spec.volumes.1.projected.sources.1.downwardAPI.items.0",
           "{\"fieldRef\":{\"fieldPath\":\"metadata.annotations['tabard.dev/mesh.yaml']\"},"
           "\"path\":\"mesh.yaml\"}");
    // Where something is mounted already, Kubernetes mounts no token of its API.
    for (int i = 0; i < 2; i++) {
        char path[80];
        snprintf(path, sizeof path, "spec.initContainers.%d.volumeMounts.0", i);
        expect(pod, path,
               "{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\","
               "\"name\":\"tabard-run\",\"readOnly\":true,\"subPath\":\"no-token\"}");
    }
    json_decref(pod);
}

Test(inject, the_annotations_hold_the_sidecars_configuration_and_what_was_done)
{
    json_t *pod = pod_read("deployment");
    inject(pod);
    json_t *mesh = json_loads(annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    expect(mesh, "policy_agent",
           "{\"address\":\"tabard-policyd.tabard-system.svc:15012\","
           "\"identity\":\"spiffe://demo.example/tabard/policyd\",\"roots\":\"roots.pem\","
           "\"service_account_token\":\"token\"}");
    expect(mesh, "settings", "{\"drain_seconds\":30,\"interception\":{}}");
    json_decref(mesh);
    cr_expect_str_eq(annotation(pod, "tabard.dev/roots.pem"), "PEM\n");
    cr_expect_str_eq(annotation(pod, "tabard.dev/status"),
                     "{\"version\":\"0.1.0\",\"image\":\"localhost/tabard:dev\","
                     "\"initContainers\":[\"tabard-init\",\"tabard\"],"
                     "\"volumes\":[\"tabard-run\",\"tabard-config\"]}");
    cr_expect_str_eq(annotation(pod, "kubectl.kubernetes.io/default-container"), "web");
    cr_expect_str_eq(annotation(pod, "prometheus.io/port"), "15020");
    json_decref(pod);
}

Test(inject, other_annotations_stay_beside_ours)
{
    json_t *pod = pod_read("bare");
    annotate(pod, "a/b", "c");
    inject(pod);
    cr_expect_str_eq(annotation(pod, "a/b"), "c");
    cr_expect_str_eq(annotation(pod, "prometheus.io/path"), "/metrics");
    json_decref(pod);
}

Test(inject, a_pod_that_tells_prometheus_something_itself_keeps_its_word)
{
    json_t *pod = pod_read("bare");
    annotate(pod, "prometheus.io/scrape", "false");
    annotate(pod, "kubectl.kubernetes.io/default-container", "other");
    inject(pod);
    cr_expect_str_eq(annotation(pod, "prometheus.io/scrape"), "false");
    cr_expect_str_eq(annotation(pod, "prometheus.io/port"), "nothing");
    cr_expect_str_eq(annotation(pod, "kubectl.kubernetes.io/default-container"), "other");
    json_decref(pod);
}

Test(inject, annotations_reach_intercept_mesh_yaml_and_resources)
{
    json_t *pod = pod_read("bare");
    annotate(pod, "config.tabard.dev/inbound-ports",
             "9090=PLAINTEXT,3306=PERMISSIVE,8000-8010=TLS_PASSTHROUGH");
    annotate(pod, "config.tabard.dev/alpn", "50051=h2,3306=h2+http/1.1");
    annotate(pod, "config.tabard.dev/exclude-outbound-ports", "25,5000-5010");
    annotate(pod, "config.tabard.dev/exclude-outbound-cidrs", "10.9.0.0/16,fd00:9::/32");
    annotate(pod, "config.tabard.dev/memory-request", "64Mi");
    annotate(pod, "config.tabard.dev/cpu-limit", "1");
    annotate(pod, "config.tabard.dev/drain-seconds", "20");
    annotate(pod, "config.tabard.dev/workers", "4");
    annotate(pod, "config.tabard.dev/log-level", "debug");
    inject(pod);
    json_t *mesh = json_loads(annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    expect(mesh, "inbound_ports",
           "[{\"mode\":\"PLAINTEXT\",\"port\":9090},"
           "{\"alpn\":[\"h2\",\"http/1.1\"],\"mode\":\"PERMISSIVE\",\"port\":3306},"
           "{\"mode\":\"TLS_PASSTHROUGH\",\"port\":\"8000-8010\"},"
           "{\"alpn\":[\"h2\"],\"mode\":\"MTLS\",\"port\":50051}]");
    expect(mesh, "settings.drain_seconds", "20");
    json_decref(mesh);
    expect(pod, "spec.initContainers.0.command",
           "[\"/usr/bin/tabardctl\",\"intercept\",\"up\",\"--verify\",\"--proxy-uid\",\"1337\","
           "\"--exclude-outbound-ports\",\"25,5000-5010\","
           "\"--exclude-outbound-cidrs\",\"10.9.0.0/16,fd00:9::/32\"]");
    expect(pod, "spec.initContainers.1.resources",
           "{\"limits\":{\"cpu\":\"1\",\"memory\":\"256Mi\"},"
           "\"requests\":{\"cpu\":\"10m\",\"memory\":\"64Mi\"}}");
    expect(
        pod, "spec.initContainers.1.args",
        "[\"--config\",\"/etc/tabard/mesh.yaml\",\"--workers\",\"4\",\"--log-level\",\"debug\"]");
    json_decref(pod);
}

Test(inject, a_certificate_that_the_pod_brings_is_mounted_and_named)
{
    json_t *pod = pod_read("bare");
    annotate(pod, "config.tabard.dev/certificate-volume", "tls");
    json_array_append_new(
        json_object_get(json_object_get(pod, "spec"), "volumes"),
        json_pack("{s:s, s:{s:s}}", "name", "tls", "csi", "driver", "csi.cert-manager.io"));
    inject(pod);
    json_t *mesh = json_loads(annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    expect(mesh, "policy_agent.keep_identity", "true");
    expect(mesh, "policy_agent.service_account_token", "nothing");
    expect(mesh, "identity",
           "{\"certificate\":\"/etc/tabard-certificate/tls.crt\","
           "\"key\":\"/etc/tabard-certificate/tls.key\"}");
    json_decref(mesh);
    expect(pod, "spec.initContainers.1.volumeMounts.4",
           "{\"mountPath\":\"/etc/tabard-certificate\",\"name\":\"tls\",\"readOnly\":true}");
    json_decref(pod);
}

// A pod of one container, with more of it and of the spec.
static json_t *pod_of(const char *container, const char *spec)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"web\"%s}]%s}}", container,
             spec);
    json_t *pod = json_loads(text, 0, NULL);
    cr_assert(pod != NULL, "%s", text);
    return pod;
}

static void expect_probes(const json_t *pod, const char *json)
{
    json_t *probes = json_loads(annotation(pod, "tabard.dev/probes.yaml"), 0, NULL);
    expect(probes, "probes", json);
    json_decref(probes);
}

Test(inject, probes_over_http_tcp_and_grpc_become_pages_of_the_sidecar)
{
    json_t *pod = pod_of(
        ",\"ports\":[{\"name\":\"http\",\"containerPort\":8080}],"
        "\"startupProbe\":{\"grpc\":{\"port\":50051,\"service\":\"shop\"},\"failureThreshold\":30},"
        "\"livenessProbe\":{\"httpGet\":{\"path\":\"/h?a\",\"port\":\"http\",\"scheme\":\"HTTPS\","
        "\"httpHeaders\":[{\"name\":\"Host\",\"value\":\"shop\"},{\"name\":\"X\",\"value\":\"\"}]},"
        "\"timeoutSeconds\":5,\"periodSeconds\":7},"
        "\"readinessProbe\":{\"tcpSocket\":{\"port\":\"8081\"},\"successThreshold\":2}",
        "");
    inject(pod);
    expect(pod, "spec.containers.0.startupProbe",
           "{\"failureThreshold\":30,\"httpGet\":{\"path\":\"/app-health/web/startupz\","
           "\"port\":15021,\"scheme\":\"HTTP\"},\"timeoutSeconds\":2}");
    expect(pod, "spec.containers.0.livenessProbe",
           "{\"httpGet\":{\"path\":\"/app-health/web/livez\",\"port\":15021,\"scheme\":\"HTTP\"},"
           "\"periodSeconds\":7,\"timeoutSeconds\":6}");
    expect(pod, "spec.containers.0.readinessProbe",
           "{\"httpGet\":{\"path\":\"/app-health/web/readyz\",\"port\":15021,\"scheme\":\"HTTP\"},"
           "\"successThreshold\":2,\"timeoutSeconds\":2}");
    expect_probes(
        pod,
        "[{\"grpc\":{\"port\":50051,\"service\":\"shop\"},\"page\":\"/app-health/web/startupz\"},"
        "{\"http\":{\"headers\":[{\"name\":\"Host\",\"value\":\"shop\"},{\"name\":\"X\"}],"
        "\"https\":true,\"path\":\"/h?a\",\"port\":8080},\"page\":\"/app-health/web/livez\","
        "\"timeout_seconds\":5},"
        "{\"page\":\"/app-health/web/readyz\",\"tcp\":{\"port\":8081}}]");
    expect(pod, "spec.initContainers.1.args.6", "\"--probes\"");
    expect(pod, "spec.volumes.1.projected.sources.1.downwardAPI.items.2.path", "\"probes.yaml\"");
    json_decref(pod);
}

Test(inject, the_kubelet_waits_a_second_longer_than_the_sidecar)
{
    static const struct {
        const char *given;
        const char *kubelet;
        const char *sidecar;
    } rows[] = {{"", "2", "nothing"},
                {",\"timeoutSeconds\":1", "2", "nothing"},
                {",\"timeoutSeconds\":2", "3", "2"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[160];
        snprintf(text, sizeof text, ",\"livenessProbe\":{\"tcpSocket\":{\"port\":65535}%s}",
                 rows[i].given);
        json_t *pod = pod_of(text, "");
        inject(pod);
        expect(pod, "spec.containers.0.livenessProbe.timeoutSeconds", rows[i].kubelet);
        json_t *probes = json_loads(annotation(pod, "tabard.dev/probes.yaml"), 0, NULL);
        expect(probes, "probes.0.tcp.port", "65535");
        expect(probes, "probes.0.timeout_seconds", rows[i].sidecar);
        json_decref(probes);
        json_decref(pod);
    }
}

Test(inject, probes_of_native_sidecars_are_rewritten_where_they_stood)
{
    json_t *pod =
        pod_of("", ",\"initContainers\":[{\"name\":\"once\"},{\"name\":\"log\","
                   "\"restartPolicy\":\"Always\",\"startupProbe\":{\"tcpSocket\":{\"port\":9}}}]");
    inject(pod);
    expect(pod, "spec.initContainers.3.name", "\"log\"");
    expect(pod, "spec.initContainers.3.startupProbe.httpGet.path", "\"/app-health/log/startupz\"");
    json_decref(pod);
}

Test(inject, probes_that_run_a_program_or_lead_elsewhere_stay_and_so_do_all_if_asked_for)
{
    static const char exec[] = "{\"exec\":{\"command\":[\"true\"]}}";
    static const char host[] = "{\"httpGet\":{\"host\":\"10.1.2.3\",\"port\":80}}";
    static const char http[] = "{\"httpGet\":{\"port\":80}}";
    char text[300];
    snprintf(text, sizeof text, ",\"livenessProbe\":%s,\"readinessProbe\":%s", exec, host);
    json_t *pod = pod_of(text, "");
    inject(pod);
    expect(pod, "spec.containers.0.livenessProbe", exec);
    expect(pod, "spec.containers.0.readinessProbe", host);
    cr_expect_str_eq(annotation(pod, "tabard.dev/probes.yaml"), "nothing");
    json_decref(pod);
    snprintf(text, sizeof text, ",\"livenessProbe\":%s", http);
    pod = pod_of(text, "");
    annotate(pod, "config.tabard.dev/rewrite-probes", "false");
    inject(pod);
    expect(pod, "spec.containers.0.livenessProbe", http);
    json_decref(pod);
}

Test(inject, a_handler_of_the_life_cycle_over_http_is_left_alone_with_a_warning)
{
    struct inject_result result;
    json_t *pod = pod_of(",\"lifecycle\":{\"preStop\":{\"httpGet\":{\"port\":80}},"
                         "\"postStart\":{\"exec\":{}}}",
                         "");
    run(&result, pod);
    cr_assert_eq(json_array_size(result.warnings), 1);
    const char *text = json_string_value(json_array_get(result.warnings, 0));
    cr_expect_eq(strncmp(text, "container web: lifecycle.preStop.httpGet: ", 42), 0, "%s", text);
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject, a_container_that_rules_the_network_is_injected_with_a_warning)
{
    static const char *const contexts[] = {
        "{\"privileged\":true}", "{\"capabilities\":{\"add\":[\"CHOWN\",\"NET_ADMIN\"]}}",
        "{\"capabilities\":{\"add\":[\"ALL\"]}}", "{\"capabilities\":{\"add\":[\"CHOWN\"]}}",
        "{\"privileged\":false}"};
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        char text[160];
        struct inject_result result;
        snprintf(text, sizeof text, ",\"securityContext\":%s", contexts[i]);
        json_t *pod = pod_of(text, "");
        run(&result, pod);
        cr_expect_eq(json_array_size(result.warnings), i < 3 ? 1 : 0, "%s", contexts[i]);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject, the_drain_is_not_longer_than_the_grace_period)
{
    json_t *pod = pod_read("bare");
    json_object_set_new(json_object_get(pod, "spec"), "terminationGracePeriodSeconds",
                        json_integer(5));
    inject(pod);
    json_t *mesh = json_loads(annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    expect(mesh, "settings.drain_seconds", "5");
    json_decref(mesh);
    json_decref(pod);
}

Test(inject, a_shared_process_namespace_is_injected_with_a_warning)
{
    struct inject_result result;
    json_t *pod = pod_read("bare");
    json_object_set_new(json_object_get(pod, "spec"), "shareProcessNamespace", json_true());
    run(&result, pod);
    cr_expect_eq(result.outcome, INJECT_PATCHED);
    cr_expect_eq(json_array_size(result.warnings), 1);
    inject_result_cleanup(&result);
    json_decref(pod);
}

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

ParameterizedTestParameters(inject, says_why_a_pod_is_not_injected)
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
        {ANNOTATION("config.tabard.dev/rewrite-probes", "no"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/rewrite-probes: \"no\" is neither true nor false"},
        {ANNOTATION("config.tabard.dev/drain-seconds", "60"), CONTAINER(""), INJECT_REFUSED,
         "annotation config.tabard.dev/drain-seconds: 60 s are longer than the pod's "
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

ParameterizedTest(struct refusal *row, inject, says_why_a_pod_is_not_injected)
{
    char text[512];
    struct inject_result result;
    struct err err = {{0}, {0}};
    snprintf(text, sizeof text, "{\"metadata\":{%s},\"spec\":{%s}}", row->metadata, row->spec);
    json_t *pod = json_loads(text, 0, NULL);
    cr_assert(pod != NULL, "%s", text);
    run(&result, pod);
    cr_expect_eq(result.outcome, row->outcome, "%s: %s", text, result.why.text);
    cr_expect_eq(strncmp(result.why.text, row->why, strlen(row->why)), 0, "%s: %s", row->why,
                 result.why.text);
    cr_expect_eq(result.patch != NULL, result.outcome == INJECT_PATCHED);
    if (result.patch != NULL) {
        cr_expect(json_patch_apply(pod, result.patch, &err), "%s", err.text);
        expect(pod, "spec.initContainers.1.name", "\"tabard\"");
    }
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject, a_pod_of_another_mesh_or_of_the_hosts_network_is_refused)
{
    static const char *const names[] = {"stateful_set_of_another_mesh", "host_network"};
    static const char *const whys[] = {"spec.initContainers: container mesh-proxy has port 15020",
                                       "spec.hostNetwork: "};
    for (size_t i = 0; i < 2; i++) {
        struct inject_result result;
        json_t *pod = pod_read(names[i]);
        run(&result, pod);
        cr_expect_eq(result.outcome, INJECT_REFUSED);
        cr_expect_eq(strncmp(result.why.text, whys[i], strlen(whys[i])), 0, "%s", result.why.text);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject, what_is_no_pod_is_refused)
{
    static const char *const texts[] = {"{}", "[]", "7", "{\"spec\":[]}",
                                        "{\"spec\":{\"containers\":[{\"name\":\"a\"}]},"
                                        "\"metadata\":{\"annotations\":[]}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct inject_result result;
        json_t *pod = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        run(&result, pod);
        cr_expect_eq(result.outcome, INJECT_REFUSED, "%s", texts[i]);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject, a_pod_without_metadata_gets_some)
{
    json_t *pod = json_loads("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}", 0, NULL);
    inject(pod);
    cr_expect_str_neq(annotation(pod, "tabard.dev/status"), "nothing");
    json_decref(pod);
}

Test(inject, an_injected_pod_that_another_webhook_gave_the_proxys_user_is_refused)
{
    struct inject_result result;
    json_t *pod = pod_read("bare");
    inject(pod);
    json_array_append_new(
        json_object_get(json_object_get(pod, "spec"), "containers"),
        json_pack("{s:s, s:{s:i}}", "name", "late", "securityContext", "runAsUser", 1337));
    run(&result, pod);
    cr_expect_eq(result.outcome, INJECT_REFUSED);
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject, in_a_namespace_whose_label_is_unclear_only_what_opted_out_is_allowed)
{
    static const struct inject_context unclear = {
        .trust_domain = "demo.example", .roots = "PEM", .is_namespace_unclear = true};
    static const char *const labels[] = {"enabled", "off", "disabled"};
    Tabard__V1__InjectConfig *config = config_of("");
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

Test(inject, without_roots_or_trust_domain_nothing_is_injected)
{
    static const struct inject_context none = {.trust_domain = "demo.example"};
    static const struct inject_context no_domain = {.roots = "PEM"};
    struct inject_result result;
    json_t *pod = pod_read("bare");
    Tabard__V1__InjectConfig *config = config_of("");
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
