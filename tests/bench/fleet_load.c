// SPDX-License-Identifier: Apache-2.0
//
// Simulated sidecars for ./dev bench fleet: real gRPC streams to a tabard-policyd on a Unix socket,
// one connection each or several to a connection, that answer every response with an ACK at once.
// What to do comes line by line on standard input, what happened goes line by line to standard
// output:
//   start N         N sidecars more; "started N" when each has its first state
//   certify N       the same, all at once and each with a signing request, asked again in 2 to 5 s
//                   where the answer is no; "certified N R" when each has its certificate, after R
//                   answers in words
//   expect N        the next N responses are timed; "expecting"; then "got N p50 p99 max bytes"
//   (CLOCK_MONOTONIC ns) join            one sidecar more of service 0; "joined"
// Sidecar i is one of service i % SERVICES, at 10.x.y.z of its own.
#include <inttypes.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "certs/ca/csr.h"
#include "net/grpc/client.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define STARTING_MAX 200
#define SIDECARS_MAX 30000

struct sidecar {
    struct grpc_call *call;
    uint32_t number;
    uint32_t service;
    bool has_state;
    bool is_joiner;
    bool has_certificate;
    uint64_t ask_at_ms; // 0: an answer is waited for, or has come
};

static struct load {
    uv_loop_t loop;
    uv_pipe_t input;
    const char *unix_path;
    uint32_t num_services;
    uint32_t per_connection;
    struct grpc_channel *channel; // the last one made
    uint32_t in_channel;
    struct sidecar *sidecars;
    uint32_t num;
    uint32_t num_wanted;
    uint32_t num_starting;
    uint32_t num_started;
    uv_timer_t asking;
    ProtobufCBinaryData csr; // of all of them; its length is 0 where none is sent
    uint32_t num_certified;
    uint32_t num_told_to_wait;
    uint64_t *times; // of the responses that are expected
    uint32_t num_expected;
    uint32_t num_got;
    uint64_t num_bytes;
    char line[128];
    size_t line_len;
} load;

