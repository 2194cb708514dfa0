// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "tests/unit/proxy/pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/contract.h"
#include "proxy/conn/handshake.h"
#include "proxy/conn/queue.h"
#include "proxy/worker.h"

enum { DEADLINE_MS = 10000, SMALL_BUFFER_BYTES = 65536 };

// The agent's part of signing: one frame in, one frame out.
struct pair_agent {
    uv_pipe_t pipe;
    struct frame_reader reader;
    EVP_PKEY *key; // borrowed
};

struct agent_write {
    uv_write_t req;
    uint8_t bytes[];
};

static void on_agent_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void agent_answer(struct pair_agent *agent, const Tabard__V1__SignRequest *request)
{
    uint8_t signature[256];
    size_t signature_len = sizeof signature;
    EVP_MD_CTX ctx;
    EVP_MD_CTX_init(&ctx);
    cr_assert(EVP_DigestSignInit(&ctx, NULL,
                                 SSL_get_signature_algorithm_digest((uint16_t)request->algorithm),
                                 NULL, agent->key) == 1);
    cr_assert(EVP_DigestSign(&ctx, signature, &signature_len, request->input.data,
                             request->input.len) == 1);
    EVP_MD_CTX_cleanup(&ctx);
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    result.id = request->id;
    result.signature = (ProtobufCBinaryData){.data = signature, .len = signature_len};
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SIGN_RESULT;
    message.sign_result = &result;
    size_t len = tabard__v1__to_proxy__get_packed_size(&message);
    struct agent_write *write = malloc(sizeof *write + FRAME_PREFIX_LEN + len);
    frame_prefix_write(write->bytes, (uint32_t)len);
    tabard__v1__to_proxy__pack(&message, write->bytes + FRAME_PREFIX_LEN);
    uv_buf_t buf = uv_buf_init((char *)write->bytes, (unsigned)(FRAME_PREFIX_LEN + len));
    cr_assert(uv_write(&write->req, (uv_stream_t *)&agent->pipe, &buf, 1, on_agent_written) == 0);
}

static bool on_agent_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    (void)err;
    Tabard__V1__FromProxy *message = tabard__v1__from_proxy__unpack(NULL, body_len, body);
    cr_assert(message != NULL && message->kind_case == TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST);
    agent_answer(ctx, message->sign_request);
    tabard__v1__from_proxy__free_unpacked(message, NULL);
    return true;
}

static void on_agent_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *out_buf)
{
    (void)handle;
    *out_buf = uv_buf_init(malloc(suggested_len), (unsigned)suggested_len);
}

static void on_agent_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct pair_agent *agent = stream->data;
    if (len > 0) {
        cr_assert(frame_reader_push(&agent->reader, (const uint8_t *)buf->base, (size_t)len,
                                    on_agent_frame, agent, NULL));
    }
    free(buf->base);
}

void pair_agent_sign_by(struct pair_end *end, EVP_PKEY *key)
{
    end->agent->key = key;
}

void pair_agent_pause(struct pair_end *end)
{
    uv_read_stop((uv_stream_t *)&end->agent->pipe);
}

void pair_agent_resume(struct pair_end *end)
{
    uv_read_start((uv_stream_t *)&end->agent->pipe, on_agent_alloc, on_agent_read);
}

static void on_link_message(void *ctx, const Tabard__V1__ToProxy *message)
{
    struct pair_end *end = ctx;
    signer_on_result(&end->env.signer, message->sign_result);
    queue_wake(&end->env);
}

static void on_link_gone(void *ctx)
{
    struct pair_end *end = ctx;
    signer_fail_all(&end->env.signer);
}

static void signing_init(struct pair *pair, struct pair_end *end)
{
    int fds[2];
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    end->agent = calloc(1, sizeof *end->agent);
    end->agent->key = end->key;
    end->agent->reader.frame_bytes_max = CONTRACT_SIGN_BYTES_MAX;
    cr_assert(uv_pipe_init(&pair->loop, &end->agent->pipe, 0) == 0);
    end->agent->pipe.data = end->agent;
    cr_assert(uv_pipe_open(&end->agent->pipe, fds[1]) == 0);
    uv_read_start((uv_stream_t *)&end->agent->pipe, on_agent_alloc, on_agent_read);
    cr_assert(link_init(&end->link, &pair->loop, fds[0], LINK_SIGN, on_link_message, on_link_gone,
                        end, NULL));
    end->env.signer.link = &end->link;
}

