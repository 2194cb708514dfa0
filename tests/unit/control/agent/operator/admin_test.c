// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/admin.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/support/loop.h"
#include "tests/unit/support/tcp.h"
#include "tests/unit/support/temp.h"

// An agent that has an admin and nothing else. Its log goes into a pipe, from which the test learns
// the ports.
struct stage {
    uv_loop_t loop;
    struct admin admin;
    char path[TEMP_PATH_BYTES + 16];
    int log;
    char logged[8192];
    struct addr metrics;
    struct addr health;
    const char *not_ready_because;
    bool can_be_asked;
    unsigned num_inspects;
    uint32_t num_connections_max;
    bool wants_denials;
    proxy_link_on_inspected *on_inspected;
    void *inspected_ctx;
    struct ip probed_ip;
    admin_on_probed *on_probed;
    void *probed_ctx;
};

static const struct program program = {.name = "agent", .version = "4.5"};

static void on_fill(void *ctx, struct report_facts *out)
{
    static const struct sandbox_facts no_sandbox;
    struct stage *stage = ctx;
    *out = (struct report_facts){.program = &program,
                                 .generation = 7,
                                 .spiffe_id = "",
                                 .last_error = "",
                                 .agent_sandbox = &no_sandbox,
                                 .proxy_sandbox = &no_sandbox};
    if (stage->not_ready_because != NULL) {
        strcpy(out->not_ready_because, stage->not_ready_because);
    }
}

static bool on_inspect(void *ctx, const Tabard__V1__Inspect *wanted,
                       proxy_link_on_inspected *on_inspected, void *inspected_ctx)
{
    struct stage *stage = ctx;
    stage->num_inspects++;
    stage->num_connections_max = wanted->num_connections_max;
    stage->wants_denials = wanted->wants_denials;
    stage->on_inspected = on_inspected;
    stage->inspected_ctx = inspected_ctx;
    return stage->can_be_asked;
}

static bool on_probe(void *ctx, const char *page, const struct ip *ip, admin_on_probed *on_probed,
                     void *probed_ctx)
{
    struct stage *stage = ctx;
    stage->probed_ip = *ip;
    stage->on_probed = on_probed;
    stage->probed_ctx = probed_ctx;
    return strcmp(page, "/app-health/web/livez") == 0;
}

// What was logged since the last call.
static const char *logged(struct stage *stage)
{
    ssize_t got = read(stage->log, stage->logged, sizeof stage->logged - 1);
    stage->logged[got < 0 ? 0 : got] = '\0';
    return stage->logged;
}

static struct addr logged_address(const char *log, const char *what)
{
    struct addr addr = {0};
    char text[ADDR_TEXT_MAX] = "";
    const char *line = strstr(log, what);
    cr_assert(line != NULL && sscanf(line + strlen(what), " address=%47s", text) == 1, "%s", log);
    cr_assert(addr_parse(&addr, text, true, NULL), "%s", text);
    return addr;
}

static bool start(struct stage *stage, const struct addr *health, struct err *err)
{
    struct admin_spec spec = {.admin_path = stage->path};
    spec.metrics.num = 1;
    cr_assert(addr_parse(&spec.metrics.addrs[0], "127.0.0.1:0", true, NULL));
    spec.health = spec.metrics;
    if (health != NULL) {
        spec.health.addrs[0] = *health;
    }
    const struct admin_hooks hooks = {
        .ctx = stage, .fill = on_fill, .inspect = on_inspect, .probe = on_probe};
    return admin_start(&stage->admin, &stage->loop, &spec, &hooks, err);
}

static void stage_init(struct stage *stage)
{
    int ends[2];
    *stage = (struct stage){.can_be_asked = true};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    snprintf(stage->path, sizeof stage->path, "%s/a.sock", temp_folder);
    cr_assert_eq(uv_pipe(ends, UV_NONBLOCK_PIPE, 0), 0);
    stage->log = ends[0];
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    log_init("tabard-test", LOG_LEVEL_INFO);
}

static void stage_start(struct stage *stage)
{
    struct err err = {0};
    stage_init(stage);
    cr_assert(start(stage, NULL, &err), "%s", err.text);
    const char *log = logged(stage);
    stage->metrics = logged_address(log, "what=metrics");
    stage->health = logged_address(log, "what=health");
}

