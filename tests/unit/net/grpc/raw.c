// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/net/grpc/raw.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEADER_LEN 9

void raw_connect(struct raw *raw, struct rig *rig, bool starts)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    raw->rig = rig;
    raw->listener = -1;
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", rig->path);
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(raw->fd, (struct sockaddr *)&sun, sizeof sun) == 0);
    if (starts) {
        raw_send(raw, RAW_MAGIC, strlen(RAW_MAGIC));
        raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
        raw_frame(raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    }
}

void raw_listen(struct raw *raw, struct rig *rig)
{
    raw->rig = rig;
    raw->fd = -1;
    raw->listener = rig_listen(rig->path);
}

void raw_accept(struct raw *raw, const uint8_t *settings, size_t len)
{
    raw->fd = accept(raw->listener, NULL, NULL);
    raw->in_len = raw->at = 0;
    raw->is_eof = false;
    cr_assert(raw->fd >= 0);
    raw_frame(raw, NGHTTP2_SETTINGS, 0, 0, settings, len);
    raw_frame(raw, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    raw->at = strlen(RAW_MAGIC); // of the client's bytes, which come
}

void raw_close(struct raw *raw)
{
    if (raw->fd >= 0) {
        close(raw->fd);
        raw->fd = -1;
    }
    if (raw->listener >= 0) {
        close(raw->listener);
        raw->listener = -1;
    }
}

void raw_play_client(struct raw *raw, struct rig *rig, const struct grpc_limits *limits,
                     bool starts)
{
    struct grpc_limits usual = grpc_limits_default();
    rig_start(rig, false, limits != NULL ? limits : &usual, NULL);
    *raw = (struct raw){.fd = -1};
    raw_connect(raw, rig, starts);
}

void raw_play_server(struct raw *raw, struct rig *rig, const struct grpc_limits *limits,
                     const uint8_t *settings, size_t len)
{
    struct grpc_limits usual = grpc_limits_default();
    rig_start(rig, false, NULL, NULL);
    *raw = (struct raw){.fd = -1};
    raw_listen(raw, rig);
    rig_dial(rig, limits != NULL ? limits : &usual);
    raw_accept(raw, settings, len);
    cr_assert(rig_wait(rig, &rig->num_ready, 1));
}

void raw_stop(struct raw *raw, struct rig *rig)
{
    raw_close(raw);
    rig_stop(rig);
}

static void read_some(struct raw *raw)
{
    ssize_t num = recv(raw->fd, raw->in + raw->in_len, sizeof raw->in - raw->in_len, MSG_DONTWAIT);
    if (num > 0) {
        raw->in_len += (size_t)num;
    } else if (num == 0 || errno != EAGAIN) {
        raw->is_eof = true;
    }
}

// What the other side doesn't read at once it reads in its loop, which runs here.
void raw_send(struct raw *raw, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    while (len > 0) {
        ssize_t num = send(raw->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (num < 0 && errno == EAGAIN) {
            uv_run(&raw->rig->loop, UV_RUN_NOWAIT);
            read_some(raw);
            continue;
        }
        if (num < 0) {
            return; // it closed: what the test expects of that, the test says
        }
        from += num;
        len -= (size_t)num;
    }
}

void raw_frame(struct raw *raw, uint8_t type, uint8_t flags, int32_t stream, const void *payload,
               size_t len)
{
    const uint8_t header[HEADER_LEN] = {(uint8_t)(len >> 16),
                                        (uint8_t)(len >> 8),
                                        (uint8_t)len,
                                        type,
                                        flags,
                                        (uint8_t)(stream >> 24),
                                        (uint8_t)(stream >> 16),
                                        (uint8_t)(stream >> 8),
                                        (uint8_t)stream};
    raw_send(raw, header, sizeof header);
    raw_send(raw, payload, len);
}

// A length in HPACK with 7 bits in its first byte (RFC 7541, section 5.1).
static size_t put_len(uint8_t *out, size_t len)
{
    if (len < 127) {
        out[0] = (uint8_t)len;
        return 1;
    }
    size_t num = 1;
    out[0] = 127;
    len -= 127;
    while (len >= 128) {
        out[num++] = (uint8_t)(len | 128);
        len >>= 7;
    }
    out[num++] = (uint8_t)len;
    return num;
}

void raw_headers(struct raw *raw, uint8_t flags, int32_t stream, const char *const *pairs)
{
    uint8_t block[16384];
    size_t len = 0;
    for (size_t i = 0; pairs[i] != NULL; i++) {
        size_t text_len = strlen(pairs[i]);
        cr_assert_lt(len + text_len + 8, sizeof block);
        if (i % 2 == 0) {
            block[len++] = 0; // a literal without indexing, with a new name
        }
        len += put_len(block + len, text_len);
        memcpy(block + len, pairs[i], text_len);
        len += text_len;
    }
    raw_frame(raw, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, stream, block, len);
}

void raw_request(struct raw *raw, int32_t stream, const char *method)
{
    char path[64];
    snprintf(path, sizeof path, "/echo.Echo/%s", method);
    const char *const pairs[] = {
        ":method",    "POST",      ":scheme", "http",     ":path",        path,
        ":authority", "localhost", "te",      "trailers", "content-type", "application/grpc+proto",
        "x-unknown",  "is fine",   NULL};
    raw_headers(raw, 0, stream, pairs);
}

void raw_response(struct raw *raw, int32_t stream)
{
    const char *const pairs[] = {":status", "200", "content-type", "application/grpc", NULL};
    raw_headers(raw, 0, stream, pairs);
}

void raw_trailers(struct raw *raw, int32_t stream, const char *code, const char *message)
{
    const char *const pairs[] = {"grpc-status", code, message == NULL ? NULL : "grpc-message",
                                 message, NULL};
    raw_headers(raw, NGHTTP2_FLAG_END_STREAM, stream, pairs);
}

void raw_message(struct raw *raw, uint8_t flags, int32_t stream, const char *text)
{
    uint8_t bytes[512] = {0};
    size_t len = strlen(text);
    bytes[4] = (uint8_t)len;
    memcpy(bytes + 5, text, len);
    raw_frame(raw, NGHTTP2_DATA, flags, stream, bytes, len + 5);
}

void raw_goaway(struct raw *raw, int32_t last_stream, uint32_t code, const char *debug)
{
    uint8_t bytes[256] = {(uint8_t)(last_stream >> 24),
                          (uint8_t)(last_stream >> 16),
                          (uint8_t)(last_stream >> 8),
                          (uint8_t)last_stream,
                          0,
                          0,
                          0,
                          (uint8_t)code};
    memcpy(bytes + 8, debug, strlen(debug));
    raw_frame(raw, NGHTTP2_GOAWAY, 0, 0, bytes, 8 + strlen(debug));
}

uint32_t raw_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

// Takes the next whole frame. false: there is none yet.
static bool next_frame(struct raw *raw, struct raw_frame *out)
{
    if (raw->in_len < raw->at + HEADER_LEN) {
        return false;
    }
    const uint8_t *header = raw->in + raw->at;
    size_t len = (size_t)header[0] << 16 | (size_t)header[1] << 8 | header[2];
    if (raw->in_len < raw->at + HEADER_LEN + len) {
        return false;
    }
    *out = (struct raw_frame){.type = header[3],
                              .flags = header[4],
                              .stream = (int32_t)(raw_u32(header + 5) & 0x7fffffff),
                              .payload = header + HEADER_LEN,
                              .len = len};
    raw->at += HEADER_LEN + len;
    return true;
}

static bool is_time_left(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 < RIG_WAIT_MS;
}

bool raw_expect(struct raw *raw, uint8_t type, int32_t stream, struct raw_frame *out)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        while (next_frame(raw, out)) {
            if (out->type == type && (stream == -1 || out->stream == stream)) {
                return true;
            }
        }
        if (raw->is_eof) {
            return false;
        }
        uv_run(&raw->rig->loop, UV_RUN_NOWAIT);
        struct pollfd fd = {.fd = raw->fd, .events = POLLIN};
        poll(&fd, 1, 1);
        read_some(raw);
    } while (is_time_left(&start));
    return false;
}

