// SPDX-License-Identifier: Apache-2.0
//
// The inside of a client: what kube_client.c, kube_exchange.c and kube_request.c share.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_CLIENT_IMPL_H
#define TABARD_CONTROL_KUBE_API_KUBE_CLIENT_IMPL_H

#include <openssl/base.h>

#include "base/data/list.h"
#include "base/file.h"
#include "control/kube/api/kube_client.h"
#include "net/http2/conn.h"

#define KUBE_AUTHORITY_BYTES (KUBE_HOST_BYTES + 8)

struct kube_client {
    uv_loop_t *loop; // borrowed
    struct kube_config config;
    char authority[KUBE_AUTHORITY_BYTES];
    struct file ca;   // what ssl_ctx was made of
    SSL_CTX *ssl_ctx; // counted
    uint64_t bites[H2_LIMIT_NUM];
    struct kube_client_stats stats;
    struct list conns;         // those that are not closed
    struct kube_conn *current; // of these, the one for new streams; NULL: none
    struct list exchanges;     // struct kube_exchange
    struct list waiting;       // struct kube_request, those between two tries
    bool is_closed;
};

// kube_client_conn gives the connection for a new stream, and makes one if there is none: streams
// may be opened before it stands. NULL sets err: it can't connect.
struct h2_conn *kube_client_conn(struct kube_client *client, struct err *err);

// kube_client_retire takes the current connection, whose stream numbers have run out, out of use.
void kube_client_retire(struct kube_client *client);

// In kube_request.c. kube_request_end_waiting answers those that wait for their next try.
void kube_request_end_waiting(struct kube_client *client, const char *why);

// In kube_exchange.c. kube_exchange_end_all ends every one, whose streams still wait for
// kube_exchange_drop.
void kube_exchange_end_all(struct kube_client *client, const char *why);
void kube_exchange_drop(struct h2_stream *stream, void *ctx);

#endif
