// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/inject/json_patch.h"
#include "tests/unit/control/kube/inject/inject_stage.h"

TestSuite(inject, .timeout = 10);

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
    size_t inits = json_array_size(pod_at(pod, "spec.initContainers"));
    size_t volumes = json_array_size(pod_at(pod, "spec.volumes"));
    json_t *containers = json_deep_copy(pod_at(pod, "spec.containers"));
    inject_good(pod);
    pod_expect(pod, "spec.initContainers.0.name", "\"tabard-init\"");
    pod_expect(pod, "spec.initContainers.1.name", "\"tabard\"");
    pod_expect(pod, "spec.initContainers.1.restartPolicy", "\"Always\"");
    cr_expect_eq(json_array_size(pod_at(pod, "spec.initContainers")), inits + 2);
    cr_expect_eq(json_array_size(pod_at(pod, "spec.volumes")), volumes + 2);
    cr_expect_eq(json_array_size(pod_at(pod, "spec.containers")), json_array_size(containers));
    struct inject_result again;
    inject_run(&again, pod);
    cr_expect_eq(again.outcome, INJECT_NOTHING, "%s", again.why.text);
    cr_expect_str_eq(again.why.text, "the sidecar is there already, put in by version 0.1.0");
    inject_result_cleanup(&again);
    json_decref(containers);
    json_decref(pod);
}

Test(inject, the_init_container_is_root_with_net_admin_and_nothing_else)
{
    json_t *pod = pod_read("bare");
    inject_good(pod);
    pod_expect(pod, "spec.initContainers.0.securityContext",
               "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"NET_ADMIN\"],"
               "\"drop\":[\"ALL\"]},\"privileged\":false,\"readOnlyRootFilesystem\":true,"
               "\"runAsGroup\":0,\"runAsNonRoot\":false,\"runAsUser\":0,"
               "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}}");
    pod_expect(
        pod, "spec.initContainers.0.command",
        "[\"/usr/bin/tabardctl\",\"intercept\",\"up\",\"--verify\",\"--proxy-uid\",\"1337\"]");
    json_decref(pod);
}

Test(inject, the_sidecar_passes_the_restricted_pod_security_standard)
{
    json_t *pod = pod_read("bare");
    inject_good(pod);
    pod_expect(pod, "spec.initContainers.1.securityContext",
               "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]},"
               "\"privileged\":false,\"readOnlyRootFilesystem\":true,\"runAsGroup\":1337,"
               "\"runAsNonRoot\":true,\"runAsUser\":1337,"
               "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}}");
    json_decref(pod);
}

Test(inject, the_sidecar_asks_for_resources_and_has_three_probes_of_its_own)
{
    json_t *pod = pod_read("bare");
    inject_good(pod);
    pod_expect(
        pod, "spec.initContainers.1.resources",
        "{\"limits\":{\"memory\":\"256Mi\"},\"requests\":{\"cpu\":\"10m\",\"memory\":\"32Mi\"}}");
    pod_expect(pod, "spec.initContainers.1.startupProbe.httpGet",
               "{\"path\":\"/healthz/ready\",\"port\":15021}");
    pod_expect(pod, "spec.initContainers.1.readinessProbe.httpGet",
               "{\"path\":\"/healthz/ready\",\"port\":15021}");
    pod_expect(pod, "spec.initContainers.1.livenessProbe.httpGet",
               "{\"path\":\"/healthz/live\",\"port\":15021}");
    json_decref(pod);
}

Test(inject, keys_and_sockets_are_in_memory_and_the_token_is_for_our_audience_alone)
{
    json_t *pod = pod_read("no_token");
    inject_good(pod);
    pod_expect(
        pod, "spec.volumes.0",
        "{\"emptyDir\":{\"medium\":\"Memory\",\"sizeLimit\":\"64Mi\"},\"name\":\"tabard-run\"}");
    pod_expect(pod, "spec.volumes.1.projected.sources.0",
               "{\"serviceAccountToken\":{\"audience\":\"tabard.dev\",\"expirationSeconds\":3600,"
               "\"path\":\"token\"}}");
    pod_expect(pod, "spec.volumes.1.projected.sources.1.downwardAPI.items.0",
               "{\"fieldRef\":{\"fieldPath\":\"metadata.annotations['tabard.dev/mesh.yaml']\"},"
               "\"path\":\"mesh.yaml\"}");
    // Where something is mounted already, Kubernetes mounts no token of its API.
    for (int i = 0; i < 2; i++) {
        char path[80];
        snprintf(path, sizeof path, "spec.initContainers.%d.volumeMounts.0", i);
        pod_expect(pod, path,
                   "{\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\","
                   "\"name\":\"tabard-run\",\"readOnly\":true,\"subPath\":\"no-token\"}");
    }
    json_decref(pod);
}