bool raw_at_end(struct raw *raw)
{
    struct timespec start;
    struct raw_frame frame;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!raw->is_eof && is_time_left(&start)) {
        uv_run(&raw->rig->loop, UV_RUN_NOWAIT);
        read_some(raw);
        while (next_frame(raw, &frame)) {
        }
        memmove(raw->in, raw->in + raw->at, raw->in_len - raw->at);
        raw->in_len -= raw->at;
        raw->at = 0;
    }
    return raw->is_eof;
}

static bool is_pair(const nghttp2_nv *nv, const char *name, const char *value)
{
    return name != NULL && nv->namelen == strlen(name) &&
           memcmp(nv->name, name, nv->namelen) == 0 && nv->valuelen == strlen(value) &&
           memcmp(nv->value, value, nv->valuelen) == 0;
}

bool raw_holds(const struct raw_frame *headers, nghttp2_hd_inflater *inflater, const char *name,
               const char *value, const char *other, const char *other_value)
{
    const uint8_t *from = headers->payload;
    size_t left = headers->len;
    bool holds = false;
    bool holds_other = other == NULL;
    int flags = 0;
    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        nghttp2_nv nv = {.name = NULL};
        ssize_t taken = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, from, left, 1);
        cr_assert(taken >= 0);
        from += taken;
        left -= (size_t)taken;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            holds = holds || is_pair(&nv, name, value);
            holds_other = holds_other || is_pair(&nv, other, other_value);
        }
    }
    nghttp2_hd_inflate_end_headers(inflater);
    return holds && holds_other;
}

void raw_expect_status(struct raw *raw, int32_t stream, const char *code, const char *what)
{
    struct raw_frame frame;
    nghttp2_hd_inflater *inflater = NULL;
    bool holds = false;
    cr_assert(nghttp2_hd_inflate_new(&inflater) == 0);
    do {
        cr_assert(raw_expect(raw, NGHTTP2_HEADERS, stream, &frame), "%s: no headers", what);
        holds = raw_holds(&frame, inflater, "grpc-status", code, NULL, NULL);
    } while (!(frame.flags & NGHTTP2_FLAG_END_STREAM));
    cr_expect(holds, "%s: not grpc-status %s", what, code);
    nghttp2_hd_inflate_del(inflater);
}