static void identity_make(struct pair *pair, struct pair_end *end, const char *id)
{
    struct err err = {0};
    time_t now = time(NULL);
    const struct mint_leaf leaf = {
        .spiffe_id = id, .not_before = now - 60, .not_after = now + 3600};
    end->key = mint_key_new(MINT_KEY_P256, &err);
    cr_assert(end->key != NULL);
    end->leaf = mint_leaf_new(&pair->root, end->key, &leaf, &err);
    cr_assert(end->leaf != NULL, "%s", err.text);
}

// A pointer that a message may hold: messages are not const, and nothing here writes through it.
static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

static void key_id_of(uint8_t out[32], X509 *leaf)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    cr_assert(len > 0);
    SHA256(der, (size_t)len, out);
    OPENSSL_free(der);
}

static struct snapshot *snapshot_make(struct pair *pair, struct pair_end *end,
                                      const struct pair_options *options)
{
    ProtobufCBinaryData leaf_der;
    ProtobufCBinaryData root_der;
    uint8_t key_id[32];
    cr_assert(mint_cert_der(&leaf_der.data, &leaf_der.len, end->leaf));
    cr_assert(mint_cert_der(&root_der.data, &root_der.len, pair->root.cert));
    key_id_of(key_id, end->leaf);

    Tabard__V1__Identity identity = TABARD__V1__IDENTITY__INIT;
    identity.chain = &leaf_der;
    identity.n_chain = 1;
    identity.key_id = (ProtobufCBinaryData){.data = key_id, .len = sizeof key_id};
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    bundle.trust_domain = text(PAIR_DOMAIN);
    bundle.roots = &root_der;
    bundle.n_roots = 1;
    Tabard__V1__TrustBundle *bundles[] = {&bundle};

    char *principals[] = {
        text(options->policy_principal != NULL ? options->policy_principal : PAIR_CLIENT_ID)};
    char *loopback[] = {text("127.0.0.0/8")};
    Tabard__V1__Policy__Rule rule = TABARD__V1__POLICY__RULE__INIT;
    if (options->inbound_mode == INBOUND_MTLS && !options->has_policy_by_source) {
        rule.principals = principals;
        rule.n_principals = 1;
    } else {
        rule.source_ips = loopback; // so that callers without identity are let in
        rule.n_source_ips = 1;
    }
    Tabard__V1__Policy__Rule *rules[] = {&rule};
    Tabard__V1__Policy policy = TABARD__V1__POLICY__INIT;
    policy.name = text("only-the-client");
    policy.action = TABARD__V1__POLICY__ACTION__ALLOW;
    policy.mode = TABARD__V1__POLICY__MODE__ENFORCE;
    policy.rules = rules;
    policy.n_rules = 1;
    Tabard__V1__Policy *policies[] = {&policy};

    char *identities[] = {
        text(options->expected_id != NULL ? options->expected_id : PAIR_SERVER_ID)};
    Tabard__V1__Destination destination = TABARD__V1__DESTINATION__INIT;
    destination.name = text("app");
    destination.addresses = loopback;
    destination.n_addresses = 1;
    if (options->is_outbound_plaintext) {
        destination.mode = TABARD__V1__DESTINATION__MODE__PLAINTEXT;
    } else {
        destination.mode = TABARD__V1__DESTINATION__MODE__MTLS;
        destination.identities = identities;
        destination.n_identities = 1;
    }
    Tabard__V1__Destination *destinations[] = {&destination};

    Tabard__V1__InboundPort port = TABARD__V1__INBOUND_PORT__INIT;
    port.port = PAIR_APP_PORT;
    port.mode = (Tabard__V1__InboundPort__Mode)((int)TABARD__V1__INBOUND_PORT__MODE__MTLS +
                                                (int)options->inbound_mode);
    if (options->foreign_tls_is_application) {
        port.foreign_tls = TABARD__V1__INBOUND_PORT__FOREIGN_TLS__APPLICATION;
    }
    Tabard__V1__InboundPort *ports[] = {&port};

    Tabard__V1__Limits limits = options->limits;
    limits.base.descriptor = &tabard__v1__limits__descriptor;
    Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
    settings.limits = &limits;
    if (options->is_observing) {
        settings.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    }
    Tabard__V1__Snapshot message = TABARD__V1__SNAPSHOT__INIT;
    message.generation = ++end->generation;
    message.identity = &identity;
    message.trust_bundles = bundles;
    message.n_trust_bundles = 1;
    message.policies = policies;
    message.n_policies = 1;
    message.destinations = destinations;
    message.n_destinations = options->is_destination_unlisted ? 0 : 1;
    message.inbound_ports = ports;
    message.n_inbound_ports = options->is_port_unlisted ? 0 : 1;
    message.settings = &settings;

    struct err err = {0};
    struct snapshot *snapshot =
        snapshot_new(&message, end->env.snapshot, &handshake_hooks, time(NULL), &err);
    cr_assert(snapshot != NULL, "%s: %s", err.where, err.text);
    free(leaf_der.data);
    free(root_der.data);
    return snapshot;
}

