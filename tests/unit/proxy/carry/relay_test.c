// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/proxy/pair.h"

static bool receive_end(struct pair *pair, int fd)
{
    uint8_t byte;
    bool is_reset;
    size_t got = pair_receive(pair, fd, &byte, 1, &is_reset);
    cr_assert(got == 0, "a byte came where the end was expected");
    return is_reset;
}

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)((i * 2654435761u + seed) >> 7);
    }
}

static void reset(int fd)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(fd);
}

Test(relay, carries_a_request_and_its_answer, .timeout = 20)
{
    struct pair pair;
    char buf[16] = "";
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    pair_send(&pair, client, "ping", 4);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, buf, 4, NULL) == 4 && memcmp(buf, "ping", 4) == 0);
    pair_send(&pair, app, "pong", 4);
    cr_assert(pair_receive(&pair, client, buf, 4, NULL) == 4 && memcmp(buf, "pong", 4) == 0);
    shutdown(client, SHUT_WR);
    cr_assert(!receive_end(&pair, app));
    close(app);
    cr_assert(!receive_end(&pair, client));
    close(client);
    pair_until_gone(&pair);
    cr_assert(pair_ended(&pair.client, REASON_FINISHED) == 1);
    cr_assert(pair_ended(&pair.server, REASON_FINISHED) == 1);
    pair_cleanup(&pair);
}

Test(relay, carries_every_size_around_the_records_and_buffers, .timeout = 60)
{
    static const size_t sizes[] = {1,     2,     1350,  16383, 16384, 16385, 32767, 65537, 66047,
                                   66048, 66049, 32768, 32769, 33280, 65535, 65536, 300000};
    static uint8_t sent[300000];
    static uint8_t got[300000];
    struct pair pair;
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill(sent, sizes[i], (unsigned)i);
        pair_send(&pair, client, sent, sizes[i]);
        cr_assert(pair_receive(&pair, app, got, sizes[i], NULL) == sizes[i]);
        cr_assert(memcmp(sent, got, sizes[i]) == 0, "up, %zu bytes", sizes[i]);
        pair_send(&pair, app, sent, sizes[i]);
        cr_assert(pair_receive(&pair, client, got, sizes[i], NULL) == sizes[i]);
        cr_assert(memcmp(sent, got, sizes[i]) == 0, "down, %zu bytes", sizes[i]);
    }
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(relay, gives_all_memory_back_when_a_connection_is_idle, .timeout = 20)
{
    static uint8_t bytes[200000];
    struct pair pair;
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_send(&pair, client, bytes, sizeof bytes);
    cr_assert(pair_receive(&pair, app, bytes, sizeof bytes, NULL) == sizeof bytes);
    pair_turn(&pair);
    cr_assert(pair.client.env.pool.num_lent == 0 && pair.server.env.pool.num_lent == 0);
    close(client);
    close(app);
    pair_cleanup(&pair);
}

// What one end does; what happens to the other end is derived from it.
enum act { ACT_EOF, ACT_FULL, ACT_RESET, NUM_ACTS };
static const char *const act_texts[] = {"eof", "full", "reset"};

enum { FULL_BYTES = 64 << 20 }; // more than all buffers on the way hold

struct end_state {
    int fd;
    bool has_reset;
    bool has_eof;
    bool has_seen_reset;
    size_t sent_by_other; // bytes that the other end could push before it was full
};

static size_t push_until_full(struct pair *pair, int fd)
{
    static uint8_t chunk[65536];
    size_t total = 0;
    unsigned idle_turns = 0;
    while (total < FULL_BYTES && idle_turns < 50) {
        ssize_t sent = send(fd, chunk, sizeof chunk, MSG_NOSIGNAL);
        if (sent > 0) {
            total += (size_t)sent;
            idle_turns = 0;
        } else {
            idle_turns++;
        }
        pair_turn(pair);
    }
    return total;
}

static void act(struct pair *pair, enum act what, struct end_state *self, struct end_state *other)
{
    if (what == ACT_EOF) {
        shutdown(self->fd, SHUT_WR);
        self->has_eof = true;
    } else if (what == ACT_RESET) {
        reset(self->fd);
        self->has_reset = true;
    } else if (!other->has_eof && !other->has_reset && !self->has_reset) {
        self->sent_by_other += push_until_full(pair, other->fd);
        cr_assert(self->sent_by_other < FULL_BYTES, "an end that doesn't read was no limit");
    }
    pair_turn(pair);
}

