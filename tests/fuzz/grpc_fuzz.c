// SPDX-License-Identifier: Apache-2.0
//
// Bytes from a peer to our gRPC server (first byte even) or client (odd), cut into pieces, against
// real sockets. Bit 1 of the first byte puts a good start before them; the rest of it says how long
// the pieces are. tests/fuzz/fuzz.sh knows the pure targets only; this one is built so, in one
// line:
//   clang -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I.
//     -isystem /usr/include/android tests/fuzz/grpc_fuzz.c tests/interop/grpc_echo.c
//     net/grpc/*.c net/http2/*.c base/{addr,err,log,must}.c base/data/bytes.c -luv -lnghttp2 -o
//     /tmp/grpc_fuzz -L$LIB -Wl,-rpath,$LIB -lssl -lcrypto         with
//     LIB=/usr/lib/x86_64-linux-gnu/android
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/grpc/client.h"
#include "tests/interop/grpc_echo.h"

static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const char settings[] = "\0\0\0\4\0\0\0\0\0";

static uv_loop_t loop;
static struct sockaddr_un sun = {.sun_family = AF_UNIX};
static struct grpc_server *server;
static int listener = -1;
static unsigned num_calls;

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    (void)call;
    invariant(status->message != NULL && num_calls > 0);
    num_calls--;
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    if (len % 3 == 0) {
        grpc_call_pause(call);
        grpc_call_resume(call);
    }
    grpc_call_send(call, bytes, len, NULL);
}

static const struct grpc_call_hooks hooks = {.on_message = on_message, .on_end = on_end};

// A socket of this process, listening or connected.
static int open_socket(const char *name, bool listens)
{
    memset(sun.sun_path, 0, sizeof sun.sun_path);
    snprintf(sun.sun_path, sizeof sun.sun_path, "/tmp/grpc-fuzz-%s-%d", name, getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listens) {
        unlink(sun.sun_path);
        invariant(bind(fd, (struct sockaddr *)&sun, sizeof sun) == 0 && listen(fd, 16) == 0);
    } else {
        invariant(connect(fd, (struct sockaddr *)&sun, sizeof sun) == 0);
    }
    return fd;
}

static void start_up(void)
{
    static struct grpc_server_config config;
    config = (struct grpc_server_config){.loop = &loop,
                                         .methods = echo_methods,
                                         .num_methods = echo_num_methods,
                                         .limits = grpc_limits_default()};
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    server = grpc_server_new(&config, NULL);
    invariant(server != NULL &&
              grpc_server_listen(server, open_socket("server", true), NULL, NULL));
    listener = open_socket("client", true);
}

static void run(void)
{
    for (int i = 0; i < 4; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void feed(int fd, const uint8_t *data, size_t size, size_t piece)
{
    static char away[1 << 16];
    for (size_t at = 0; at < size; at += piece) {
        send(fd, data + at, size - at < piece ? size - at : piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        run();
        while (recv(fd, away, sizeof away, MSG_DONTWAIT) > 0) {
        }
    }
}

static void play(int fd, const uint8_t *data, size_t size, bool to_server)
{
    size_t piece = 1 + (size_t)(data[0] >> 2) * 16;
    run();
    if (data[0] & 2) {
        if (to_server) {
            feed(fd, (const uint8_t *)magic, sizeof magic - 1, sizeof magic);
        }
        feed(fd, (const uint8_t *)settings, sizeof settings - 1, sizeof settings);
    }
    feed(fd, data + 1, size - 1, piece < 64 && size > 4096 ? 64 : piece);
    close(fd);
    run();
}

static void play_client(const uint8_t *data, size_t size)
{
    const struct grpc_channel_config config = {
        .loop = &loop, .target = {.unix_path = sun.sun_path}, .limits = grpc_limits_default()};
    struct grpc_channel *channel = grpc_channel_new(&config, NULL);
    invariant(channel != NULL && grpc_channel_connect(channel, NULL));
    const struct grpc_call_start start = {.path = "/echo.Echo/Chat", .hooks = &hooks};
    for (int i = 0; i < 2; i++) {
        num_calls++;
        struct grpc_call *call = grpc_channel_call(channel, &start, NULL);
        invariant(call != NULL);
        grpc_call_send(call, data, size, NULL);
    }
    run();
    play(accept(listener, NULL, NULL), data, size, false);
    grpc_channel_free(channel);
    run();
    invariant(num_calls == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (listener < 0) {
        start_up();
    }
    if (size < 2 || size > 65536) {
        return 0;
    }
    if (data[0] & 1) {
        play_client(data, size);
        return 0;
    }
    play(open_socket("server", false), data, size, true);
    snprintf(sun.sun_path, sizeof sun.sun_path, "/tmp/grpc-fuzz-client-%d", getpid());
    for (int i = 0; i < 100 && grpc_server_stats(server)->num_connections > 0; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    invariant(grpc_server_stats(server)->num_connections == 0);
    return 0;
}
