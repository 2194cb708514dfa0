// SPDX-License-Identifier: Apache-2.0
//
// Connections that prove nothing: how many there may be, which one goes, and for how long they
// stay.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net/grpc/raw.h"

static struct rig rig;
static struct raw *raws; // NUM of them
enum { NUM = 6 };

static void start(const struct grpc_limits *limits)
{
    rig = (struct rig){.num_ready = 0};
    raws = calloc(NUM, sizeof *raws);
    rig_start(&rig, false, limits, NULL);
}

static void stop(void)
{
    for (int i = 0; i < NUM; i++) {
        if (raws[i].rig != NULL) {
            raw_close(&raws[i]);
        }
    }
    rig_stop(&rig);
    free(raws);
}

// Connects the next one, and waits until the server has it.
static void come(int index)
{
    uint64_t before = grpc_server_stats(rig.server)->num_accepted;
    raw_connect(&raws[index], &rig, true);
    while (grpc_server_stats(rig.server)->num_accepted == before) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
}

// Has a connection open a call, which proves who it is.
static void prove(int index)
{
    unsigned before = rig.echo.num_started;
    raw_request(&raws[index], 1, "Hold");
    cr_assert(rig_wait(&rig, &rig.echo.num_started, before + 1));
    grpc_call_prove(rig.echo.last);
}

static uint64_t bites(enum grpc_limit limit)
{
    return grpc_server_stats(rig.server)->bites.num[limit];
}

TestSuite(strangers, .timeout = 30);

Test(strangers, the_one_that_has_been_there_longest_goes_and_whoever_has_proved_it_stays)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.strangers_max = 2;
    start(&limits);
    come(0);
    prove(0);
    come(1);
    come(2);
    cr_expect_eq(bites(GRPC_LIMIT_strangers_max), 0);
    come(3);
    cr_expect_eq(bites(GRPC_LIMIT_strangers_max), 1);
    cr_expect(raw_at_end(&raws[1]), "the oldest stranger");
    prove(2);
    come(4);
    cr_expect_eq(bites(GRPC_LIMIT_strangers_max), 1, "there are two again");
    cr_expect_eq(grpc_server_stats(rig.server)->num_connections, 4);
    stop();
}

Test(strangers, at_the_limit_of_all_connections_a_stranger_goes_while_there_is_one)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.strangers_max = 100;
    limits.connections_max = 2;
    start(&limits);
    come(0);
    come(1);
    prove(1);
    come(2);
    cr_expect(raw_at_end(&raws[0]));
    cr_expect_eq(bites(GRPC_LIMIT_connections_max), 1);
    cr_expect_eq(grpc_server_stats(rig.server)->num_refused, 0);
    prove(2);
    come(3);
    cr_expect(raw_at_end(&raws[3]), "all others have proved who they are");
    cr_expect_eq(grpc_server_stats(rig.server)->num_refused, 1);
    stop();
}

Test(strangers, one_source_has_a_share_of_its_own)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.strangers_max = 100;
    limits.strangers_of_source_max = 2;
    start(&limits);
    for (int i = 0; i < 3; i++) {
        come(i);
    }
    cr_expect_eq(bites(GRPC_LIMIT_strangers_of_source_max), 1);
    cr_expect(raw_at_end(&raws[0]));
    cr_expect_eq(grpc_server_stats(rig.server)->num_connections, 2);
    stop();
}

Test(strangers, whoever_proves_nothing_in_time_is_let_go)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.strangers_max = 100;
    limits.prove_ms = 200;
    start(&limits);
    come(0);
    prove(0);
    come(1);
    raw_request(&raws[1], 1, "Hold"); // a call alone is no proof
    cr_expect(raw_at_end(&raws[1]));
    cr_expect_eq(bites(GRPC_LIMIT_prove_ms), 1);
    cr_expect_eq(grpc_server_stats(rig.server)->num_connections, 1);
    stop();
}

// Connects under TLS, says `text` and nothing more.
static int connect_silently(const char *text)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&rig.addr, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(fd, (struct sockaddr *)&sa, len) == 0);
    cr_assert(send(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
    return fd;
}

Test(strangers, whoever_sends_no_whole_hello_is_let_go_soon)
{
    static const char *const texts[] = {"", "\x16", "\x16\x03\x01\x02\x01half of a hello"};
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.hello_ms = 100;
    rig = (struct rig){.num_ready = 0};
    rig_start(&rig, true, &limits, NULL);
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int fd = connect_silently(texts[i]);
        cr_assert(rig_wait(&rig, &rig.num_disconnects, i + 1));
        cr_expect_not_null(strstr(rig.disconnect_why, "no ClientHello within hello_ms"), "%s",
                           rig.disconnect_why);
        close(fd);
    }
    cr_expect_eq(bites((enum grpc_limit)H2_LIMIT_hello_ms), 3);
    rig_stop(&rig);
}

// A herd keeps the loop from reading for longer than hello_ms; nobody in it is late for that.
Test(strangers, a_hello_that_waits_to_be_read_is_not_late)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.hello_ms = 50;
    limits.h2.open_ms = 60;
    rig = (struct rig){.num_ready = 0};
    rig_start(&rig, true, &limits, NULL);
    SSL_CTX *ctx = rig_context();
    SSL *ssl = SSL_new(ctx);
    int fd = connect_silently("");
    while (grpc_server_stats(rig.server)->num_connections == 0) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    cr_assert(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    SSL_set_fd(ssl, fd);
    cr_expect_eq(SSL_connect(ssl), -1);
    usleep(150000); // the loop is busy elsewhere
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    cr_expect_eq(bites((enum grpc_limit)H2_LIMIT_hello_ms), 0);
    cr_expect_eq(rig.num_disconnects, 0, "%s", rig.disconnect_why);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    rig_stop(&rig);
}

// Before its ClientHello a connection has neither TLS object nor HTTP/2 session.
Test(strangers, a_silent_one_takes_little_memory)
{
    enum { SILENT = 200 };
    struct grpc_limits limits = grpc_limits_default();
    int fds[SILENT];
    rig = (struct rig){.num_ready = 0};
    rig_start(&rig, true, &limits, NULL);
    rig_settle(&rig);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < SILENT; i++) {
        fds[i] = connect_silently("");
    }
    while (grpc_server_stats(rig.server)->num_connections < SILENT) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    size_t each = (mallinfo2().uordblks - before) / SILENT;
    cr_expect_leq(each, 3000, "%zu bytes", each);
    for (int i = 0; i < SILENT; i++) {
        close(fds[i]);
    }
    cr_assert(rig_wait(&rig, &rig.num_disconnects, SILENT));
    rig_settle(&rig);
    size_t after = mallinfo2().uordblks;
    // What the loop keeps of its own for descriptors it has seen.
    cr_expect_leq(after, before + SILENT * 50, "%zu bytes stay", after - before);
    rig_stop(&rig);
}