void pair_adopt(struct pair *pair, struct pair_end *end, const struct pair_options *options)
{
    static const struct pair_options plain_options;
    struct snapshot *snapshot =
        snapshot_make(pair, end, options != NULL ? options : &plain_options);
    worker_adopt(&end->env, snapshot, 1);
    snapshot_unref(snapshot);
}

// A worker does no more for those that wait.
static void on_conn_gone(void *ctx)
{
    (void)ctx;
}

// As a worker's listeners do.
static void accept_if_room(struct pair_end *end)
{
    end->is_paused = !conn_has_room(&end->env, listen_direction(end->spec.kind));
    end->env.is_full = end->is_paused;
    if (end->is_paused) {
        uv_poll_stop(&end->callers);
        return;
    }
    uv_os_fd_t listener;
    cr_assert(uv_fileno((const uv_handle_t *)&end->listener, &listener) == 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert(fd >= 0);
    conn_accept(&end->env, fd, &end->spec);
}

static void on_callers(uv_poll_t *callers, int status, int events)
{
    (void)events;
    cr_assert(status == 0);
    accept_if_room(callers->data);
}

static void on_turn(uv_idle_t *idle)
{
    struct pair_end *end = idle->data;
    uv_idle_stop(idle);
    if (turns_run(&end->env)) {
        uv_idle_start(idle, on_turn);
    }
    queue_pump(&end->env);
    if (end->is_paused) {
        accept_if_room(end);
        if (!end->is_paused) {
            uv_poll_start(&end->callers, UV_READABLE, on_callers);
        }
    }
}

static void wake(void *ctx)
{
    struct pair_end *end = ctx;
    uv_idle_start(&end->turn, on_turn);
}

static void listener_init(struct pair *pair, uv_tcp_t *tcp, struct addr *out_addr)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage bound;
    int bound_len = sizeof bound;
    cr_assert(uv_tcp_init(&pair->loop, tcp) == 0);
    cr_assert(uv_tcp_bind(tcp, (const struct sockaddr *)&any, 0) == 0);
    int small = SMALL_BUFFER_BYTES; // inherited by what is accepted
    cr_assert(uv_recv_buffer_size((uv_handle_t *)tcp, &small) == 0);
    uv_os_fd_t fd;
    cr_assert(uv_fileno((const uv_handle_t *)tcp, &fd) == 0);
    cr_assert(listen(fd, 128) == 0);
    cr_assert(uv_tcp_getsockname(tcp, (struct sockaddr *)&bound, &bound_len) == 0);
    cr_assert(addr_from_sockaddr(out_addr, (const struct sockaddr *)&bound));
}

