// SPDX-License-Identifier: Apache-2.0
//
// How a client's transport gets its connection: by the path of a Unix socket, by an address, or by
// a name, whose addresses are tried in turn until one takes the connection.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/must.h"
#include "net/http2/lookup.h"
#include "net/http2/transport_impl.h"

#define SYN_REPEATS 1 // of an address that is silent, if there is another: 3 s

struct transport_dial {
    struct lookup *lookup;       // owned; NULL: it is over
    struct transport *transport; // borrowed
    struct addrinfo *found;      // owned
    const struct addrinfo *next;
    unsigned num_tried;
    char name[HOST_NAME_LEN_MAX + 2];
};

static void try_next(struct transport_dial *dial, const char *why);

void transport_dial_stop(struct transport *transport)
{
    struct transport_dial *dial = transport->dial;
    if (dial == NULL) {
        return;
    }
    transport->dial = NULL;
    lookup_forget(dial->lookup);
    if (dial->found != NULL) {
        freeaddrinfo(dial->found);
    }
    free(dial);
}

bool transport_is_looking(const struct transport *transport)
{
    return transport->dial != NULL && transport->dial->lookup != NULL;
}

static void on_redial(uv_handle_t *handle)
{
    struct transport *transport = handle->data;
    if (transport->is_closing) {
        transport_closed(handle);
        return;
    }
    uv_loop_t *loop = handle->loop;
    uv_tcp_init(loop, &transport->tcp);
    transport->handle.data = transport;
    try_next(transport->dial, NULL);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct transport *transport = request->data;
    if (transport->is_closing) {
        return;
    }
    if (status < 0 && transport->dial != NULL) {
        try_next(transport->dial, uv_strerror(status));
        return;
    }
    transport_dial_stop(transport);
    if (status < 0) {
        transport_end(transport, uv_strerror(status));
    } else {
        transport_connected(transport);
    }
}

// Starts to connect to the next address on a fresh handle. Returns 0 or an error of libuv's.
static int connect_to(struct transport_dial *dial, const struct addrinfo *to)
{
    struct transport *transport = dial->transport;
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return uv_translate_sys_error(errno);
    }
    int repeats = SYN_REPEATS;
    if (to->ai_next != NULL) {
        setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &repeats, sizeof repeats);
    }
    int status = uv_tcp_open(&transport->tcp, fd);
    if (status < 0) {
        close(fd);
        return status;
    }
    return uv_tcp_connect(&transport->connect, &transport->tcp, to->ai_addr, on_connect);
}

// Goes on to the next address, or ends the transport where there is none. why: what became of the
// one before, on a handle that must be made anew; NULL: the handle is fresh.
static void try_next(struct transport_dial *dial, const char *why)
{
    struct transport *transport = dial->transport;
    char text[HOST_NAME_LEN_MAX + 160];
    if (why != NULL && dial->next != NULL) {
        uv_close(&transport->handle, on_redial);
        return;
    }
    if (dial->next == NULL) {
        snprintf(text, sizeof text, "%s: none of its addresses (%u) takes the connection: %s",
                 dial->name, dial->num_tried, why);
        transport_end(transport, text);
        return;
    }
    const struct addrinfo *to = dial->next;
    dial->next = to->ai_next;
    dial->num_tried++;
    int status = connect_to(dial, to);
    if (status < 0) {
        try_next(dial, uv_strerror(status));
    }
}

static void on_found(void *ctx, struct addrinfo *found, const char *error)
{
    struct transport_dial *dial = ctx;
    char text[HOST_NAME_LEN_MAX + 160];
    dial->lookup = NULL;
    dial->found = found;
    dial->next = found;
    if (found != NULL) {
        try_next(dial, NULL);
        return;
    }
    snprintf(text, sizeof text, "%s can't be resolved: %s", dial->name, error);
    transport_end(dial->transport, text);
}

static bool look_up(struct transport *transport, uv_loop_t *loop, const struct h2_target *target,
                    struct err *err)
{
    struct transport_dial *dial = must_alloc(1, sizeof *dial);
    dial->transport = transport;
    snprintf(dial->name, sizeof dial->name, "%s", target->host->name);
    dial->lookup = lookup_new(loop, target->host, on_found, dial, err);
    transport->dial = dial;
    return dial->lookup != NULL;
}

bool transport_dial_start(struct transport *transport, uv_loop_t *loop,
                          const struct h2_target *target, struct err *err)
{
    transport->connect.data = transport;
    if (target->unix_path != NULL) {
        struct sockaddr_un sun;
        size_t len = strlen(target->unix_path);
        if (len == 0 || len >= sizeof sun.sun_path) { // libuv would cut it
            return err_set(err, "the socket's path has %zu bytes; 1 to %zu are possible", len,
                           sizeof sun.sun_path - 1);
        }
        uv_pipe_connect(&transport->connect, &transport->pipe, target->unix_path, on_connect);
        return true;
    }
    if (target->host != NULL) {
        return look_up(transport, loop, target, err);
    }
    struct sockaddr_storage sa;
    addr_to_sockaddr(&target->addr, &sa);
    int status =
        uv_tcp_connect(&transport->connect, &transport->tcp, (struct sockaddr *)&sa, on_connect);
    return status == 0 || err_set(err, "%s", uv_strerror(status));
}
