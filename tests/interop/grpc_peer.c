// SPDX-License-Identifier: Apache-2.0
//
// A gRPC peer for the interop tests: the echo service on a socket, or a client of somebody else's
// echo service.
//   grpc_peer serve TARGET [CHAIN KEY ROOTS]      prints "listening ADDRESS"; ends at SIGTERM
//   grpc_peer call TARGET [CHAIN KEY ROOTS]       runs every kind of call, prints a line for each;
//   exit 0: all was right
// TARGET is unix:PATH or IP:PORT. With certificates TLS is mutual.
#include <arpa/inet.h>
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
#include "tests/interop/grpc_cases.h"

static uv_loop_t loop;
static struct grpc_server *server;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "grpc_peer: %s: %s\n", what, why);
    exit(1);
}

static SSL_CTX *make_context(char **files)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, files[0]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, files[1], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(ctx, files[2], NULL) != 1) {
        die("certificates", files[0]);
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return ctx;
}

static struct h2_target parse_target(const char *text)
{
    struct err err = {{0}, {0}};
    struct h2_target target = {.unix_path = NULL};
    if (strncmp(text, "unix:", 5) == 0) {
        target.unix_path = text + 5;
    } else if (!addr_parse(&target.addr, text, true, &err)) {
        die(text, err.text);
    }
    return target;
}

static int listen_on(const struct h2_target *target)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNIX};
    socklen_t len = sizeof(struct sockaddr_un);
    if (target->unix_path != NULL) {
        struct sockaddr_un *sun = (struct sockaddr_un *)&sa;
        if (strlen(target->unix_path) >= sizeof sun->sun_path) {
            die(target->unix_path, "too long");
        }
        strcpy(sun->sun_path, target->unix_path);
    } else {
        len = addr_to_sockaddr(&target->addr, &sa);
    }
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) != 0 || listen(fd, 64) != 0) {
        die("listen", "the address can't be had");
    }
    if (target->unix_path == NULL) {
        char text[ADDR_TEXT_MAX];
        struct addr addr;
        socklen_t sa_len = sizeof sa;
        getsockname(fd, (struct sockaddr *)&sa, &sa_len);
        addr_from_sockaddr(&addr, (struct sockaddr *)&sa);
        printf("listening %s\n", addr_text(&addr, text));
    } else {
        printf("listening unix:%s\n", target->unix_path);
    }
    return fd;
}

static void on_shut(void *ctx)
{
    (void)ctx;
    grpc_server_free(server);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    uv_close((uv_handle_t *)handle, NULL);
    grpc_server_shutdown(server, 2000, on_shut, NULL);
}

static int serve(const struct h2_target *target, SSL_CTX *ssl_ctx)
{
    struct err err = {{0}, {0}};
    struct grpc_server_config config = {.loop = &loop,
                                        .methods = echo_methods,
                                        .num_methods = echo_num_methods,
                                        .limits = grpc_limits_default()};
    uv_signal_t signal_handle;
    uv_signal_init(&loop, &signal_handle);
    uv_signal_start(&signal_handle, on_signal, SIGTERM);
    server = grpc_server_new(&config, &err);
    if (server == NULL || !grpc_server_listen(server, listen_on(target), ssl_ctx, &err)) {
        die("serve", err.text);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}

static int call(const struct h2_target *target, SSL_CTX *ssl_ctx)
{
    struct err err = {{0}, {0}};
    struct grpc_channel_config config = {.loop = &loop,
                                         .target = *target,
                                         .ssl_ctx = ssl_ctx,
                                         .server_name = ssl_ctx != NULL ? "localhost" : NULL,
                                         .limits = grpc_limits_default()};
    struct grpc_channel *channel = grpc_channel_new(&config, &err);
    if (channel == NULL || !grpc_channel_connect(channel, &err)) {
        die("connect", err.text);
    }
    bool was_right = grpc_cases_run(&loop, channel);
    grpc_channel_free(channel);
    uv_run(&loop, UV_RUN_DEFAULT);
    return was_right ? 0 : 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    log_init("grpc_peer", LOG_LEVEL_INFO);
    if (argc != 3 && argc != 6) {
        die("usage", "grpc_peer serve|call TARGET [CHAIN KEY ROOTS]");
    }
    uv_loop_init(&loop);
    struct h2_target target = parse_target(argv[2]);
    SSL_CTX *ssl_ctx = argc == 6 ? make_context(argv + 3) : NULL;
    int status = strcmp(argv[1], "serve") == 0 ? serve(&target, ssl_ctx) : call(&target, ssl_ctx);
    if (ssl_ctx != NULL) {
        SSL_CTX_free(ssl_ctx);
    }
    invariant(uv_loop_close(&loop) == 0);
    return status;
}