static void stage_cleanup(struct stage *stage)
{
    admin_stop(&stage->admin);
    loop_end(&stage->loop);
    close(stage->log);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void ask(int fd, const char *path)
{
    char text[256];
    int len = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                       path);
    cr_assert_eq(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
}

// The whole reply, up to the connection's end.
static const char *reply(struct stage *stage, int fd)
{
    static char text[65536];
    size_t len = 0;
    ssize_t got = -1;
    run_until(stage, ({
                  while ((got = recv(fd, text + len, sizeof text - 1 - len, MSG_DONTWAIT)) > 0) {
                      len += (size_t)got;
                  }
                  got == 0;
              }),
              5000);
    text[len] = '\0';
    close(fd);
    return text;
}

#define expect_has(text, words)                                                                    \
    cr_expect(strstr(text, words) != NULL, "\"%s\" lacks \"%s\"", text, words)

TestSuite(admin, .init = temp_set_up, .fini = temp_tear_down, .timeout = 20);

Test(admin, health_is_asked_of_the_agent_alone)
{
    struct stage stage;
    stage_start(&stage);
    int fd = tcp_connect(stage.health.port);
    ask(fd, "/healthz/ready");
    const char *text = reply(&stage, fd);
    expect_has(text, "HTTP/1.1 200 ");
    expect_has(text, "\r\n\r\nready\n");
    stage.not_ready_because = "draining";
    fd = tcp_connect(stage.health.port);
    ask(fd, "/healthz/ready");
    text = reply(&stage, fd);
    expect_has(text, "HTTP/1.1 503 ");
    expect_has(text, "\r\n\r\nnot ready: draining\n");
    fd = tcp_connect(stage.health.port);
    ask(fd, "/healthz/live");
    text = reply(&stage, fd);
    expect_has(text, "HTTP/1.1 200 ");
    expect_has(text, "\r\n\r\nalive\n");
    cr_expect_eq(stage.num_inspects, 0);
    stage_cleanup(&stage);
}

Test(admin, metrics_wait_for_the_proxy_s_answer)
{
    struct stage stage;
    stage_start(&stage);
    int fd = tcp_connect(stage.metrics.port);
    ask(fd, "/metrics");
    cr_assert(run_until(&stage, stage.num_inspects == 1, 5000));
    cr_expect_eq(stage.num_connections_max, 0, "figures only");
    Tabard__V1__MetricFamily family = TABARD__V1__METRIC_FAMILY__INIT;
    Tabard__V1__MetricFamily__Sample sample = TABARD__V1__METRIC_FAMILY__SAMPLE__INIT;
    Tabard__V1__MetricFamily *families[] = {&family};
    Tabard__V1__MetricFamily__Sample *samples[] = {&sample};
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    family.name = (char *)"tabard_x";
    family.type = TABARD__V1__METRIC_FAMILY__TYPE__GAUGE;
    family.samples = samples;
    family.n_samples = 1;
    sample.value = 9;
    result.metrics = families;
    result.n_metrics = 1;
    stage.on_inspected(stage.inspected_ctx, &result);
    const char *text = reply(&stage, fd);
    expect_has(text, "HTTP/1.1 200 ");
    expect_has(text, "Content-Type: " METRICS_CONTENT_TYPE "\r\n");
    expect_has(text, "\ntabard_snapshot_generation 7\n");
    expect_has(text, "\ntabard_x 9\n");
    cr_expect_str_eq(logged(&stage), "");
    stage_cleanup(&stage);
}

Test(admin, a_proxy_that_cannot_be_asked_leaves_the_agent_s_own_metrics)
{
    struct stage stage;
    stage_start(&stage);
    stage.can_be_asked = false;
    int fd = tcp_connect(stage.metrics.port);
    ask(fd, "/metrics");
    expect_has(reply(&stage, fd), "\ntabard_snapshot_generation 7\n");
    stage_cleanup(&stage);
}

Test(admin, metrics_of_the_proxy_that_are_refused_are_counted_and_logged_but_not_each_time)
{
    struct stage stage;
    stage_start(&stage);
    Tabard__V1__MetricFamily family = TABARD__V1__METRIC_FAMILY__INIT;
    Tabard__V1__MetricFamily *families[] = {&family, &family};
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    family.name = (char *)"up";
    result.metrics = families;
    result.n_metrics = 2;
    for (unsigned i = 1; i <= 2; i++) {
        int fd = tcp_connect(stage.metrics.port);
        ask(fd, "/metrics");
        cr_assert(run_until(&stage, stage.num_inspects == i, 5000));
        stage.on_inspected(stage.inspected_ctx, &result);
        const char *text = reply(&stage, fd);
        expect_has(text, i == 1 ? "\ntabard_proxy_metrics_refused_total 2\n"
                                : "\ntabard_proxy_metrics_refused_total 4\n");
        const char *log = logged(&stage);
        if (i == 1) {
            expect_has(log, "msg=\"metrics of the proxy refused\" families=2 passed_over=0 "
                            "error=\"\\x22up\\x22 is no name");
        } else {
            cr_expect_str_eq(log, "");
        }
    }
    stage_cleanup(&stage);
}

Test(admin, the_status_lists_as_many_connections_as_are_asked_for)
{
    static const struct {
        const char *path;
        uint32_t num;
    } rows[] = {{"/status", 0},
                {"/status?connections=5", 5},
                {"/status?connections=1000000", ADMIN_CONNECTIONS_MAX}};
    struct stage stage;
    stage_start(&stage);
    struct stat st;
    cr_assert_eq(stat(stage.path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = dial_unix(stage.path);
        ask(fd, rows[i].path);
        cr_assert(run_until(&stage, stage.num_inspects == i + 1, 5000));
        cr_expect_eq(stage.num_connections_max, rows[i].num, "%s", rows[i].path);
        stage.on_inspected(stage.inspected_ctx, NULL);
        const char *text = reply(&stage, fd);
        expect_has(text, "Content-Type: application/json\r\n");
        expect_has(text, "\"generation\": 7");
    }
    stage_cleanup(&stage);
}

Test(admin, the_audit_asks_for_denials_and_is_no_empty_list_where_the_proxy_is_silent)
{
    struct stage stage;
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    stage_start(&stage);
    for (unsigned i = 0; i < 2; i++) {
        int fd = dial_unix(stage.path);
        ask(fd, "/audit");
        cr_assert(run_until(&stage, stage.num_inspects == i + 1, 5000));
        cr_expect(stage.wants_denials);
        cr_expect_eq(stage.num_connections_max, 0);
        stage.on_inspected(stage.inspected_ctx, i == 0 ? &result : NULL);
        const char *text = reply(&stage, fd);
        expect_has(text, i == 0 ? "\"generation\": 7" : "HTTP/1.1 503 ");
    }
    stage_cleanup(&stage);
}

Test(admin, a_probe_is_answered_by_what_the_application_at_the_called_address_said)
{
    static const struct {
        bool is_good;
        const char *status;
    } rows[] = {{true, "HTTP/1.1 200 "}, {false, "HTTP/1.1 503 "}};
    struct stage stage;
    stage_start(&stage);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char ip[ADDR_TEXT_MAX];
        int fd = tcp_connect(stage.health.port);
        stage.on_probed = NULL;
        ask(fd, "/app-health/web/livez");
        cr_assert(run_until(&stage, stage.on_probed != NULL, 5000));
        cr_expect_str_eq(ip_text(&stage.probed_ip, ip), "127.0.0.1");
        stage.on_probed(stage.probed_ctx, rows[i].is_good, "because of that");
        const char *text = reply(&stage, fd);
        expect_has(text, rows[i].status);
        expect_has(text, "\r\n\r\nbecause of that\n");
    }
    stage_cleanup(&stage);
}

Test(admin, who_asks_for_a_probe_and_goes_away_is_forgotten)
{
    struct stage stage;
    stage_start(&stage);
    int fd = tcp_connect(stage.health.port);
    ask(fd, "/app-health/web/livez");
    cr_assert(run_until(&stage, stage.on_probed != NULL, 5000));
    close(fd);
    run_until(&stage, false, 50);
    stage.on_probed(stage.probed_ctx, true, "too late");
    stage_cleanup(&stage);
}

Test(admin, there_are_no_rules_before_the_first_snapshot)
{
    struct stage stage;
    stage_start(&stage);
    int fd = dial_unix(stage.path);
    ask(fd, "/rules");
    expect_has(reply(&stage, fd), "HTTP/1.1 503 ");
    cr_expect_eq(stage.num_inspects, 0);
    stage_cleanup(&stage);
}

Test(admin, other_pages_are_not_found_and_ask_nobody)
{
    struct stage stage;
    stage_start(&stage);
    static const char *const paths[] = {"/", "/nothing", "/metrics/", "/healthz", "/status/x"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        int fds[] = {tcp_connect(stage.metrics.port), tcp_connect(stage.health.port),
                     dial_unix(stage.path)};
        for (size_t k = 0; k < 3; k++) {
            ask(fds[k], paths[i]);
            const char *text = reply(&stage, fds[k]);
            expect_has(text, "HTTP/1.1 404 ");
            expect_has(text, "\r\n\r\nthere is /");
        }
    }
    cr_expect_eq(stage.num_inspects, 0);
    stage_cleanup(&stage);
}

Test(admin, a_port_in_use_is_named_and_the_rest_is_closed_again)
{
    struct stage other, stage;
    stage_start(&other);
    stage_init(&stage);
    snprintf(stage.path, sizeof stage.path, "%s/b.sock", temp_folder);
    struct err err = {0};
    cr_expect(!start(&stage, &other.health, &err));
    cr_expect_eq(strncmp(err.text, "--health: ", 10), 0, "%s", err.text);
    stage_cleanup(&stage);
    cr_expect_neq(access(stage.path, F_OK), 0, "its socket file is gone");
    stage_init(&stage);
    cr_expect(!start(&stage, NULL, &err), "the other one listens at this path");
    cr_expect_eq(strncmp(err.text, "--admin: ", 9), 0, "%s", err.text);
    stage_cleanup(&stage);
    cr_expect_eq(access(other.path, F_OK), 0, "another agent's socket file stays");
    stage_cleanup(&other);
}
