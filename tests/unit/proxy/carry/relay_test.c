// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/relay.h"

#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "certs/ca/mint.h"
#include "proxy/carry/tls.h"
#include "tests/unit/proxy/memory.h"

enum {
    BYTES_MAX = 3 * RING_BYTES,
    FULL_BYTES = 16 * RING_BYTES, // more than all buffers on the way hold
    WIRE_BYTES = 8192,
};

// The service or the peer: the far end of one of the relay's two sides.
struct far {
    struct memory memory;
    struct side words; // only its rings are used: the application's bytes before and after TLS
    struct wire there; // to the relay
    struct wire back;
    uint64_t
        num_sent; // of the application, both of a stream of which any byte is known by its place
    uint64_t num_received;
    bool is_deaf; // reads nothing
    bool has_ended;
    bool is_gone;
    bool has_seen_end; // clean
    bool has_seen_truncation;
};

// A relay between a service and a peer, without a connection around it.
struct world {
    struct pool pool;
    struct pool far_pool;
    struct memory plain;
    struct memory mesh;
    struct far service;
    struct far peer;
    struct flow up; // the peer calls
    struct flow down;
    enum reason reason;
    const char *detail;
    size_t chunk;           // that arrives at once
    unsigned num_lent_late; // blocks, to a side that waited
};

static struct world world;
static SSL_CTX *server_ctx;
static SSL_CTX *client_ctx;

