// SPDX-License-Identifier: Apache-2.0
//
// A policy agent that a test plays: our gRPC server on a Unix socket, on the test's own loop, with
// one stream at a time. Owned by the test, which calls pa_peer_start, says and looks at what it
// likes while its loop runs, and calls pa_peer_stop before it ends the loop.
#ifndef TABARD_TESTS_UNIT_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_PEER_H
#define TABARD_TESTS_UNIT_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_PEER_H

#include <uv.h>

#include "net/grpc/server.h"
#include "tabard/v1/policy_agent.pb-c.h"

struct pa_peer {
    struct grpc_server *server; // owned
    struct grpc_call *call;     // borrowed; the stream's; NULL: none
    unsigned num_streams;
    unsigned num_requests;
    unsigned num_results;
    Tabard__V1__SubscribeRequest *first; // owned; of the last stream
    Tabard__V1__SubscribeRequest *last;  // owned; NULL: none yet
    char nonce[64];                      // of the last result, and what it says
    char error[1024];
};

// pa_peer_start listens at `path`, in place of whatever stands there.
void pa_peer_start(struct pa_peer *peer, uv_loop_t *loop, const char *path);
void pa_peer_say(struct pa_peer *peer, const Tabard__V1__SubscribeResponse *response);
void pa_peer_stop(struct pa_peer *peer);

#endif
