// SPDX-License-Identifier: Apache-2.0
//
// An API server of a test's own, on 127.0.0.1 in the test's loop: HTTP/2 over TLS with a
// certificate of a CA that is made for it. It keeps what it was asked and answers what the test
// says, also what no real one could be made to say. fake_api_start writes ca.crt and token into a
// folder; fake_api_stop expects that every connection is closed by then or closes it. A mistake of
// the test aborts.
#ifndef TABARD_TESTS_UNIT_CONTROL_KUBE_API_FAKE_API_H
#define TABARD_TESTS_UNIT_CONTROL_KUBE_API_FAKE_API_H

#include <uv.h>

#include "base/data/bytes.h"
#include "control/kube/api/kube_config.h"
#include "net/http2/conn.h"

#define FAKE_CALLS_MAX 256
#define FAKE_CONNS_MAX 16

// One request. All but `stream` may be read.
struct fake_call {
    struct h2_stream stream; // first
    struct fake_api *api;
    char method[16];
    char path[1024];
    char authorization[256];
    char content_type[64];
    char body[16384];
    size_t body_len;
    struct bytes out;
    size_t sent;
    unsigned conn; // the number of its connection
    bool is_whole; // the request came to its end
    bool is_gone;  // the client left it, or both ended
};

struct fake_api {
    uv_loop_t *loop;
    uv_tcp_t listener;
    uint16_t port;
    SSL_CTX *ssl_ctx;
    struct kube_config config; // for a client of it
    // Called from the loop for each request that is whole. NULL: the test answers later.
    void (*on_call)(struct fake_call *call);
    void *ctx; // the test's
    struct fake_call *calls[FAKE_CALLS_MAX];
    unsigned num_calls;
    struct h2_conn *conns[FAKE_CONNS_MAX]; // NULL: closed
    unsigned num_conns;
    uint64_t bites[H2_LIMIT_NUM];
};

void fake_api_start(struct fake_api *api, uv_loop_t *loop, const char *folder);
void fake_api_stop(struct fake_api *api);

// fake_answer answers with a whole body. fake_begin only begins: fake_send adds to the body,
// fake_end ends it, fake_cut resets the stream. retry_after may be NULL.
void fake_answer(struct fake_call *call, const char *status, const char *body);
void fake_put_off(struct fake_call *call, const char *status, const char *retry_after,
                  const char *body);
void fake_begin(struct fake_call *call, const char *status);
void fake_send(struct fake_call *call, const char *text);
void fake_end(struct fake_call *call);
void fake_cut(struct fake_call *call);

// fake_go_away sends GOAWAY on every connection; fake_break closes them without a word.
void fake_go_away(struct fake_api *api);
void fake_break(struct fake_api *api);

// fake_last returns the last request whose path holds `part`, NULL if there was none.
struct fake_call *fake_last(struct fake_api *api, const char *part);

#endif