static void contexts_init(void)
{
    struct mint_ca root = {0};
    time_t now = time(NULL);
    const struct mint_leaf leaf = {.spiffe_id = "spiffe://prod.example/ns/a/sa/b",
                                   .not_before = now - 60,
                                   .not_after = now + 3600};
    cr_assert(mint_root_init(&root, MINT_KEY_P256, "prod.example", now - 60, now + 3600, NULL));
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    X509 *cert = mint_leaf_new(&root, key, &leaf, NULL);
    server_ctx = SSL_CTX_new(TLS_method());
    client_ctx = SSL_CTX_new(TLS_method());
    cr_assert(SSL_CTX_use_certificate(server_ctx, cert) == 1);
    cr_assert(SSL_CTX_use_PrivateKey(server_ctx, key) == 1);
    SSL_CTX *const ctxs[] = {server_ctx, client_ctx};
    for (size_t i = 0; i < 2; i++) {
        cr_assert(SSL_CTX_set_min_proto_version(ctxs[i], TLS1_3_VERSION) == 1);
        SSL_CTX_set_verify(ctxs[i], SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_options(ctxs[i], SSL_OP_NO_TICKET);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&root);
}

static void contexts_cleanup(void)
{
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
}

TestSuite(relay, .init = contexts_init, .fini = contexts_cleanup, .timeout = 20);

static uint8_t byte_at(uint64_t place)
{
    return (uint8_t)(place * 2654435761u >> 7);
}

// Sends up to `len` more bytes of the far end's stream; returns how many its rings took.
static size_t far_send(struct far *far, size_t len)
{
    struct side *side = &far->memory.side;
    size_t taken = 0;
    size_t step = 1;
    while (taken < len && step > 0 && side->is_open) {
        struct ring *ring = side->ssl != NULL ? &far->words.in : &side->out;
        cr_assert(side_borrow(side->ssl != NULL ? &far->words : side, ring));
        for (step = 0; step < 1024 && taken + step < len && ring_space(ring) > 0; step++) {
            uint8_t byte = byte_at(far->num_sent + step);
            ring_write(ring, &byte, 1);
        }
        far->num_sent += step;
        taken += step;
        if (side->ssl != NULL) {
            size_t sealed;
            tls_write(side, ring, &sealed);
            side_settle(&far->words, ring);
        }
        side_flush(side);
    }
    return taken;
}

static void far_finish(struct far *far, bool with_close_notify)
{
    struct side *side = &far->memory.side;
    if (side->ssl != NULL && with_close_notify) {
        size_t sealed;
        tls_write(side, &far->words.in, &sealed); // what is left unsealed is not sent any more
        far->num_sent -= far->words.in.len;
        ring_pull(&far->words.in, far->words.in.len);
        side_settle(&far->words, &far->words.in);
        cr_assert(tls_close_notify(side));
    }
    far->has_ended = true;
    side->wants_finish = true;
    side_flush(side);
}

static void far_reset(struct far *far)
{
    tls_stop(&far->memory.side);
    side_close(&far->memory.side, true);
    far->is_gone = true;
}

static void take_in(struct far *far, struct ring *ring)
{
    while (ring->len > 0) {
        size_t len;
        const uint8_t *head = ring_head(ring, &len);
        for (size_t i = 0; i < len; i++) {
            cr_assert(head[i] == byte_at(far->num_received + i), "byte %llu is another",
                      (unsigned long long)(far->num_received + i));
        }
        far->num_received += len;
        ring_pull(ring, len);
    }
}

static bool far_turn(struct far *far)
{
    struct side *side = &far->memory.side;
    if (!side->is_open) {
        return false;
    }
    side_set_reading(side, !far->is_deaf && side->in.len == 0);
    bool has_changed = memory_turn(&far->memory, SIZE_MAX);
    uint64_t before = far->num_received;
    if (side->ssl == NULL) {
        take_in(far, &side->in);
        side_settle(side, &side->in);
        far->has_seen_end |= side->is_eof;
    } else {
        size_t len;
        enum tls_result result = TLS_OK;
        tls_begin_turn(side);
        while (result == TLS_OK && tls_has_bytes(side)) {
            result = tls_read(side, &far->words, &far->words.out, &len);
            take_in(far, &far->words.out);
        }
        side_settle(&far->words, &far->words.out);
        far->has_seen_end |= side->has_close_notify;
        far->has_seen_truncation |= result == TLS_TRUNCATED;
        tls_write(side, &far->words.in, &len);
        side_settle(&far->words, &far->words.in);
    }
    side_flush(side);
    return has_changed || far->num_received != before;
}

static bool relay_turn(void)
{
    uint64_t before = world.up.num_bytes + world.down.num_bytes;
    if (world.reason == REASON_NONE) {
        world.reason = relay_step(&world.up, &world.detail);
    }
    if (world.reason == REASON_NONE) {
        world.reason = relay_step(&world.down, &world.detail);
    }
    if (world.reason == REASON_NONE && relay_is_done(&world.up) && relay_is_done(&world.down)) {
        world.reason = REASON_FINISHED;
    }
    side_set_reading(&world.mesh.side, relay_wants_read(&world.up));
    side_set_reading(&world.plain.side, relay_wants_read(&world.down));
    struct side *served = side_lend_next(&world.pool);
    world.num_lent_late += served != NULL;
    return served != NULL || world.up.num_bytes + world.down.num_bytes != before;
}

// Takes turns until nothing happens any more, not even in the turn after reading was turned on.
static void come_to_rest(void)
{
    for (int num_quiet = 0; num_quiet < 2;) {
        bool has_changed = memory_turn(&world.plain, world.chunk);
        has_changed |= memory_turn(&world.mesh, world.chunk);
        has_changed |= world.reason == REASON_NONE && relay_turn();
        has_changed |= far_turn(&world.service);
        has_changed |= far_turn(&world.peer);
        num_quiet = has_changed ? 0 : num_quiet + 1;
    }
}

static void shake_hands(void)
{
    struct side *server = &world.mesh.side;
    struct side *client = &world.peer.memory.side;
    tls_start(server, server_ctx, true, NULL);
    tls_start(client, client_ctx, false, NULL);
    enum tls_result results[2] = {TLS_WAIT, TLS_WAIT};
    for (int turn = 0; turn < 100 && (results[0] != TLS_OK || results[1] != TLS_OK); turn++) {
        results[0] = tls_handshake(client);
        results[1] = tls_handshake(server);
        side_flush(client);
        side_flush(server);
        side_set_reading(client, true);
        side_set_reading(server, true);
        memory_turn(&world.peer.memory, SIZE_MAX);
        memory_turn(&world.mesh, SIZE_MAX);
    }
    cr_assert(results[0] == TLS_OK && results[1] == TLS_OK);
}

static void on_shortage(void *ctx)
{
    (void)ctx;
}

static void world_init(bool is_tls, size_t chunk, size_t wire_bytes)
{
    world = (struct world){.chunk = chunk};
    pool_init(&world.pool, on_shortage, NULL);
    pool_init(&world.far_pool, on_shortage, NULL);
    pool_set_limit(&world.pool, 64 * RING_BYTES);
    pool_set_limit(&world.far_pool, 64 * RING_BYTES);
    struct far *const fars[] = {&world.service, &world.peer};
    struct memory *const nears[] = {&world.plain, &world.mesh};
    for (size_t i = 0; i < 2; i++) {
        fars[i]->there.bytes_max = fars[i]->back.bytes_max = RING_BYTES;
        memory_join(&fars[i]->memory, nears[i], &fars[i]->there, &fars[i]->back, &world.pool);
        fars[i]->words.pool = fars[i]->memory.side.pool = &world.far_pool;
        fars[i]->words.is_relaying = fars[i]->memory.side.is_relaying = true;
        nears[i]->side.is_relaying = true;
    }
    world.mesh.side.is_mesh = true;
    world.up = (struct flow){.source = &world.mesh.side, .target = &world.plain.side};
    world.down = (struct flow){.source = &world.plain.side, .target = &world.mesh.side};
    if (is_tls) {
        shake_hands();
    }
    for (size_t i = 0; i < 2; i++) {
        fars[i]->there.bytes_max = fars[i]->back.bytes_max = wire_bytes;
    }
}

static void world_cleanup(void)
{
    struct memory *const memories[] = {&world.plain, &world.mesh, &world.service.memory,
                                       &world.peer.memory};
    for (size_t i = 0; i < 4; i++) {
        tls_stop(&memories[i]->side);
        if (memories[i]->side.is_open) {
            side_close(&memories[i]->side, false);
        }
    }
    struct far *const fars[] = {&world.service, &world.peer};
    for (size_t i = 0; i < 2; i++) {
        ring_pull(&fars[i]->words.in, fars[i]->words.in.len);
        side_settle(&fars[i]->words, &fars[i]->words.in);
        side_settle(&fars[i]->words, &fars[i]->words.out);
    }
    pool_cleanup(&world.pool);
    pool_cleanup(&world.far_pool);
}

// Sends len bytes and sees all of them arrive, whatever the rings take at once.
static void carry(struct far *from, struct far *to, size_t len)
{
    uint64_t until = from->num_sent + len;
    while (from->num_sent < until) {
        uint64_t before = from->num_sent;
        far_send(from, until - from->num_sent);
        come_to_rest();
        cr_assert(from->num_sent > before, "nothing moves any more");
    }
    cr_assert(to->num_received == until, "%llu bytes of %llu came",
              (unsigned long long)to->num_received, (unsigned long long)until);
}

// Around a record, what a reader takes at once, a ring, and a ring full of records.
static const size_t sizes[] = {
    1,
    2,
    1350,
    TLS_RECORD_MAX - 1,
    TLS_RECORD_MAX,
    TLS_RECORD_MAX + 1,
    2 * TLS_RECORD_MAX - 1,
    2 * TLS_RECORD_MAX + 1,
    RING_READ_MAX - 1,
    RING_READ_MAX,
    RING_READ_MAX + 1,
    RING_BYTES - 1,
    RING_BYTES,
    RING_BYTES + 1,
    RING_READ_MAX + RING_BYTES - 1,
    RING_READ_MAX + RING_BYTES,
    RING_READ_MAX + RING_BYTES + 1,
    BYTES_MAX,
};

Test(relay, carries_every_size_around_the_records_and_buffers)
{
    static const size_t chunks[] = {1350, TLS_RECORD_MAX + 22, RING_BYTES};
    for (int is_tls = 0; is_tls < 2; is_tls++) {
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
            world_init(is_tls, chunks[c], RING_BYTES);
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                carry(&world.peer, &world.service, sizes[i]);
                carry(&world.service, &world.peer, sizes[i]);
            }
            cr_assert(world.up.num_bytes == world.service.num_received);
            cr_assert(world.down.num_bytes == world.peer.num_received);
            cr_assert(world.pool.num_lent == 0, "an idle connection holds no memory");
            world_cleanup();
        }
    }
}