static void end_listen(struct pair *pair, struct pair_end *end, struct addr *out_addr)
{
    uv_os_fd_t fd;
    listener_init(pair, &end->listener, out_addr);
    cr_assert(uv_fileno((const uv_handle_t *)&end->listener, &fd) == 0);
    cr_assert(uv_poll_init(&pair->loop, &end->callers, fd) == 0);
    end->callers.data = end;
    cr_assert(uv_poll_start(&end->callers, UV_READABLE, on_callers) == 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct pair *pair = timer->data;
    struct pair_end *const ends[] = {&pair->client, &pair->server};
    for (size_t i = 0; i < 2; i++) {
        if (ends[i]->is_paused) { // a stranger may have to go by now
            wake(ends[i]);
        }
    }
}

static void end_init(struct pair *pair, struct pair_end *end, const char *id, uint64_t first_id,
                     const struct pair_options *options)
{
    conn_env_init(&end->env, &pair->loop);
    end->env.on_conn_gone = on_conn_gone;
    end->env.wake = wake;
    end->env.ctx = end;
    uv_idle_init(&pair->loop, &end->turn);
    end->turn.data = end;
    turns_init(&end->env);
    end->env.next_id = first_id;
    end->env.id_step = 2;
    identity_make(pair, end, id);
    signing_init(pair, end);
    pair_adopt(pair, end, options);
}

static struct addr listener_addr(const uv_tcp_t *tcp)
{
    struct sockaddr_storage sa;
    int len = sizeof sa;
    struct addr addr = {0};
    cr_assert(uv_tcp_getsockname(tcp, (struct sockaddr *)&sa, &len) == 0);
    cr_assert(addr_from_sockaddr(&addr, (const struct sockaddr *)&sa));
    return addr;
}

void pair_init(struct pair *pair, const struct pair_options *options)
{
    struct err err = {0};
    signal(SIGPIPE, SIG_IGN); // as the proxy does
    *pair = (struct pair){.is_made = true};
    cr_assert(uv_loop_init(&pair->loop) == 0);
    uv_timer_init(&pair->loop, &pair->tick);
    pair->tick.data = pair;
    uv_timer_start(&pair->tick, on_tick, 1, 1);
    time_t now = time(NULL);
    cr_assert(mint_root_init(&pair->root, MINT_KEY_P256, PAIR_DOMAIN, now - 60, now + 86400, &err),
              "%s", err.text);
    end_init(pair, &pair->client, PAIR_CLIENT_ID, 1, options);
    end_init(pair, &pair->server, PAIR_SERVER_ID, 2, options);
    struct addr app;
    struct addr mesh;
    struct addr forward;
    listener_init(pair, &pair->app, &app);
    uv_os_fd_t fd;
    cr_assert(uv_fileno((const uv_handle_t *)&pair->app, &fd) == 0);
    pair->app_fd = fd;
    end_listen(pair, &pair->server, &mesh);
    end_listen(pair, &pair->client, &forward);
    pair->server.spec =
        (struct listen_spec){.kind = LISTEN_INBOUND_PORT, .target = app, .port = PAIR_APP_PORT};
    pair->client.spec = (struct listen_spec){.kind = LISTEN_FORWARD, .target = mesh};
}

static void end_cleanup(struct pair_end *end)
{
    conn_env_cleanup(&end->env);
    frame_reader_cleanup(&end->agent->reader);
    free(end->agent);
    EVP_PKEY_free(end->key);
    X509_free(end->leaf);
}

void pair_cleanup(struct pair *pair)
{
    struct pair_end *const ends[] = {&pair->client, &pair->server};
    if (!pair->is_made) {
        return;
    }
    pair->is_made = false;
    while (pair->num_fds > 0) {
        close(pair->fds[--pair->num_fds]);
    }
    for (size_t i = 0; i < 2; i++) {
        for (struct conn *conn = ends[i]->env.conns; conn != NULL; conn = conn->next) {
            conn_end(conn, REASON_DRAINING, NULL);
        }
    }
    pair_until_gone(pair);
    for (size_t i = 0; i < 2; i++) {
        link_close(&ends[i]->link);
        turns_close(&ends[i]->env);
        uv_close((uv_handle_t *)&ends[i]->agent->pipe, NULL);
        uv_close((uv_handle_t *)&ends[i]->callers, NULL);
        uv_close((uv_handle_t *)&ends[i]->listener, NULL);
        uv_close((uv_handle_t *)&ends[i]->turn, NULL);
    }
    uv_close((uv_handle_t *)&pair->app, NULL);
    uv_close((uv_handle_t *)&pair->tick, NULL);
    uv_run(&pair->loop, UV_RUN_DEFAULT);
    cr_assert(uv_loop_close(&pair->loop) == 0);
    end_cleanup(&pair->client);
    end_cleanup(&pair->server);
    mint_ca_cleanup(&pair->root);
}

static int keep(struct pair *pair, int fd)
{
    cr_assert(pair->num_fds < PAIR_FDS_MAX);
    pair->fds[pair->num_fds++] = fd;
    return fd;
}

void pair_close(struct pair *pair, int fd)
{
    size_t i = 0;
    while (i < pair->num_fds && pair->fds[i] != fd) {
        i++;
    }
    cr_assert(i < pair->num_fds, "not the pair's");
    pair->fds[i] = pair->fds[--pair->num_fds];
    close(fd);
}

void pair_reset(struct pair *pair, int fd)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    pair_close(pair, fd);
}