static void die(const char *why)
{
    fprintf(stderr, "fleet_load: %s\n", why);
    exit(1);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void take_time(size_t len)
{
    if (load.num_got >= load.num_expected) {
        return;
    }
    load.times[load.num_got++] = uv_hrtime();
    load.num_bytes += len;
    if (load.num_got == load.num_expected) {
        qsort(load.times, load.num_got, sizeof *load.times, compare_times);
        printf("got %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", load.num_got,
               load.times[load.num_got / 2], load.times[(uint64_t)load.num_got * 99 / 100],
               load.times[load.num_got - 1], load.num_bytes);
    }
}

static void send_request(struct grpc_call *call, const Tabard__V1__SubscribeRequest *request)
{
    uint8_t bytes[1024];
    if (tabard__v1__subscribe_request__get_packed_size(request) > sizeof bytes ||
        !grpc_call_send(call, bytes, tabard__v1__subscribe_request__pack(request, bytes), NULL)) {
        die("a request can't be sent");
    }
}

static void start_more(void);

// Asks again for those whose wait is over.
static void on_asking(uv_timer_t *timer)
{
    (void)timer;
    uint64_t now = uv_now(&load.loop);
    for (uint32_t i = 0; i < load.num; i++) {
        struct sidecar *sidecar = &load.sidecars[i];
        if (sidecar->ask_at_ms != 0 && now >= sidecar->ask_at_ms) {
            Tabard__V1__CertificateRequest wanted = TABARD__V1__CERTIFICATE_REQUEST__INIT;
            Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
            sidecar->ask_at_ms = 0;
            wanted.csr = load.csr;
            request.certificate_request = &wanted;
            send_request(sidecar->call, &request);
        }
    }
}

static void take_certificate(struct sidecar *sidecar, const Tabard__V1__SubscribeResponse *response)
{
    if (response->certificate != NULL && !sidecar->has_certificate) {
        sidecar->has_certificate = true;
        if (++load.num_certified == load.num_wanted) {
            printf("certified %u %u\n", load.num_certified, load.num_told_to_wait);
        }
    } else if (response->certificate_error[0] != '\0') {
        load.num_told_to_wait++;
        sidecar->ask_at_ms = uv_now(&load.loop) + 2000 + sidecar->number % 3000;
    }
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct sidecar *sidecar = grpc_call_ctx(call);
    Tabard__V1__SubscribeResponse *response =
        tabard__v1__subscribe_response__unpack(NULL, len, bytes);
    if (response == NULL) {
        die("not a SubscribeResponse");
    }
    Tabard__V1__Result result = TABARD__V1__RESULT__INIT;
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    result.nonce = response->nonce;
    request.result = &result;
    send_request(call, &request);
    if (load.csr.len > 0) {
        take_certificate(sidecar, response);
    }
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    if (sidecar->has_state) {
        take_time(len);
        return;
    }
    sidecar->has_state = true;
    if (sidecar->is_joiner) {
        printf("joined %zu\n", len);
        return;
    }
    load.num_starting--;
    if (++load.num_started == load.num_wanted && load.csr.len == 0) {
        printf("started %u\n", load.num_started);
    }
    start_more();
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    (void)call;
    fprintf(stderr, "fleet_load: a stream ended: %s: %s\n", grpc_code_name(status->code),
            status->message);
    exit(1);
}

static const struct grpc_call_hooks hooks = {.on_message = on_message, .on_end = on_end};

static void next_channel(void)
{
    struct err err = {{0}, {0}};
    struct grpc_channel_config config = {.loop = &load.loop,
                                         .target = {.unix_path = load.unix_path},
                                         .limits = grpc_limits_default()};
    config.limits.message_bytes_max = 64u << 20;
    config.limits.held_bytes_max = 64u << 20;
    load.channel = grpc_channel_new(&config, &err);
    if (load.channel == NULL || !grpc_channel_connect(load.channel, &err)) {
        die(err.text);
    }
    load.in_channel = 0;
}

static void start_one(uint32_t service, bool is_joiner)
{
    char id[96], node_id[32], address[32];
    char *addresses[] = {address};
    char key[] = "spiffe_id";
    char deltas[] = "destination_deltas";
    char *capabilities[] = {deltas};
    struct err err = {{0}, {0}};
    struct sidecar *sidecar = &load.sidecars[load.num];
    Tabard__V1__Node__MetadataEntry entry = TABARD__V1__NODE__METADATA_ENTRY__INIT;
    Tabard__V1__Node__MetadataEntry *entries[] = {&entry};
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    if (load.channel == NULL || load.in_channel == load.per_connection) {
        next_channel();
    }
    load.in_channel++;
    *sidecar = (struct sidecar){.number = load.num++, .service = service, .is_joiner = is_joiner};
    const struct grpc_call_start start = {
        .path = "/tabard.v1.PolicyAgent/Subscribe", .hooks = &hooks, .ctx = sidecar};
    sidecar->call = grpc_channel_call(load.channel, &start, &err);
    if (sidecar->call == NULL) {
        die(err.text);
    }
    snprintf(id, sizeof id, "spiffe://demo.example/ns/bench/sa/s%05u", service);
    snprintf(node_id, sizeof node_id, "node-%u", sidecar->number);
    snprintf(address, sizeof address, "10.%u.%u.%u", sidecar->number >> 16,
             sidecar->number >> 8 & 255, sidecar->number & 255);
    entry.key = key;
    entry.value = id;
    node.id = node_id;
    node.addresses = addresses;
    node.n_addresses = 1;
    node.metadata = entries;
    node.n_metadata = 1;
    node.capabilities = capabilities;
    node.n_capabilities = 1;
    request.node = &node;
    Tabard__V1__CertificateRequest wanted = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    if (load.csr.len > 0) {
        wanted.csr = load.csr;
        wanted.spiffe_id = id;
        request.certificate_request = &wanted;
    }
    send_request(sidecar->call, &request);
}

static void start_more(void)
{
    while ((load.num_starting < STARTING_MAX || load.csr.len > 0) &&
           load.num_started + load.num_starting < load.num_wanted) {
        load.num_starting++;
        start_one(load.num % load.num_services, false);
    }
}

static void obey(const char *line)
{
    uint32_t number = 0;
    if (sscanf(line, "start %u", &number) == 1) {
        load.num_wanted += number;
        start_more();
    } else if (sscanf(line, "certify %u", &number) == 1) {
        EVP_PKEY *key = NULL;
        if (!csr_new(&key, &load.csr.data, &load.csr.len, MINT_KEY_P256, "", NULL)) {
            die("no signing request");
        }
        EVP_PKEY_free(key);
        uv_timer_start(&load.asking, on_asking, 100, 100);
        load.num_wanted += number;
        start_more();
    } else if (sscanf(line, "expect %u", &number) == 1 && number <= SIDECARS_MAX) {
        load.num_expected = number;
        load.num_got = 0;
        load.num_bytes = 0;
        puts("expecting");
    } else if (strcmp(line, "join") == 0) {
        start_one(0, true);
    } else {
        die("not a command");
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(load.line + load.line_len, (unsigned)(sizeof load.line - load.line_len));
}

static void on_input(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    (void)stream, (void)buf;
    if (len < 0) {
        exit(0);
    }
    load.line_len += (size_t)len;
    for (char *end; (end = memchr(load.line, '\n', load.line_len)) != NULL;) {
        *end = '\0';
        obey(load.line);
        load.line_len -= (size_t)(end + 1 - load.line);
        memmove(load.line, end + 1, load.line_len);
    }
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    if (argc != 4) {
        die("usage: fleet_load SOCKET SERVICES STREAMS_PER_CONNECTION");
    }
    log_init("fleet_load", LOG_LEVEL_WARN);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    load.unix_path = argv[1];
    load.num_services = (uint32_t)atoi(argv[2]);
    load.per_connection = (uint32_t)atoi(argv[3]);
    load.sidecars = calloc(SIDECARS_MAX, sizeof *load.sidecars);
    load.times = calloc(SIDECARS_MAX, sizeof *load.times);
    if (load.sidecars == NULL || load.times == NULL || load.num_services == 0 ||
        load.per_connection == 0) {
        die("bad arguments");
    }
    uv_loop_init(&load.loop);
    uv_timer_init(&load.loop, &load.asking);
    uv_pipe_init(&load.loop, &load.input, 0);
    uv_pipe_open(&load.input, STDIN_FILENO);
    uv_read_start((uv_stream_t *)&load.input, on_alloc, on_input);
    return uv_run(&load.loop, UV_RUN_DEFAULT);
}