Test(inject, the_annotations_hold_the_sidecars_configuration_and_what_was_done)
{
    json_t *pod = pod_read("deployment");
    inject_good(pod);
    json_t *mesh = json_loads(pod_annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    pod_expect(mesh, "policy_agent",
               "{\"address\":\"tabard-policyd.tabard-system.svc:15012\","
               "\"identity\":\"spiffe://demo.example/tabard/policyd\",\"roots\":\"roots.pem\","
               "\"service_account_token\":\"token\"}");
    pod_expect(mesh, "settings", "{\"drain_seconds\":25,\"interception\":{}}");
    json_decref(mesh);
    cr_expect_str_eq(pod_annotation(pod, "tabard.dev/roots.pem"), "PEM\n");
    cr_expect_str_eq(pod_annotation(pod, "tabard.dev/status"),
                     "{\"version\":\"0.1.0\",\"image\":\"localhost/tabard:dev\","
                     "\"initContainers\":[\"tabard-init\",\"tabard\"],"
                     "\"volumes\":[\"tabard-run\",\"tabard-config\"]}");
    cr_expect_str_eq(pod_annotation(pod, "kubectl.kubernetes.io/default-container"), "web");
    cr_expect_str_eq(pod_annotation(pod, "prometheus.io/port"), "15020");
    json_decref(pod);
}

Test(inject, other_annotations_stay_beside_ours)
{
    json_t *pod = pod_read("bare");
    pod_annotate(pod, "a/b", "c");
    inject_good(pod);
    cr_expect_str_eq(pod_annotation(pod, "a/b"), "c");
    cr_expect_str_eq(pod_annotation(pod, "prometheus.io/path"), "/metrics");
    json_decref(pod);
}

Test(inject, a_pod_that_tells_prometheus_something_itself_keeps_its_word)
{
    json_t *pod = pod_read("bare");
    pod_annotate(pod, "prometheus.io/scrape", "false");
    pod_annotate(pod, "kubectl.kubernetes.io/default-container", "other");
    inject_good(pod);
    cr_expect_str_eq(pod_annotation(pod, "prometheus.io/scrape"), "false");
    cr_expect_str_eq(pod_annotation(pod, "prometheus.io/port"), "nothing");
    cr_expect_str_eq(pod_annotation(pod, "kubectl.kubernetes.io/default-container"), "other");
    json_decref(pod);
}

Test(inject, annotations_reach_intercept_mesh_yaml_and_resources)
{
    json_t *pod = pod_read("bare");
    pod_annotate(pod, "config.tabard.dev/inbound-ports",
                 "9090=PLAINTEXT,3306=PERMISSIVE,8000-8010=TLS_PASSTHROUGH");
    pod_annotate(pod, "config.tabard.dev/alpn", "50051=h2,3306=h2+http/1.1");
    pod_annotate(pod, "config.tabard.dev/exclude-outbound-ports", "25,5000-5010");
    pod_annotate(pod, "config.tabard.dev/exclude-outbound-cidrs", "10.9.0.0/16,fd00:9::/32");
    pod_annotate(pod, "config.tabard.dev/memory-request", "64Mi");
    pod_annotate(pod, "config.tabard.dev/cpu-limit", "1");
    pod_annotate(pod, "config.tabard.dev/drain-seconds", "20");
    pod_annotate(pod, "config.tabard.dev/workers", "4");
    pod_annotate(pod, "config.tabard.dev/log-level", "debug");
    pod_annotate(pod, "config.tabard.dev/key", "ML_DSA_44");
    inject_good(pod);
    json_t *mesh = json_loads(pod_annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    pod_expect(mesh, "inbound_ports",
               "[{\"mode\":\"PLAINTEXT\",\"port\":9090},"
               "{\"alpn\":[\"h2\",\"http/1.1\"],\"mode\":\"PERMISSIVE\",\"port\":3306},"
               "{\"mode\":\"TLS_PASSTHROUGH\",\"port\":\"8000-8010\"},"
               "{\"alpn\":[\"h2\"],\"mode\":\"MTLS\",\"port\":50051}]");
    pod_expect(mesh, "settings.drain_seconds", "20");
    pod_expect(mesh, "policy_agent.key", "\"ML_DSA_44\"");
    json_decref(mesh);
    pod_expect(pod, "spec.initContainers.0.command",
               "[\"/usr/bin/tabardctl\",\"intercept\",\"up\",\"--verify\",\"--proxy-uid\",\"1337\","
               "\"--exclude-outbound-ports\",\"25,5000-5010\","
               "\"--exclude-outbound-cidrs\",\"10.9.0.0/16,fd00:9::/32\"]");
    pod_expect(pod, "spec.initContainers.1.resources",
               "{\"limits\":{\"cpu\":\"1\",\"memory\":\"256Mi\"},"
               "\"requests\":{\"cpu\":\"10m\",\"memory\":\"64Mi\"}}");
    pod_expect(
        pod, "spec.initContainers.1.args",
        "[\"--config\",\"/etc/tabard/mesh.yaml\",\"--workers\",\"4\",\"--log-level\",\"debug\"]");
    json_decref(pod);
}

Test(inject, a_certificate_that_the_pod_brings_is_mounted_and_named)
{
    json_t *pod = pod_read("bare");
    pod_annotate(pod, "config.tabard.dev/certificate-volume", "tls");
    json_array_append_new(
        json_object_get(json_object_get(pod, "spec"), "volumes"),
        json_pack("{s:s, s:{s:s}}", "name", "tls", "csi", "driver", "csi.cert-manager.io"));
    inject_good(pod);
    json_t *mesh = json_loads(pod_annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
    pod_expect(mesh, "policy_agent.keep_identity", "true");
    pod_expect(mesh, "policy_agent.service_account_token", "nothing");
    pod_expect(mesh, "identity",
               "{\"certificate\":\"/etc/tabard-certificate/tls.crt\","
               "\"key\":\"/etc/tabard-certificate/tls.key\"}");
    json_decref(mesh);
    pod_expect(pod, "spec.initContainers.1.volumeMounts.4",
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
    json_t *probes = json_loads(pod_annotation(pod, "tabard.dev/probes.yaml"), 0, NULL);
    pod_expect(probes, "probes", json);
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
    inject_good(pod);
    pod_expect(pod, "spec.containers.0.startupProbe",
               "{\"failureThreshold\":30,\"httpGet\":{\"path\":\"/app-health/web/startupz\","
               "\"port\":15021,\"scheme\":\"HTTP\"},\"timeoutSeconds\":2}");
    pod_expect(
        pod, "spec.containers.0.livenessProbe",
        "{\"httpGet\":{\"path\":\"/app-health/web/livez\",\"port\":15021,\"scheme\":\"HTTP\"},"
        "\"periodSeconds\":7,\"timeoutSeconds\":6}");
    pod_expect(
        pod, "spec.containers.0.readinessProbe",
        "{\"httpGet\":{\"path\":\"/app-health/web/readyz\",\"port\":15021,\"scheme\":\"HTTP\"},"
        "\"successThreshold\":2,\"timeoutSeconds\":2}");
    expect_probes(
        pod,
        "[{\"grpc\":{\"port\":50051,\"service\":\"shop\"},\"page\":\"/app-health/web/startupz\"},"
        "{\"http\":{\"headers\":[{\"name\":\"Host\",\"value\":\"shop\"},{\"name\":\"X\"}],"
        "\"https\":true,\"path\":\"/h?a\",\"port\":8080},\"page\":\"/app-health/web/livez\","
        "\"timeout_seconds\":5},"
        "{\"page\":\"/app-health/web/readyz\",\"tcp\":{\"port\":8081}}]");
    pod_expect(pod, "spec.initContainers.1.args.6", "\"--probes\"");
    pod_expect(pod, "spec.volumes.1.projected.sources.1.downwardAPI.items.2.path",
               "\"probes.yaml\"");
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
        inject_good(pod);
        pod_expect(pod, "spec.containers.0.livenessProbe.timeoutSeconds", rows[i].kubelet);
        json_t *probes = json_loads(pod_annotation(pod, "tabard.dev/probes.yaml"), 0, NULL);
        pod_expect(probes, "probes.0.tcp.port", "65535");
        pod_expect(probes, "probes.0.timeout_seconds", rows[i].sidecar);
        json_decref(probes);
        json_decref(pod);
    }
}

Test(inject, probes_of_native_sidecars_are_rewritten_where_they_stood)
{
    json_t *pod =
        pod_of("", ",\"initContainers\":[{\"name\":\"once\"},{\"name\":\"log\","
                   "\"restartPolicy\":\"Always\",\"startupProbe\":{\"tcpSocket\":{\"port\":9}}}]");
    inject_good(pod);
    pod_expect(pod, "spec.initContainers.3.name", "\"log\"");
    pod_expect(pod, "spec.initContainers.3.startupProbe.httpGet.path",
               "\"/app-health/log/startupz\"");
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
    inject_good(pod);
    pod_expect(pod, "spec.containers.0.livenessProbe", exec);
    pod_expect(pod, "spec.containers.0.readinessProbe", host);
    cr_expect_str_eq(pod_annotation(pod, "tabard.dev/probes.yaml"), "nothing");
    json_decref(pod);
    snprintf(text, sizeof text, ",\"livenessProbe\":%s", http);
    pod = pod_of(text, "");
    pod_annotate(pod, "config.tabard.dev/rewrite-probes", "false");
    inject_good(pod);
    pod_expect(pod, "spec.containers.0.livenessProbe", http);
    json_decref(pod);
}

Test(inject, a_handler_of_the_life_cycle_over_http_is_left_alone_with_a_warning)
{
    struct inject_result result;
    json_t *pod = pod_of(",\"lifecycle\":{\"preStop\":{\"httpGet\":{\"port\":80}},"
                         "\"postStart\":{\"exec\":{}}}",
                         "");
    inject_run(&result, pod);
    cr_assert_eq(json_array_size(result.warnings), 1);
    const char *text = json_string_value(json_array_get(result.warnings, 0));
    cr_expect_eq(strncmp(text, "container web: lifecycle.preStop.httpGet: ", 42), 0, "%s", text);
    inject_result_cleanup(&result);
    json_decref(pod);
}

Test(inject, a_container_that_rules_the_network_is_injected_with_a_warning)
{
    static const char *const contexts[] = {"{\"privileged\":true}",
                                           "{\"capabilities\":{\"add\":[\"CHOWN\",\"NET_ADMIN\"]}}",
                                           "{\"capabilities\":{\"add\":[\"ALL\"]}}",
                                           "{\"capabilities\":{\"add\":[\"net_admin\"]}}",
                                           "{\"capabilities\":{\"add\":[\"CHOWN\"]}}",
                                           "{\"privileged\":false}"};
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        char text[160];
        struct inject_result result;
        snprintf(text, sizeof text, ",\"securityContext\":%s", contexts[i]);
        json_t *pod = pod_of(text, "");
        inject_run(&result, pod);
        cr_expect_eq(json_array_size(result.warnings), i < 4 ? 1 : 0, "%s", contexts[i]);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}

Test(inject, the_drain_ends_before_the_grace_period_does)
{
    static const struct {
        int grace;
        const char *drain;
    } rows[] = {{3600, "25"}, {60, "25"}, {31, "25"}, {30, "25"}, {29, "24"}, {26, "21"},
                {20, "16"},   {10, "8"},  {5, "4"},   {2, "1"},   {1, "1"},   {0, "1"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *pod = pod_read("bare");
        json_object_set_new(json_object_get(pod, "spec"), "terminationGracePeriodSeconds",
                            json_integer(rows[i].grace));
        inject_good(pod);
        json_t *mesh = json_loads(pod_annotation(pod, "tabard.dev/mesh.yaml"), 0, NULL);
        pod_expect(mesh, "settings.drain_seconds", rows[i].drain);
        json_decref(mesh);
        json_decref(pod);
    }
}

Test(inject, a_shared_process_namespace_is_injected_with_a_warning)
{
    static const char *const fields[] = {"shareProcessNamespace", "hostPID"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        struct inject_result result;
        json_t *pod = pod_read("bare");
        json_object_set_new(json_object_get(pod, "spec"), fields[i], json_true());
        inject_run(&result, pod);
        cr_expect_eq(result.outcome, INJECT_PATCHED);
        cr_expect_eq(json_array_size(result.warnings), 1, "%s", fields[i]);
        inject_result_cleanup(&result);
        json_decref(pod);
    }
}