Test(relay, carries_bytes_that_come_one_by_one_both_ways_at_once)
{
    for (int is_tls = 0; is_tls < 2; is_tls++) {
        world_init(is_tls, 1, RING_BYTES);
        far_send(&world.peer, TLS_RECORD_MAX + 100);
        far_send(&world.service, TLS_RECORD_MAX + 1000);
        come_to_rest();
        cr_assert(world.service.num_received == TLS_RECORD_MAX + 100);
        cr_assert(world.peer.num_received == TLS_RECORD_MAX + 1000);
        far_finish(&world.peer, true);
        come_to_rest();
        cr_assert(world.service.has_seen_end && !world.peer.has_seen_end);
        far_finish(&world.service, true);
        come_to_rest();
        cr_assert(world.peer.has_seen_end && world.reason == REASON_FINISHED);
        world_cleanup();
    }
}

Test(relay, half_close_of_the_client_still_receives_the_answer)
{
    for (int is_tls = 0; is_tls < 2; is_tls++) {
        world_init(is_tls, RING_BYTES, RING_BYTES);
        carry(&world.peer, &world.service, 1);
        far_finish(&world.peer, true);
        come_to_rest();
        cr_assert(world.service.has_seen_end && world.reason == REASON_NONE);
        for (int i = 0; i < 100; i++) {
            carry(&world.service, &world.peer, 6);
        }
        far_finish(&world.service, true);
        come_to_rest();
        cr_assert(world.peer.has_seen_end && world.reason == REASON_FINISHED);
        world_cleanup();
    }
}

