// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // RTLD_NEXT
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "control/kube/api/kube_request.h"
#include "tests/unit/control/kube/api/fake_api.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS 20000

// A client and its API server in one loop, and the last answer.
static struct {
    uv_loop_t loop;
    struct fake_api api;
    struct kube_client *client;
    unsigned num_answers;
    unsigned status;
    char error[800];
    char text[400]; // of the body's field "text"
} stage;

static void set_up(void)
{
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    memset(&stage, 0, sizeof stage);
    temp_set_up();
    uv_loop_init(&stage.loop);
    fake_api_start(&stage.api, &stage.loop, temp_folder);
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    cr_assert_not_null(stage.client, "%s", err.text);
}

static void tear_down(void)
{
    kube_client_close(stage.client);
    fake_api_stop(&stage.api);
    loop_end(&stage.loop);
    temp_tear_down();
}

TestSuite(kube_request, .init = set_up, .fini = tear_down, .timeout = 60);

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    (void)ctx;
    const char *text = json_string_value(json_object_get(answer->body, "text"));
    stage.num_answers++;
    stage.status = answer->status;
    snprintf(stage.error, sizeof stage.error, "%s", answer->error != NULL ? answer->error : "");
    snprintf(stage.text, sizeof stage.text, "%s", text != NULL ? text : "");
}

static struct kube_request *ask(struct kube_request_options options)
{
    stage.num_answers = 0;
    return kube_request(stage.client, &options, on_answer, NULL);
}

#define wait_for(cond) cr_assert(run_until(&stage, (cond), WAIT_MS), "%s", #cond)

static void answer_200(struct fake_call *call)
{
    fake_answer(call, "200", "{\"text\": \"good\"}");
}

static void answer_403(struct fake_call *call)
{
    fake_answer(call, "403",
                "{\"kind\": \"Status\", \"reason\": \"Forbidden\", \"code\": 403, "
                "\"message\": \"pods is forbidden\"}");
}

static void answer_garbage(struct fake_call *call)
{
    fake_answer(call, "200", "<html>");
}