// Reads all that an end has been sent; it must be just that, and then a clean end if there is one
// to come.
static void drain_end(struct pair *pair, struct end_state *self, bool is_reset_expected)
{
    static uint8_t sink[65536];
    size_t total = 0;
    bool is_reset = false;
    while (total < self->sent_by_other && !is_reset) {
        size_t got = pair_receive(pair, self->fd, sink, 1, &is_reset);
        if (got == 0) {
            break;
        }
        ssize_t more = recv(self->fd, sink, sizeof sink, 0);
        is_reset = more < 0 && errno != EAGAIN; // the socket tells only once
        total += got + (more > 0 ? (size_t)more : 0);
    }
    self->has_seen_reset = is_reset;
    if (is_reset_expected) {
        return; // what was on the way may be lost
    }
    cr_assert(total == self->sent_by_other, "%zu bytes of %zu came", total, self->sent_by_other);
}

// Two acts in an order, by either end; then everything left is read, and both ends must agree on
// what happened.
static void play(enum act first, bool first_is_client, enum act second, bool second_is_client)
{
    struct pair pair;
    char name[64];
    snprintf(name, sizeof name, "%s of the %s, %s of the %s", act_texts[first],
             first_is_client ? "client" : "app", act_texts[second],
             second_is_client ? "client" : "app");
    pair_init(&pair, NULL);
    struct end_state client = {.fd = pair_connect(&pair)};
    struct end_state app = {.fd = pair_accept(&pair)};
    act(&pair, first, first_is_client ? &client : &app, first_is_client ? &app : &client);
    struct end_state *self = second_is_client ? &client : &app;
    if (!self->has_reset) {
        act(&pair, second, self, second_is_client ? &app : &client);
    }
    bool any_reset = client.has_reset || app.has_reset;
    struct end_state *const ends[] = {&client, &app};
    for (size_t i = 0; i < 2; i++) {
        if (!ends[i]->has_reset) {
            drain_end(&pair, ends[i], any_reset);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        struct end_state *end = ends[i];
        struct end_state *other = ends[1 - i];
        if (end->has_reset) {
            continue;
        }
        if (other->has_reset) {
            // Never a quiet end. (An end that has heard a clean one before may see the reset later,
            // or not at all.)
            bool was_clean = other->has_eof;
            cr_assert(was_clean || end->has_seen_reset || receive_end(&pair, end->fd),
                      "%s: a reset became a clean end", name);
        } else {
            shutdown(end->fd, SHUT_WR);
        }
    }
    if (!any_reset) {
        cr_assert(!receive_end(&pair, client.fd), "%s: the client was reset", name);
        cr_assert(!receive_end(&pair, app.fd), "%s: the application was reset", name);
    }
    for (size_t i = 0; i < 2; i++) {
        if (!ends[i]->has_reset) {
            close(ends[i]->fd);
        }
    }
    pair_until_gone(&pair);
    uint64_t finished = pair_ended(&pair.client, REASON_FINISHED);
    bool is_reset_late = (client.has_reset && client.has_eof) || (app.has_reset && app.has_eof);
    if (!is_reset_late) { // after a clean end there may be nobody left to notice
        cr_assert(finished == (any_reset ? 0 : 1), "%s: finished %d times", name, (int)finished);
    }
    pair_cleanup(&pair);
}

Test(relay, passes_every_pair_of_ends_on_in_every_order, .timeout = 120)
{
    for (int first = 0; first < NUM_ACTS; first++) {
        for (int second = 0; second < NUM_ACTS; second++) {
            for (int who = 0; who < 4; who++) {
                if (who == 0 || who == 3) {
                    if (first == ACT_RESET) {
                        continue; // nobody acts after a reset of its own
                    }
                }
                play((enum act)first, (who & 1) != 0, (enum act)second, (who & 2) != 0);
            }
        }
    }
}

Test(relay, half_close_of_the_client_still_receives_the_answer, .timeout = 20)
{
    struct pair pair;
    char buf[16] = "";
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    pair_send(&pair, client, "q", 1);
    shutdown(client, SHUT_WR);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, buf, 1, NULL) == 1);
    cr_assert(!receive_end(&pair, app));
    for (int i = 0; i < 100; i++) {
        pair_send(&pair, app, "answer", 6);
        cr_assert(pair_receive(&pair, client, buf, 6, NULL) == 6);
    }
    close(app);
    cr_assert(!receive_end(&pair, client));
    close(client);
    pair_until_gone(&pair);
    cr_assert(pair_ended(&pair.client, REASON_FINISHED) == 1);
    pair_cleanup(&pair);
}