Test(relay, waits_for_memory_and_loses_nothing)
{
    for (int is_tls = 0; is_tls < 2; is_tls++) {
        world_init(is_tls, RING_BYTES, RING_BYTES);
        pool_set_limit(&world.pool, 0);
        far_send(&world.peer, 100);
        far_send(&world.service, 100);
        come_to_rest();
        cr_assert(world.reason == REASON_NONE && world.num_lent_late == 0);
        cr_assert(world.service.num_received == 0 && world.peer.num_received == 0);
        cr_assert(pool_is_short(&world.pool));
        pool_set_limit(&world.pool, 2 * RING_BYTES); // one that is read into, one for all writing
        come_to_rest();
        cr_assert(world.service.num_received == 100 && world.peer.num_received == 100);
        cr_assert(world.num_lent_late > 0);
        carry(&world.peer, &world.service, 2 * BYTES_MAX);
        carry(&world.service, &world.peer, 2 * BYTES_MAX);
        far_finish(&world.peer, true);
        far_finish(&world.service, true);
        come_to_rest();
        cr_assert(world.reason == REASON_FINISHED);
        world_cleanup();
    }
}

Test(relay, says_its_end_even_without_a_block)
{
    world_init(true, RING_BYTES, RING_BYTES);
    pool_set_limit(&world.pool, 0);
    far_finish(&world.service, true);
    come_to_rest();
    cr_assert(world.peer.has_seen_end && !world.peer.has_seen_truncation);
    world_cleanup();
}

Test(relay, a_turn_is_over_after_so_many_records_however_small)
{
    world_init(true, RING_BYTES, RING_BYTES);
    for (int i = 0; i < 3 * TLS_TURN_RECORDS; i++) {
        cr_assert(far_send(&world.peer, 1) == 1);
    }
    side_set_reading(&world.mesh.side, true);
    cr_assert(memory_turn(&world.mesh, SIZE_MAX));
    for (uint64_t turn = 1; turn <= 3; turn++) {
        cr_assert(relay_step(&world.up, &world.detail) == REASON_NONE);
        cr_assert(world.up.num_bytes == turn * TLS_TURN_RECORDS, "%llu bytes after %llu turns",
                  (unsigned long long)world.up.num_bytes, (unsigned long long)turn);
        cr_assert(tls_is_interrupted(&world.mesh.side) == (turn < 3));
    }
    come_to_rest();
    cr_assert(world.service.num_received == 3 * TLS_TURN_RECORDS);
    world_cleanup();
}

