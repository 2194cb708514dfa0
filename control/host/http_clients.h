// SPDX-License-Identifier: Apache-2.0
//
// The clients that an HTTP server has, and who must go: whoever is late, and whoever stands in the
// way of a newcomer. No source holds more than its share, and of all sources the one that holds
// most gives way, so that strangers don't shut out the probe of an operator. The server embeds it;
// the loop's thread.
#ifndef TABARD_CONTROL_HOST_HTTP_CLIENTS_H
#define TABARD_CONTROL_HOST_HTTP_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/data/list.h"

#define HTTP_CONNECTIONS_MAX            64
#define HTTP_CONNECTIONS_PER_SOURCE_MAX 16
#define HTTP_LEFT_MAX                   384 // with those that are ended and wait for an answer
#define HTTP_HEAD_MS_MAX                5000 // to a request's last byte, from the connection or the last answer on
#define HTTP_ANSWER_MS_MAX              10000 // from there to the answer's last byte

struct http_client {
    struct list link; // in order of arrival
    int fd;           // borrowed from libmicrohttpd
    struct ip source; // of IPv6, its /64; the zero state: a Unix socket
    bool is_answered; // a whole request has come, and its answer isn't through yet
    bool has_asked;   // a whole request has come once
    bool is_ended;    // shut down, and about to be closed
    uint64_t since_ms;
};

struct http_clients {
    struct list list;
    unsigned num;      // all
    uint64_t num_late; // ended since the start because they were late
    uint64_t num_room; // ended or turned away since the start because of a limit
};

void http_clients_init(struct http_clients *clients);

// http_source gives what counts as one source of connections.
struct ip http_source(const struct ip *ip);

// http_clients_make_room says whether one more client of a source may come. It may have ended
// another for that.
bool http_clients_make_room(struct http_clients *clients, const struct ip *source);

// http_client_new adds a client, http_client_free takes it away.
struct http_client *http_client_new(struct http_clients *clients, int fd, const struct ip *source,
                                    uint64_t now_ms);
void http_client_free(struct http_clients *clients, struct http_client *client);

// http_client_asked notes that a whole request has come, http_client_answered that its answer is
// sent.
void http_client_asked(struct http_client *client, uint64_t now_ms);
void http_client_answered(struct http_client *client, uint64_t now_ms);

// http_clients_end_late ends those who are late and returns in how many ms the next one will be;
// UINT64_MAX: none.
uint64_t http_clients_end_late(struct http_clients *clients, uint64_t now_ms);

#endif
