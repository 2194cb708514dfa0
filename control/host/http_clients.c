// SPDX-License-Identifier: Apache-2.0
#include "control/host/http_clients.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/must.h"

#define IPV6_SOURCE_BITS 64

void http_clients_init(struct http_clients *clients)
{
    *clients = (struct http_clients){.num = 0};
    list_init(&clients->list);
}

struct ip http_source(const struct ip *ip)
{
    return ip_is_v4(ip) || ip_is_loopback(ip) ? *ip : ip_masked(ip, IPV6_SOURCE_BITS);
}

struct http_client *http_client_new(struct http_clients *clients, int fd, const struct ip *source,
                                    uint64_t now_ms)
{
    struct http_client *client = must_alloc(1, sizeof *client);
    *client = (struct http_client){.fd = fd, .source = *source, .since_ms = now_ms};
    list_push(&clients->list, &client->link);
    clients->num++;
    return client;
}

void http_client_free(struct http_clients *clients, struct http_client *client)
{
    list_remove(&client->link);
    clients->num--;
    free(client);
}

void http_client_asked(struct http_client *client, uint64_t now_ms)
{
    client->is_answered = client->has_asked = true;
    client->since_ms = now_ms;
}

void http_client_answered(struct http_client *client, uint64_t now_ms)
{
    client->is_answered = false;
    client->since_ms = now_ms;
}

// libmicrohttpd finds the connection shut, and closes it.
static void end(struct http_client *client)
{
    client->is_ended = true;
    shutdown(client->fd, SHUT_RDWR);
}

// Counts the clients that aren't ended: of a source, or all (NULL).
static unsigned count(const struct http_clients *clients, const struct ip *source)
{
    unsigned num = 0;
    LIST_EACH_SAFE(link, &clients->list) {
        const struct http_client *client = LIST_OF(link, struct http_client, link);
        num += !client->is_ended && (source == NULL || ip_equal(&client->source, source));
    }
    return num;
}

// How readily a client goes: first who never sent a whole request, last who waits for an answer.
static int readiness(const struct http_client *client)
{
    return client->is_answered ? 0 : client->has_asked ? 1 : 2;
}

// Finds who of a source goes first.
static struct http_client *first_of(struct http_clients *clients, const struct ip *source)
{
    struct http_client *first = NULL;
    LIST_EACH_SAFE(link, &clients->list) {
        struct http_client *client = LIST_OF(link, struct http_client, link);
        if (!client->is_ended && ip_equal(&client->source, source) &&
            (first == NULL || readiness(client) > readiness(first))) {
            first = client;
        }
    }
    return first;
}

// Finds the source that holds most, of several the one that came first. Programs of this host give
// way last.
static const struct ip *greediest(const struct http_clients *clients)
{
    const struct http_client *found = NULL;
    unsigned num_max = 0;
    LIST_EACH_SAFE(link, &clients->list) {
        const struct http_client *client = LIST_OF(link, struct http_client, link);
        unsigned num = client->is_ended ? 0 : count(clients, &client->source);
        num += ip_is_loopback(&client->source) ? 0 : HTTP_CONNECTIONS_MAX;
        if (!client->is_ended && num > num_max) {
            num_max = num;
            found = client;
        }
    }
    return &found->source;
}

// Whether too many that are ended, but not closed yet, are left: those whose answer isn't there
// yet.
static bool is_choked(const struct http_clients *clients, const struct ip *source)
{
    unsigned num = 0;
    LIST_EACH_SAFE(link, &clients->list) {
        num += ip_equal(&LIST_OF(link, struct http_client, link)->source, source);
    }
    unsigned reserve = ip_is_loopback(source) ? HTTP_CONNECTIONS_PER_SOURCE_MAX : 0;
    return num >= 2 * HTTP_CONNECTIONS_PER_SOURCE_MAX || clients->num >= HTTP_LEFT_MAX + reserve;
}

bool http_clients_make_room(struct http_clients *clients, const struct ip *source)
{
    struct http_client *who = NULL;
    if (is_choked(clients, source)) {
        clients->num_room++;
        return false;
    }
    if (count(clients, source) >= HTTP_CONNECTIONS_PER_SOURCE_MAX) {
        who = first_of(clients, source);
    } else if (count(clients, NULL) >= HTTP_CONNECTIONS_MAX) {
        who = first_of(clients, greediest(clients));
    }
    if (who != NULL) {
        clients->num_room++;
        end(who);
    }
    return true;
}

uint64_t http_clients_end_late(struct http_clients *clients, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    LIST_EACH_SAFE(link, &clients->list) {
        struct http_client *client = LIST_OF(link, struct http_client, link);
        uint64_t until =
            client->since_ms + (client->is_answered ? HTTP_ANSWER_MS_MAX : HTTP_HEAD_MS_MAX);
        if (client->is_ended) {
            continue;
        }
        if (until <= now_ms) {
            clients->num_late++;
            end(client);
        } else if (until - now_ms < next) {
            next = until - now_ms;
        }
    }
    return next;
}