static void answer_large(struct fake_call *call)
{
    fake_begin(call, "200");
    for (int i = 0; i < 100; i++) {
        fake_send(call, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
    }
}

static void put_off_once(struct fake_call *call)
{
    if (call->api->num_calls == 1) {
        fake_put_off(call, "429", "1", "{\"message\": \"slow down\"}");
    } else {
        answer_200(call);
    }
}

static void cut_once(struct fake_call *call)
{
    if (call->api->num_calls == 1) {
        fake_begin(call, "200");
        fake_send(call, "{\"text\"");
        fake_break(call->api);
    } else {
        answer_200(call);
    }
}

Test(kube_request, sends_method_path_token_and_body_and_brings_the_answer)
{
    json_t *body = json_pack("{s:s}", "kind", "Secret");
    stage.api.on_call = answer_200;
    ask((struct kube_request_options){
        .method = "POST", .path = "/api/v1/namespaces/a/secrets?x=y", .body = body});
    json_decref(body);
    wait_for(stage.num_answers == 1);
    const struct fake_call *call = stage.api.calls[0];
    cr_expect_str_eq(call->method, "POST");
    cr_expect_str_eq(call->path, "/api/v1/namespaces/a/secrets?x=y");
    cr_expect_str_eq(call->authorization, "Bearer one");
    cr_expect_str_eq(call->content_type, "application/json");
    cr_expect_str_eq(call->body, "{\"kind\":\"Secret\"}");
    cr_expect_eq(stage.status, 200);
    cr_expect_str_eq(stage.error, "");
    cr_expect_str_eq(stage.text, "good");
}

Test(kube_request, shows_the_token_that_the_file_holds_by_then)
{
    stage.api.on_call = answer_200;
    ask((struct kube_request_options){.path = "/version"});
    wait_for(stage.num_answers == 1);
    temp_write(temp_folder, "token", "two", 3);
    ask((struct kube_request_options){.path = "/version"});
    wait_for(stage.num_answers == 1);
    cr_expect_str_eq(stage.api.calls[1]->authorization, "Bearer two");
    cr_expect_eq(stage.api.num_conns, 1, "both went over one connection");
}

Test(kube_request, a_refusal_comes_with_the_servers_own_words)
{
    stage.api.on_call = answer_403;
    ask((struct kube_request_options){.path = "/api/v1/pods"});
    wait_for(stage.num_answers == 1);
    cr_expect_eq(stage.status, 403);
    cr_expect_str_eq(stage.error, "status 403 Forbidden: pods is forbidden");
}

Test(kube_request, an_answer_that_is_no_json_is_an_error)
{
    stage.api.on_call = answer_garbage;
    ask((struct kube_request_options){.path = "/api/v1/pods"});
    wait_for(stage.num_answers == 1);
    cr_expect_eq(stage.status, 200);
    cr_expect(strstr(stage.error, "the answer can't be read: it is no JSON") == stage.error, "%s",
              stage.error);
}

Test(kube_request, an_answer_over_the_limit_is_an_error)
{
    stage.api.on_call = answer_large;
    ask((struct kube_request_options){.path = "/api/v1/pods", .bytes_max = 1000});
    wait_for(stage.num_answers == 1);
    cr_expect(strstr(stage.error, "more than 1000 bytes") != NULL, "%s", stage.error);
    wait_for(stage.api.calls[0]->is_gone);
}

Test(kube_request, what_the_server_puts_off_is_done_when_it_said)
{
    stage.api.on_call = put_off_once;
    uint64_t began = uv_now(&stage.loop);
    ask((struct kube_request_options){.method = "POST", .path = "/apis"});
    wait_for(stage.num_answers == 1);
    cr_expect_eq(stage.status, 200);
    cr_expect_eq(stage.api.num_calls, 2);
    cr_expect_geq(uv_now(&stage.loop) - began, 1000);
}

Test(kube_request, a_get_whose_connection_is_lost_is_asked_again_over_another)
{
    stage.api.on_call = cut_once;
    ask((struct kube_request_options){.path = "/apis"});
    wait_for(stage.num_answers == 1);
    cr_expect_str_eq(stage.text, "good");
    cr_expect_eq(stage.api.num_conns, 2);
}

Test(kube_request, a_post_that_the_server_may_have_done_is_not_done_again)
{
    stage.api.on_call = cut_once;
    ask((struct kube_request_options){.method = "POST", .path = "/apis"});
    wait_for(stage.num_answers == 1);
    cr_expect_eq(stage.status, 0);
    cr_expect(strstr(stage.error, "the answer was cut: ") == stage.error, "%s", stage.error);
    cr_expect_eq(stage.api.num_calls, 1);
}

Test(kube_request, no_answer_in_time_is_an_error)
{
    ask((struct kube_request_options){.path = "/apis", .timeout_ms = 200});
    wait_for(stage.num_answers == 1);
    cr_expect_str_eq(stage.error, "the API server didn't answer in time");
    wait_for(stage.api.calls[0]->is_gone);
}

Test(kube_request, a_server_that_cannot_prove_its_name_is_told_nothing)
{
    struct err err = {{0}, {0}};
    kube_client_close(stage.client);
    snprintf(stage.api.config.host, sizeof stage.api.config.host, "127.0.0.1");
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    ask((struct kube_request_options){.path = "/apis", .timeout_ms = 1000});
    wait_for(stage.num_answers == 1);
    cr_expect(strstr(stage.error, "doesn't prove 127.0.0.1: IP address mismatch") != NULL, "%s",
              stage.error);
    cr_expect_eq(stage.api.num_calls, 0);
}

Test(kube_request, goaway_moves_new_requests_to_another_connection_and_lets_the_old_ones_end)
{
    ask((struct kube_request_options){.path = "/first"});
    wait_for(stage.api.num_calls == 1 && stage.api.calls[0]->is_whole);
    fake_go_away(&stage.api);
    wait_for(kube_client_stats(stage.client)->num_goaways == 1);
    ask((struct kube_request_options){.path = "/second"});
    wait_for(stage.api.num_calls == 2 && stage.api.calls[1]->is_whole);
    answer_200(stage.api.calls[0]);
    answer_200(stage.api.calls[1]);
    stage.num_answers = 0;
    wait_for(stage.num_answers == 2);
    cr_expect_neq(stage.api.calls[0]->conn, stage.api.calls[1]->conn);
}

Test(kube_request, a_client_that_closes_answers_what_it_was_asked)
{
    ask((struct kube_request_options){.path = "/apis"});
    wait_for(stage.api.num_calls == 1);
    kube_client_close(stage.client);
    stage.client = NULL;
    cr_expect_eq(stage.num_answers, 1);
    cr_expect(strstr(stage.error, "the client was closed") != NULL, "%s", stage.error);
}

Test(kube_request, a_cancelled_request_gets_no_answer)
{
    struct kube_request *request = ask((struct kube_request_options){.path = "/apis"});
    wait_for(stage.api.num_calls == 1);
    kube_request_cancel(request);
    wait_for(stage.api.calls[0]->is_gone);
    cr_expect_eq(stage.num_answers, 0);
}

Test(kube_request, escapes_what_a_path_may_not_hold)
{
    struct bytes out = {0};
    kube_escape(&out, "a/b c=~%");
    char *text = bytes_take_text(&out);
    cr_expect_str_eq(text, "a%2Fb%20c%3D~%25");
    free(text);
}

Test(kube_request, a_server_that_is_not_there_is_named_when_the_time_is_over)
{
    struct err err = {{0}, {0}};
    struct kube_config config = stage.api.config;
    kube_client_close(stage.client);
    config.port = 1; // nobody's
    stage.client = kube_client_new(&stage.loop, &config, &err);
    ask((struct kube_request_options){.path = "/apis", .timeout_ms = 1000});
    wait_for(stage.num_answers == 1);
    cr_expect(strstr(stage.error, "the API server was not reached: localhost: none of its "
                                  "addresses (") != NULL &&
                  strstr(stage.error, "takes the connection: connection refused") != NULL,
              "%s", stage.error);
    cr_expect_geq(kube_client_stats(stage.client)->num_losses, 2, "it was tried again");
    cr_expect_eq(kube_client_stats(stage.client)->num_goaways, 0);
}

static void on_stranger(uv_stream_t *listener, int status)
{
    static uv_tcp_t stranger;
    static uv_write_t write;
    static char words[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    uv_buf_t buf = uv_buf_init(words, sizeof words - 1);
    cr_assert_eq(status, 0);
    uv_tcp_init(listener->loop, &stranger);
    uv_accept(listener, (uv_stream_t *)&stranger);
    uv_write(&write, (uv_stream_t *)&stranger, &buf, 1, NULL);
    listener->data = &stranger;
}

Test(kube_request, what_speaks_no_tls_is_told_no_token)
{
    struct err err = {{0}, {0}};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int len = sizeof at;
    static uv_tcp_t listener; // it closes behind this test
    uv_tcp_init(&stage.loop, &listener);
    cr_assert(uv_tcp_bind(&listener, (struct sockaddr *)&at, 0) == 0 &&
              uv_listen((uv_stream_t *)&listener, 4, on_stranger) == 0 &&
              uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len) == 0);
    kube_client_close(stage.client);
    stage.api.config.port = ntohs(at.sin_port);
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    kube_request(stage.client, &(struct kube_request_options){.path = "/apis", .is_single = true},
                 on_answer, NULL);
    wait_for(stage.num_answers == 1);
    cr_expect(strstr(stage.error, "the API server was not reached: TLS handshake failed: ") != NULL,
              "%s", stage.error);
    uv_close((uv_handle_t *)listener.data, NULL);
    uv_close((uv_handle_t *)&listener, NULL);
}

static bool has_two_addresses;
static atomic_int num_quick_lookups = INT_MAX; // after which every lookup hangs

// The resolver of this program: where a test asks for it, every name has one more address, first,
// at which nobody listens, or its lookup hangs.
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    struct addrinfo *first = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    while (atomic_load(&num_quick_lookups) == 0) {
        pause();
    }
    atomic_fetch_sub(&num_quick_lookups, 1);
    if (!has_two_addresses) {
        return real(name, port, hints, out);
    }
    cr_assert_eq(real("127.0.0.2", port, hints, &first), 0);
    cr_assert_eq(real("127.0.0.1", port, hints, &first->ai_next), 0);
    *out = first;
    return 0;
}

Test(kube_request, a_server_whose_first_address_is_dead_is_reached_at_the_next)
{
    struct err err = {{0}, {0}};
    kube_client_close(stage.client);
    has_two_addresses = true;
    stage.api.on_call = answer_200;
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    ask((struct kube_request_options){.path = "/apis", .timeout_ms = 5000});
    wait_for(stage.num_answers == 1);
    cr_expect_eq(stage.status, 200, "%s", stage.error);
}

Test(kube_request, a_deadline_in_the_midst_of_a_try_still_says_what_the_one_before_met)
{
    struct err err = {{0}, {0}};
    struct kube_config config = stage.api.config;
    kube_client_close(stage.client);
    config.port = 1; // nobody's
    num_quick_lookups = 1;
    stage.client = kube_client_new(&stage.loop, &config, &err);
    ask((struct kube_request_options){.path = "/apis", .timeout_ms = 1000});
    wait_for(stage.num_answers == 1);
    cr_expect(strstr(stage.error,
                     "the API server didn't answer in time; before that, the API "
                     "server was not reached: localhost: none of its addresses (") != NULL &&
                  strstr(stage.error, "connection refused") != NULL,
              "%s", stage.error);
}
