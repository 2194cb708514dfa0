// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is: connections that wait for memory, that hold it, and that have more to do than
// one turn allows.
#include "proxy/conn/turns.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/carry/tls.h"
#include "tests/unit/proxy/pair.h"

static struct pair pair;

static void cleanup(void)
{
    pair_cleanup(&pair);
}

TestSuite(turns, .fini = cleanup, .timeout = 30);

#define PAIR(...) pair_init(&pair, &(const struct pair_options){__VA_ARGS__})

Test(turns, who_asks_for_memory_that_has_run_out_waits_for_it)
{
    char bytes[2];
    PAIR();
    int client = pair_connect(&pair);
    int app = pair_accept(&pair); // a handshake needs no block
    pool_set_limit(&pair.server.env.pool, 0);
    pair_send(&pair, client, "x", 1);
    pair_send(&pair, app, "y", 1);
    while (pair.server.env.pool.num_waits < 2) {
        pair_turn(&pair);
    }
    pair_turn(&pair);
    cr_assert(recv(app, bytes, 1, 0) < 0 && recv(client, bytes, 1, 0) < 0);
    pool_set_limit(&pair.server.env.pool, 2 * RING_BYTES);
    cr_assert(pair_receive(&pair, app, bytes, 1, NULL) == 1 && bytes[0] == 'x');
    cr_assert(pair_receive(&pair, client, bytes, 1, NULL) == 1 && bytes[0] == 'y');
    cr_assert(atomic_load(&pair.server.env.stats.buffer_waits) >= 2);
}

Test(turns, a_part_of_a_hello_on_a_plaintext_port_holds_no_block_and_is_let_through_in_the_end)
{
    static const char part[] = "\x16\x03\x01\x02\x00\x01";
    char bytes[sizeof part];
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.hello_ms = 300);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    const struct conn *conn = pair.server.env.conns;
    pair_send(&pair, peer, part, sizeof part - 1);
    while (conn->mesh->in.len < sizeof part - 1) {
        pair_turn(&pair);
    }
    cr_assert(pair.server.env.pool.num_lent == 0);
    cr_assert(pair_receive(&pair, app, bytes, sizeof part - 1, NULL) == sizeof part - 1);
    cr_assert(memcmp(bytes, part, sizeof part - 1) == 0);
    pair_send(&pair, peer, "x", 1);
    cr_assert(pair_receive(&pair, app, bytes, 1, NULL) == 1 && bytes[0] == 'x');
}

enum { NUM_BUSY = 6, BUSY_BLOCKS = 8, BUSY_BYTES = 8 << 20 };

// Sends as much of `len` bytes as the socket takes.
static size_t send_some(int fd, size_t len)
{
    static const uint8_t zeros[65536];
    ssize_t sent = send(fd, zeros, len < sizeof zeros ? len : sizeof zeros, MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

// Lets as many connections as there may be hold blocks of the server's, whose clients read nothing.
static void stall(int clients[NUM_BUSY], int apps[NUM_BUSY])
{
    for (int i = 0; i < NUM_BUSY; i++) {
        clients[i] = pair_connect(&pair);
        apps[i] = pair_accept(&pair);
    }
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (pair.server.env.pool.num_lent < NUM_BUSY) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 10000, "they never filled");
        for (int i = 0; i < NUM_BUSY; i++) {
            send_some(apps[i], SIZE_MAX);
        }
        pair_turn(&pair);
    }
}

Test(turns, the_connection_that_has_stalled_longest_goes_for_one_that_waits)
{
    int clients[NUM_BUSY];
    int apps[NUM_BUSY];
    char byte;
    PAIR();
    pool_set_limit(&pair.server.env.pool, (uint64_t)BUSY_BLOCKS * RING_BYTES);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    stall(clients, apps);
    const struct side *longest = LIST_OF(pair.server.env.pool.writing.next, struct side, writing);
    const struct conn *goes = longest->owner;
    uint64_t id = goes->id;
    pair_send(&pair, client, "x", 1);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    pair_send(&pair, app, "y", 1);
    cr_assert(pair_receive(&pair, client, &byte, 1, NULL) == 1);
    uint64_t num_ended = pair_ended(&pair.server, REASON_LIMIT_BUFFERS);
    cr_assert(num_ended > 0 && num_ended < NUM_BUSY, "%llu of %d ended",
              (unsigned long long)num_ended, NUM_BUSY);
    for (const struct conn *conn = pair.server.env.conns; conn != NULL; conn = conn->next) {
        cr_assert(conn->id != id, "it was to go first");
    }
}