static int connect_to(const uv_tcp_t *listener)
{
    struct addr addr = listener_addr(listener);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    static const int small = SMALL_BUFFER_BYTES;
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    int ret = connect(fd, (const struct sockaddr *)&sa, len);
    cr_assert(ret == 0 || errno == EINPROGRESS);
    return fd;
}

int pair_connect(struct pair *pair)
{
    return keep(pair, connect_to(&pair->client.listener));
}

int pair_connect_mesh(struct pair *pair)
{
    return keep(pair, connect_to(&pair->server.listener));
}

void pair_until(struct pair *pair, bool (*is_true)(void *ctx), void *ctx, const char *what)
{
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (!is_true(ctx)) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < DEADLINE_MS, "waited in vain: %s", what);
        uv_run(&pair->loop, UV_RUN_ONCE);
    }
}

void pair_turn(struct pair *pair)
{
    for (int i = 0; i < 5; i++) {
        uv_run(&pair->loop, UV_RUN_ONCE);
    }
}

struct accepting {
    struct pair *pair;
    int fd;
};

static bool has_accepted(void *ctx)
{
    struct accepting *accepting = ctx;
    accepting->fd = accept4(accepting->pair->app_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return accepting->fd >= 0;
}

int pair_accept(struct pair *pair)
{
    struct accepting accepting = {.pair = pair, .fd = -1};
    pair_until(pair, has_accepted, &accepting, "the application is called");
    return keep(pair, accepting.fd);
}

uint64_t pair_ended(const struct pair_end *end, enum reason reason)
{
    enum direction direction =
        end->spec.kind == LISTEN_FORWARD ? DIRECTION_OUTBOUND : DIRECTION_INBOUND;
    return atomic_load(&end->env.stats.closed[direction][reason]);
}

static bool are_gone(void *ctx)
{
    struct pair *pair = ctx;
    return pair->client.env.num_conns == 0 && pair->server.env.num_conns == 0;
}

void pair_until_gone(struct pair *pair)
{
    pair_until(pair, are_gone, pair, "all connections end");
}

struct ending {
    const struct pair_end *end;
    enum reason reason;
};

static bool has_ended(void *ctx)
{
    const struct ending *ending = ctx;
    return pair_ended(ending->end, ending->reason) > 0;
}

void pair_until_reason(struct pair *pair, struct pair_end *end, enum reason reason)
{
    struct ending ending = {.end = end, .reason = reason};
    pair_until(pair, has_ended, &ending, reason_text(reason));
}

struct moving {
    int fd;
    uint8_t *bytes;
    size_t len;
    size_t done;
    bool is_over;
    bool is_reset;
};

static bool has_sent(void *ctx)
{
    struct moving *moving = ctx;
    ssize_t sent =
        send(moving->fd, moving->bytes + moving->done, moving->len - moving->done, MSG_NOSIGNAL);
    cr_assert(sent >= 0 || errno == EAGAIN || errno == ENOTCONN, "send: errno %d", errno);
    moving->done += sent > 0 ? (size_t)sent : 0;
    return moving->done == moving->len;
}

void pair_send(struct pair *pair, int fd, const void *bytes, size_t len)
{
    struct moving moving = {.fd = fd, .bytes = (uint8_t *)(uintptr_t)bytes, .len = len};
    pair_until(pair, has_sent, &moving, "bytes are taken");
}

static bool has_received(void *ctx)
{
    struct moving *moving = ctx;
    ssize_t got = recv(moving->fd, moving->bytes + moving->done, moving->len - moving->done, 0);
    if (got > 0) {
        moving->done += (size_t)got;
    } else if (got == 0) {
        moving->is_over = true;
    } else if (errno != EAGAIN) {
        moving->is_over = true;
        moving->is_reset = true;
    }
    return moving->is_over || moving->done == moving->len;
}

size_t pair_receive(struct pair *pair, int fd, void *bytes, size_t len, bool *out_is_reset)
{
    struct moving moving = {.fd = fd, .bytes = bytes, .len = len};
    pair_until(pair, has_received, &moving, "bytes or the end arrive");
    if (out_is_reset != NULL) {
        *out_is_reset = moving.is_reset;
    }
    return moving.done;
}
