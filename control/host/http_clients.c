// SPDX-License-Identifier: Apache-2.0
#include "control/host/http_clients.h"

#include <stdlib.h>

#include "base/must.h"

#define IPV6_SOURCE_BITS 64

const struct http_limits http_limits_pages = {
    .connections_max = HTTP_CONNECTIONS_MAX,
    .source_max = HTTP_CONNECTIONS_PER_SOURCE_MAX,
    .left_max = HTTP_LEFT_MAX,
    .head_ms = HTTP_HEAD_MS_MAX,
    .idle_ms = HTTP_HEAD_MS_MAX,
    .answer_ms = HTTP_ANSWER_MS_MAX,
};

void http_clients_init(struct http_clients *clients, const struct http_limits *limits)
{
    *clients = (struct http_clients){.limits = limits};
    list_init(&clients->sources);
}

struct ip http_source_ip(const struct ip *ip)
{
    return ip_is_v4(ip) || ip_is_loopback(ip) ? *ip : ip_masked(ip, IPV6_SOURCE_BITS);
}

// NULL: no client of this address is there.
static struct http_source *source_of(const struct http_clients *clients, const struct ip *ip)
{
    LIST_EACH_SAFE(link, &clients->sources) {
        struct http_source *source = LIST_OF(link, struct http_source, link);
        if (ip_equal(&source->ip, ip)) {
            return source;
        }
    }
    return NULL;
}

static struct http_source *source_new(struct http_clients *clients, const struct ip *ip)
{
    struct http_source *source = must_alloc(1, sizeof *source);
    source->ip = *ip;
    list_init(&source->clients);
    list_push(&clients->sources, &source->link);
    return source;
}

struct http_client *http_client_new(struct http_clients *clients, const struct ip *ip,
                                    void (*end)(void *ctx), void *ctx, uint64_t now_ms)
{
    struct http_client *client = must_alloc(1, sizeof *client);
    struct http_source *source = source_of(clients, ip);
    source = source != NULL ? source : source_new(clients, ip);
    *client = (struct http_client){
        .source = source, .num_holders = 1, .since_ms = now_ms, .end = end, .ctx = ctx};
    list_push(&source->clients, &client->link);
    source->num++;
    source->num_live++;
    source->num_strangers++;
    clients->num++;
    clients->num_live++;
    return client;
}

void http_client_hold(struct http_client *client)
{
    client->num_holders++;
}

// It counts no more among those that hold a connection.
static void leave(struct http_clients *clients, struct http_client *client)
{
    if (!client->is_ended) {
        client->is_ended = true;
        client->source->num_live--;
        client->source->num_strangers -= !client->has_asked;
        clients->num_live--;
    }
}

void http_client_free(struct http_clients *clients, struct http_client *client)
{
    if (--client->num_holders > 0) {
        return;
    }
    struct http_source *source = client->source;
    leave(clients, client);
    list_remove(&client->link);
    clients->num--;
    if (--source->num == 0) {
        list_remove(&source->link);
        free(source);
    }
    free(client);
}

void http_client_waits(struct http_client *client, enum http_wait wait, uint64_t now_ms)
{
    client->wait = wait;
    client->since_ms = now_ms;
    if (wait == HTTP_WAIT_ANSWER && !client->has_asked) {
        client->has_asked = true;
        client->source->num_strangers -= !client->is_ended;
    }
}

void http_client_forget(struct http_client *client)
{
    if (client->has_asked) {
        client->has_asked = false;
        client->source->num_strangers += !client->is_ended;
    }
}

void http_client_end(struct http_clients *clients, struct http_client *client)
{
    if (!client->is_ended) {
        leave(clients, client);
        if (client->end != NULL) {
            client->end(client->ctx);
        }
    }
}

// How readily a client goes: first who never sent a whole request, last who waits for an answer.
static int readiness(const struct http_client *client)
{
    return client->wait == HTTP_WAIT_ANSWER ? 0 : client->has_asked ? 1 : 2;
}

// Finds who of a source goes first; of several, who came first.
static struct http_client *first_of(const struct http_source *source)
{
    struct http_client *first = NULL;
    LIST_EACH_SAFE(link, &source->clients) {
        struct http_client *client = LIST_OF(link, struct http_client, link);
        if (!client->is_ended && (first == NULL || readiness(client) > readiness(first))) {
            first = client;
        }
    }
    return first;
}

// How much a source holds: strangers beyond what it has free, then strangers, then clients.
// Programs of this host give way last.
static uint64_t greed(const struct http_clients *clients, const struct http_source *source)
{
    uint64_t strangers = source->num_strangers;
    bool is_known = source->num_live > source->num_strangers;
    uint64_t num_free = is_known ? clients->limits->source_max / HTTP_FREE_SHARE : 0;
    uint64_t over = strangers > num_free ? strangers - num_free : 0;
    uint64_t is_guest = source->num_live > 0 && !ip_is_loopback(&source->ip);
    return is_guest << 60 | over << 40 | strangers << 20 | source->num_live;
}

// Finds the greediest source, of several the one that came first. Somebody is there.
static const struct http_source *greediest(const struct http_clients *clients)
{
    const struct http_source *found = NULL;
    uint64_t max = 0;
    LIST_EACH_SAFE(link, &clients->sources) {
        const struct http_source *source = LIST_OF(link, struct http_source, link);
        uint64_t held = greed(clients, source);
        if (held > max) {
            max = held;
            found = source;
        }
    }
    return found;
}

// Whether too many that are ended, but not closed yet, are left: those whose answer isn't there
// yet.
static bool is_choked(const struct http_clients *clients, const struct http_source *source,
                      const struct ip *ip)
{
    const struct http_limits *limits = clients->limits;
    unsigned reserve = ip_is_loopback(ip) ? limits->source_max : 0;
    return (source != NULL && source->num >= 2 * limits->source_max) ||
           clients->num >= limits->left_max + reserve;
}

bool http_clients_make_room(struct http_clients *clients, const struct ip *ip)
{
    const struct http_source *source = source_of(clients, ip);
    struct http_client *who = NULL;
    if (is_choked(clients, source, ip)) {
        clients->num_room++;
        return false;
    }
    if (source != NULL && source->num_live >= clients->limits->source_max) {
        who = first_of(source);
    } else if (clients->num_live >= clients->limits->connections_max) {
        who = first_of(greediest(clients));
    }
    if (who != NULL) {
        clients->num_room++;
        http_client_end(clients, who);
    }
    return true;
}

static uint32_t wait_ms(const struct http_limits *limits, enum http_wait wait)
{
    const uint32_t ms[HTTP_NUM_WAITS] = {[HTTP_WAIT_HEAD] = limits->head_ms,
                                         [HTTP_WAIT_NEXT] = limits->idle_ms,
                                         [HTTP_WAIT_BODY] = limits->body_ms,
                                         [HTTP_WAIT_ANSWER] = limits->answer_ms};
    return ms[wait];
}

uint64_t http_clients_end_late(struct http_clients *clients, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    LIST_EACH_SAFE(at, &clients->sources) {
        const struct http_source *source = LIST_OF(at, struct http_source, link);
        LIST_EACH_SAFE(link, &source->clients) {
            struct http_client *client = LIST_OF(link, struct http_client, link);
            uint64_t until = client->since_ms + wait_ms(clients->limits, client->wait);
            if (client->is_ended) {
                continue;
            }
            if (until <= now_ms) {
                clients->num_late++;
                http_client_end(clients, client);
            } else if (until - now_ms < next) {
                next = until - now_ms;
            }
        }
    }
    return next;
}