Test(turns, those_that_move_share_a_pool_that_is_too_small_and_none_ends)
{
    int fds[2][NUM_BUSY];
    size_t sent[2][NUM_BUSY] = {0};
    size_t received[2][NUM_BUSY] = {0};
    uint8_t bytes[16384];
    PAIR();
    for (int i = 0; i < NUM_BUSY; i++) {
        fds[0][i] = pair_connect(&pair);
        fds[1][i] = pair_accept(&pair);
    }
    pool_set_limit(&pair.server.env.pool, 4 * RING_BYTES);
    pool_set_limit(&pair.client.env.pool, 4 * RING_BYTES);
    uint64_t begun_ms = uv_hrtime() / 1000000;
    for (size_t num_done = 0; num_done < (size_t)2 * NUM_BUSY;) {
        num_done = 0;
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 15000, "they wait for each other");
        for (int i = 0; i < 2 * NUM_BUSY; i++) {
            int at = i / NUM_BUSY;
            int number = i % NUM_BUSY;
            sent[at][number] += send_some(fds[at][number], BUSY_BYTES - sent[at][number]);
            ssize_t got = recv(fds[at][number], bytes, sizeof bytes, 0); // slowly
            received[at][number] += got > 0 ? (size_t)got : 0;
            num_done += received[at][number] == BUSY_BYTES;
        }
        uv_run(&pair.loop, UV_RUN_NOWAIT);
    }
    cr_assert(pair.server.env.pool.num_waits > 0, "nobody had to wait");
    cr_assert(pair_ended(&pair.server, REASON_LIMIT_BUFFERS) == 0);
    cr_assert(pair_ended(&pair.client, REASON_LIMIT_BUFFERS) == 0);
}

Test(turns, while_its_service_is_called_a_connection_borrows_no_block)
{
    static const uint8_t bytes[50000];
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    int fillers[3];
    PAIR();
    int full = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert(bind(full, (const struct sockaddr *)&any, len) == 0 && listen(full, 0) == 0);
    cr_assert(getsockname(full, (struct sockaddr *)&any, &len) == 0);
    for (int i = 0; i < 3; i++) { // from here on the kernel drops every SYN
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (const struct sockaddr *)&any, len);
    }
    cr_assert(addr_from_sockaddr(&pair.server.spec.target, (const struct sockaddr *)&any));
    int client = pair_connect(&pair);
    pair_send(&pair, client, bytes, sizeof bytes);
    while (pair.server.env.conns == NULL || conn_step(pair.server.env.conns) != STEP_CONNECT) {
        pair_turn(&pair);
    }
    pair_turn(&pair);
    cr_assert(pair.server.env.conns->mesh->in.len > 0, "nothing came");
    cr_assert(pair.server.env.pool.num_lent == 0, "%zu blocks", pair.server.env.pool.num_lent);
    close(full);
    for (int i = 0; i < 3; i++) {
        close(fillers[i]);
    }
}

Test(turns, before_it_relays_a_connection_borrows_no_block)
{
    static const uint8_t part[] = {22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xf0};
    PAIR();
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, part, sizeof part);
    while (pool_bytes_lent(&pair.server.env.pool) == 0) {
        pair_turn(&pair);
    }
    cr_assert(pool_bytes_lent(&pair.server.env.pool) == POOL_PIECE_MIN);
    for (int i = 0; i < 15000; i += 500) {
        static const uint8_t more[500];
        pair_send(&pair, peer, more, sizeof more);
        pair_turn(&pair);
        cr_assert(pair.server.env.pool.num_lent == 0);
        cr_assert(pool_bytes_lent(&pair.server.env.pool) <= POOL_PIECE_MAX);
    }
}

Test(turns, who_is_interrupted_goes_on_in_the_loop_s_next_turn)
{
    enum { NUM_RECORDS = 5 * TLS_TURN_RECORDS };
    struct conn_env *env = &pair.server.env;
    char bytes[NUM_RECORDS];
    size_t num = 0;
    unsigned num_interrupted = 0;
    PAIR();
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pool_set_limit(&env->pool, 0); // so that the records lie together in the server's socket
    for (int i = 0; i < NUM_RECORDS; i++) {
        uint64_t begun_ms = uv_hrtime() / 1000000;
        uint64_t sent = atomic_load(&pair.client.env.stats.bytes_up[DIRECTION_OUTBOUND]);
        pair_send(&pair, client, "x", 1);
        while (atomic_load(&pair.client.env.stats.bytes_up[DIRECTION_OUTBOUND]) == sent) {
            cr_assert(uv_hrtime() / 1000000 - begun_ms < 5000);
            uv_run(&pair.loop, UV_RUN_ONCE);
        }
    }
    pool_set_limit(&env->pool, 8 * RING_BYTES);
    for (uint64_t begun_ms = uv_hrtime() / 1000000; num < NUM_RECORDS;) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 5000, "%zu of %d came", num, NUM_RECORDS);
        uv_run(&pair.loop, UV_RUN_ONCE);
        num_interrupted += !list_is_empty(&env->turns.ready);
        ssize_t got = recv(app, bytes, sizeof bytes, 0);
        num += got > 0 ? (size_t)got : 0;
    }
    cr_assert(num_interrupted >= 3, "%u", num_interrupted);
}
