// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/agent/sources/policy_agent/pa_peer.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/pb/pb_copy.h"

static void forget(Tabard__V1__SubscribeRequest **request)
{
    if (*request != NULL) {
        tabard__v1__subscribe_request__free_unpacked(*request, NULL);
        *request = NULL;
    }
}

static void on_start(void *ctx, struct grpc_call *call)
{
    struct pa_peer *peer = ctx;
    grpc_call_set_ctx(call, peer);
    peer->call = call;
    peer->num_streams++;
    forget(&peer->first);
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct pa_peer *peer = grpc_call_ctx(call);
    forget(&peer->last);
    peer->last = tabard__v1__subscribe_request__unpack(NULL, len, bytes);
    cr_assert_not_null(peer->last);
    if (peer->first == NULL) {
        peer->first = pb_copy(&peer->last->base);
    }
    peer->num_requests++;
    if (peer->last->result != NULL) {
        peer->num_results++;
        snprintf(peer->nonce, sizeof peer->nonce, "%s", peer->last->result->nonce);
        snprintf(peer->error, sizeof peer->error, "%s", peer->last->result->error);
    }
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    (void)status;
    struct pa_peer *peer = grpc_call_ctx(call);
    if (peer->call == call) {
        peer->call = NULL;
    }
}

static const struct grpc_method methods[] = {
    {.path = "/tabard.v1.PolicyAgent/Subscribe",
     .on_start = on_start,
     .hooks = {.on_message = on_message, .on_end = on_end}},
};

void pa_peer_start(struct pa_peer *peer, uv_loop_t *loop, const char *path)
{
    struct err err = {{0}, {0}};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    cr_assert_lt((size_t)snprintf(at.sun_path, sizeof at.sun_path, "%s", path), sizeof at.sun_path);
    signal(SIGPIPE, SIG_IGN); // as every program does
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    *peer = (struct pa_peer){.num_streams = 0};
    peer->server = grpc_server_new(&(struct grpc_server_config){.loop = loop,
                                                                .methods = methods,
                                                                .num_methods = 1,
                                                                .limits = grpc_limits_default(),
                                                                .ctx = peer},
                                   &err);
    cr_assert_not_null(peer->server, "%s", err.text);
    cr_assert(grpc_server_listen(peer->server, fd, NULL, &err), "%s", err.text);
}

void pa_peer_say(struct pa_peer *peer, const Tabard__V1__SubscribeResponse *response)
{
    size_t len = 0;
    uint8_t *packed = pb_copy_packed(&response->base, &len);
    cr_assert_not_null(peer->call);
    cr_assert(grpc_call_send(peer->call, packed, len, NULL));
    free(packed);
}

void pa_peer_stop(struct pa_peer *peer)
{
    grpc_server_free(peer->server);
    forget(&peer->first);
    forget(&peer->last);
    *peer = (struct pa_peer){.num_streams = 0};
}