Test(relay, a_turn_is_over_after_so_many_records_of_key_updates_too)
{
    world_init(true, RING_BYTES, RING_BYTES);
    for (int i = 0; i < 3 * TLS_TURN_RECORDS; i++) {
        cr_assert(SSL_key_update(world.peer.memory.side.ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
        cr_assert(far_send(&world.peer, 1) == 1);
    }
    side_set_reading(&world.mesh.side, true);
    cr_assert(memory_turn(&world.mesh, SIZE_MAX));
    for (uint64_t turn = 1; turn <= 5; turn++) {
        cr_assert(relay_step(&world.up, &world.detail) == REASON_NONE);
        cr_assert(world.up.num_bytes == turn * TLS_TURN_RECORDS / 2);
        cr_assert(tls_is_interrupted(&world.mesh.side));
    }
    come_to_rest();
    cr_assert(world.reason == REASON_NONE);
    cr_assert(world.service.num_received == 3 * TLS_TURN_RECORDS);
    world_cleanup();
}

static unsigned num_key_updates; // that the peer has received

static void on_message(int is_write, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)ssl;
    (void)arg;
    num_key_updates += !is_write && type == SSL3_RT_HANDSHAKE && len > 0 &&
                       *(const uint8_t *)bytes == SSL3_MT_KEY_UPDATE;
}

Test(relay, a_key_that_has_sealed_enough_records_is_renewed)
{
    num_key_updates = 0;
    world_init(true, RING_BYTES, RING_BYTES);
    SSL_set_msg_callback(world.peer.memory.side.ssl, on_message);
    for (int i = 0; i < 40; i++) {
        carry(&world.service, &world.peer, 10);
    }
    cr_assert(num_key_updates == 0);
    world.mesh.side.key_records = 16; // which the 40 records and those of the handshake exceed
    for (int i = 0; i < 33; i++) {
        carry(&world.service, &world.peer, 10);
    }
    cr_assert(num_key_updates == 3,
              "before the 1st, the 17th and the 33rd record, and not %u times", num_key_updates);
    carry(&world.service, &world.peer, 100 * TLS_RECORD_MAX);
    carry(&world.peer, &world.service, BYTES_MAX);
    cr_assert(world.reason == REASON_NONE && num_key_updates >= 9);
    world_cleanup();
}

// The peer asks for new keys, as often as that.
static void ask_for_keys(unsigned times)
{
    struct side *side = &world.peer.memory.side;
    for (unsigned i = 0; i < times; i++) {
        cr_assert(SSL_key_update(side->ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        (void)SSL_write(side->ssl, "", 0); // puts it into a record of its own
        side_flush(side);
        come_to_rest();
    }
}

Test(relay, key_updates_are_answered_and_more_than_32_in_a_row_end_the_connection)
{
    num_key_updates = 0;
    world_init(true, RING_BYTES, RING_BYTES);
    SSL_set_msg_callback(world.peer.memory.side.ssl, on_message);
    for (int round = 0; round < 4; round++) {
        ask_for_keys(32);
        carry(&world.peer, &world.service, 1);
        carry(&world.service, &world.peer, 1);
        cr_assert(num_key_updates == 1u + (unsigned)round, "one answer is enough for many");
    }
    ask_for_keys(33);
    cr_assert(world.reason == REASON_TLS_ERROR);
    cr_assert_str_eq(world.detail, "TOO_MANY_KEY_UPDATES");
    world_cleanup();
}

// What an end does; what happens to the other end is derived from it.
enum act { ACT_EOF, ACT_FULL, ACT_RESET, ACT_TRUNCATE, NUM_ACTS };
static const char *const act_texts[] = {"eof", "full", "reset", "truncate"};

static void act(enum act what, struct far *self, struct far *other)
{
    switch (what) {
    case ACT_EOF:
        far_finish(self, true);
        break;
    case ACT_TRUNCATE:
        far_finish(self, false);
        break;
    case ACT_RESET:
        far_reset(self);
        break;
    case ACT_FULL:
        self->is_deaf = true;
        while (!other->has_ended && other->memory.side.is_open && far_send(other, RING_BYTES) > 0) {
            cr_assert(other->num_sent < FULL_BYTES, "an end that doesn't read was no limit");
            come_to_rest();
        }
        break;
    case NUM_ACTS:
        break;
    }
    come_to_rest();
}

struct acting {
    enum act what;
    bool is_peer;
};

static struct far *far_of(const struct acting *acting, bool is_other)
{
    return acting->is_peer != is_other ? &world.peer : &world.service;
}

// How the relay must end after two acts of an order, once everybody reads and has ended.
static enum reason expected_reason(const struct acting acts[2], bool is_tls, bool *out_is_certain)
{
    *out_is_certain = true;
    for (size_t i = 0; i < 2; i++) {
        // A reset by an end that had ended cleanly before may go unnoticed.
        bool was_clean = i == 1 && acts[0].is_peer == acts[1].is_peer && acts[0].what == ACT_EOF;
        if (acts[i].what == ACT_RESET) {
            *out_is_certain = !was_clean;
            return acts[i].is_peer ? REASON_PEER_RESET : REASON_LOCAL_RESET;
        }
        if (acts[i].what == ACT_TRUNCATE && acts[i].is_peer && is_tls && !was_clean) {
            return REASON_TRUNCATED;
        }
    }
    return REASON_FINISHED;
}

static void check_end(const struct far *self, const struct far *other, const char *name)
{
    cr_assert(other->num_received == self->num_sent, "%s: %llu bytes of %llu came", name,
              (unsigned long long)other->num_received, (unsigned long long)self->num_sent);
    cr_assert(other->has_seen_end && !other->has_seen_truncation, "%s: no clean end came", name);
}

static void play(const struct acting acts[2], bool is_tls)
{
    char name[96];
    snprintf(name, sizeof name, "%s: %s of the %s, %s of the %s", is_tls ? "TLS" : "plain",
             act_texts[acts[0].what], acts[0].is_peer ? "peer" : "service", act_texts[acts[1].what],
             acts[1].is_peer ? "peer" : "service");
    world_init(is_tls, RING_BYTES, WIRE_BYTES);
    act(acts[0].what, far_of(&acts[0], false), far_of(&acts[0], true));
    if (!far_of(&acts[1], false)->is_gone) {
        act(acts[1].what, far_of(&acts[1], false), far_of(&acts[1], true));
    }
    struct far *const fars[] = {&world.service, &world.peer};
    world.service.is_deaf = world.peer.is_deaf = false;
    come_to_rest();
    for (size_t i = 0; i < 2; i++) {
        if (!fars[i]->is_gone && !fars[i]->has_ended && world.reason == REASON_NONE) {
            far_finish(fars[i], true);
            come_to_rest();
        }
    }
    bool is_certain;
    enum reason expected = expected_reason(acts, is_tls, &is_certain);
    cr_assert(world.reason == expected || !is_certain, "%s: %s instead of %s", name,
              reason_text(world.reason), reason_text(expected));
    if (world.reason == REASON_FINISHED && is_certain) {
        check_end(&world.service, &world.peer, name);
        check_end(&world.peer, &world.service, name);
    }
    world_cleanup();
}

Test(relay, passes_every_pair_of_ends_on_in_every_order)
{
    for (int number = 0; number < 2 * 2 * 2 * NUM_ACTS * NUM_ACTS; number++) {
        const struct acting acts[2] = {
            {(enum act)(number / 8 % NUM_ACTS), (number & 1) != 0},
            {(enum act)(number / 8 / NUM_ACTS), (number & 2) != 0},
        };
        bool has_ended = acts[0].what == ACT_EOF || acts[0].what == ACT_TRUNCATE;
        bool ends_twice = acts[0].is_peer == acts[1].is_peer && has_ended &&
                          (acts[1].what == ACT_EOF || acts[1].what == ACT_TRUNCATE);
        if (!ends_twice) {
            play(acts, (number & 4) != 0);
        }
    }
}
