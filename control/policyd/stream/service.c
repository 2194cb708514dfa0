// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "certs/path/revocation.h"
#include "control/policyd/stream/session.h"
#include "control/policyd/stream/tls.h"

// Addresses whose sidecar is out of touch.
struct lost_claim {
    struct list link;
    struct claim *claim;
    uint64_t number; // of its stream
    uint64_t due_ms;
};

const char *service_end_text(enum service_end end)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SERVICE_ENDS(X)
#undef X
    };
    return texts[end];
}

uint64_t service_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    int64_t ahead_ms = now_date_ms() - us / 1000;
    return (uint64_t)(ahead_ms >= NOW_STEP_MS ? us + ahead_ms * 1000 : us);
}

static void on_behind(void *ctx, struct viewer *viewer)
{
    (void)ctx;
    session_advance((struct session *)viewer);
}

static void flush(struct service *service)
{
    struct push *push = NULL;
    for (size_t i = 0; i < SERVICE_PUSHES && push == NULL; i++) {
        push = service->pushes[i].began_ns == 0 ? &service->pushes[i] : NULL;
    }
    if (push != NULL) {
        *push = (struct push){.began_ns = service->change_began_ns, .num_waiting = 1};
        push->is_open = true;
    }
    service->change_began_ns = 0;
    service->push = push;
    world_flush(&service->world);
    service->push = NULL;
    if (push != NULL) {
        push->is_open = false;
        if (--push->num_waiting == 0) {
            push->began_ns = 0; // nobody needed to be told
        }
    }
}

static void on_coalesced(uv_timer_t *timer)
{
    flush(timer->data);
}

// Has what changed sent after SERVICE_COALESCE_MS. began_ns is when the change was seen.
static void wake(struct service *service, uint64_t began_ns)
{
    if (service->change_began_ns == 0 || began_ns < service->change_began_ns) {
        service->change_began_ns = began_ns;
    }
    if (!uv_is_active((uv_handle_t *)&service->coalesce) && !service->is_stopping) {
        uv_timer_start(&service->coalesce, on_coalesced, SERVICE_COALESCE_MS, 0);
    }
}

static void on_change(void *ctx)
{
    wake(ctx, uv_hrtime());
}

static void drop_lost(struct service *service, struct lost_claim *item)
{
    list_remove(&item->link);
    if (!service->is_stopping) {
        registry_dir_erase(service->registry, item->number);
    }
    registry_drop(&service->world.registry, item->claim);
    free(item);
}

static bool is_permitted(const struct service *service, const struct claim *claim)
{
    size_t num = 0;
    const struct ip *addresses = claim_addresses(claim, &num);
    for (size_t i = 0; i < num; i++) {
        if (!service_permits((void *)service, claim_id(claim), &addresses[i])) {
            return false;
        }
    }
    return true;
}

void service_linger(struct service *service, struct session *session)
{
    struct claim *claim = session->claim;
    session->claim = NULL;
    if (claim == NULL) {
        return;
    }
    bool stays =
        !session->has_said_goodbye && !session->loses_claim && is_permitted(service, claim);
    if (!stays) {
        registry_dir_erase(service->registry, session->number);
        registry_drop(&service->world.registry, claim);
        return;
    }
    struct lost_claim *item = must_alloc(1, sizeof *item);
    *item = (struct lost_claim){.claim = claim,
                                .number = session->number,
                                .due_ms = uv_now(service->loop) + SERVICE_LINGER_MS};
    registry_linger(&service->world.registry, claim);
    list_push(&service->lost_claims, &item->link);
}

bool service_make_room(struct service *service)
{
    if (service->stats.num_streams < SERVICE_STREAMS_MAX) {
        return true;
    }
    // Ended streams count until their callers have heard it.
    LIST_EACH_SAFE(link, &service->strangers) {
        struct session *session = LIST_OF(link, struct session, stranger_link);
        if (!session->is_over) {
            session_finish(session, SERVICE_END_LIMIT, GRPC_RESOURCE_EXHAUSTED,
                           "too many streams (streams_max), and this one has not said who it is");
            return service->stats.num_streams < SERVICE_STREAMS_MAX + SERVICE_STREAMS_OVER;
        }
    }
    struct share *largest = share_largest(&service->shares);
    if (largest == NULL || largest->num_streams <= SERVICE_STREAMS_MAX / 8) {
        return false;
    }
    return session_end_oldest(largest) &&
           service->stats.num_streams < SERVICE_STREAMS_MAX + SERVICE_STREAMS_OVER;
}

void service_set_cluster(struct service *service, struct reviews *reviews, const struct pods *pods)
{
    service->reviews = reviews;
    service->pods = *pods;
}

void service_check_pods(struct service *service)
{
    if (service->reviews == NULL || service->is_stopping) {
        return;
    }
    LIST_EACH_SAFE(link, &service->sessions) {
        struct session *session = LIST_OF(link, struct session, link);
        if (!session->is_over) {
            session_check_pod(session);
        }
    }
}

static void check_deadline(struct session *session, uint64_t now)
{
    if (session->is_unequal && !session->is_over) {
        session_compare(session);
        session_advance(session);
    }
    if (session->due_ms != 0 && now >= session->due_ms) {
        session_finish(session, SERVICE_END_SILENT, GRPC_DEADLINE_EXCEEDED,
                       session->id == NULL ? "no first request came in time"
                                           : "no result came in time for the last response");
    } else if (session->again_ms != 0 && now >= session->again_ms) {
        session->is_due_again = true;
        session_advance(session);
    } else if (session_signs(session) && !session->has_sent &&
               now - session->job_since_ms >= SERVICE_ISSUE_MS) {
        // The state doesn't wait for a CA that somebody keeps locked.
        session->has_sent = true;
        session_advance(session);
    }
}

static struct lost_claim *oldest_lost(struct service *service)
{
    return list_is_empty(&service->lost_claims)
               ? NULL
               : LIST_OF(service->lost_claims.next, struct lost_claim, link);
}

static void on_tick(uv_timer_t *timer)
{
    struct service *service = timer->data;
    uint64_t now = uv_now(service->loop);
    now_log_set();
    version_tick(&service->version, service_now_us());
    LIST_EACH_SAFE(link, &service->sessions) {
        struct session *session = LIST_OF(link, struct session, link);
        check_deadline(session, now);
        session_keep_token(session, now);
        if (session->claim != NULL && !session->is_over && !claim_is_in_force(session->claim)) {
            session_finish(session, SERVICE_END_ADDRESS, GRPC_ALREADY_EXISTS,
                           "another identity was at one of the addresses before");
        }
    }
    service_check_pods(service);
    if (now - service->swept_ms >= SERVICE_SWEEP_MS) {
        service->swept_ms = now;
        share_sweep(&service->shares, now);
    }
    struct lost_claim *oldest;
    while ((oldest = oldest_lost(service)) != NULL && now >= oldest->due_ms) {
        drop_lost(service, oldest);
    }
}

void service_init(struct service *service, uv_loop_t *loop, const char *dir, struct fleet *fleet,
                  struct ca_trust *trust)
{
    const struct world_hooks hooks = {
        .ctx = service, .on_change = on_change, .on_behind = on_behind};
    *service = (struct service){.loop = loop, .dir = dir, .version = {.fd = -1}};
    list_init(&service->sessions);
    list_init(&service->strangers);
    list_init(&service->lost_claims);
    shares_init(&service->shares);
    world_init(&service->world, &hooks);
    world_set_trust(&service->world, trust);
    world_set_fleet(&service->world, fleet);
    uv_timer_init(loop, &service->coalesce);
    uv_timer_init(loop, &service->tick);
    service->coalesce.data = service->tick.data = service;
    uv_timer_start(&service->tick, on_tick, SERVICE_TICK_MS, SERVICE_TICK_MS);
}

void service_finish(struct service *service)
{
    struct list *head = &service->sessions;
    service->is_stopping = true;
    for (struct list *link = head->next; link != head; link = link->next) {
        struct session *session = LIST_OF(link, struct session, link);
        session->is_over = true;
        grpc_call_finish(session->call, GRPC_UNAVAILABLE, "the policy agent is stopping");
    }
}

void service_each_sidecar(const struct service *service,
                          void (*each)(void *ctx, const struct service_sidecar *sidecar), void *ctx)
{
    for (struct list *link = service->sessions.next; link != &service->sessions;
         link = link->next) {
        const struct session *session = LIST_OF(link, struct session, link);
        bool is_settled = session->has_sent && !session->is_waiting && session->num_nacks == 0 &&
                          !session->is_unequal && !viewer_is_behind(&session->viewer);
        if (session->pod != NULL && session->has_joined && !session->is_over) {
            each(ctx, &(struct service_sidecar){.pod = session->pod,
                                                .is_settled = is_settled,
                                                .refusal =
                                                    session->num_nacks > 0 ? session->nack : NULL});
        }
    }
}

uint64_t service_num_changes(const struct service *service)
{
    const struct service_stats *stats = &service->stats;
    return stats->num_acks + stats->num_nacks + stats->num_states + stats->num_deltas +
           2 * stats->num_started - stats->num_streams;
}

void service_stop(struct service *service)
{
    service->is_stopping = true;
    while (!list_is_empty(&service->lost_claims)) {
        drop_lost(service, oldest_lost(service));
    }
    uv_close((uv_handle_t *)&service->coalesce, NULL);
    uv_close((uv_handle_t *)&service->tick, NULL);
}

void service_cleanup(struct service *service)
{
    shares_cleanup(&service->shares);
    world_cleanup(&service->world);
    version_cleanup(&service->version);
}

void service_set_fleet(struct service *service, struct fleet *fleet, uint64_t began_ns)
{
    wake(service, began_ns);
    world_set_fleet(&service->world, fleet);
    LIST_EACH_SAFE(link, &service->sessions) {
        struct session *session = LIST_OF(link, struct session, link);
        if (session->id == NULL || session->is_over) {
            continue;
        }
        if (!admit_still(fleet, session->id, session->proof, session->uid)) {
            session_finish(session, SERVICE_END_NO_LONGER_GRANTED, GRPC_PERMISSION_DENIED,
                           "the fleet no longer grants this identity");
        } else if (session->claim != NULL && !is_permitted(service, session->claim)) {
            session_finish(session, SERVICE_END_NO_LONGER_GRANTED, GRPC_PERMISSION_DENIED,
                           "the fleet no longer grants one of the addresses");
        }
    }
    LIST_EACH_SAFE(link, &service->lost_claims) {
        struct lost_claim *item = LIST_OF(link, struct lost_claim, link);
        if (!is_permitted(service, item->claim)) {
            drop_lost(service, item);
        }
    }
    registry_dir_refresh(service->registry);
}

// Says whether a trust still proves what a stream was admitted by, as of then: a certificate that
// has ended since ends no stream, one that is revoked does, or whose root or CA is. false sets err.
static bool is_still_proved(const struct session *session, const struct ca_trust *trust,
                            struct err *err)
{
    struct verified_peer verified;
    if (session->issuer != NULL &&
        revocation_lists(trust->bundle, session->issuer, &session->issued)) {
        return err_set(err, "the certificate is revoked");
    }
    if (session->id == NULL || session->proof != ADMIT_BY_CERTIFICATE) {
        return true;
    }
    switch (tls_peer(&verified, grpc_call_peer(session->call), trust->bundles,
                     session->admitted_unix, err)) {
    case VERIFY_OK:
    case VERIFY_CRL_STALE: // it was fresh then: time alone ends no stream
        return true;
    case VERIFY_REVOKED:
        return err_set(err, "the certificate is revoked");
    default:
        return err_prefix(err, "the certificate is not trusted any more");
    }
}

void service_set_trust(struct service *service, struct ca_trust *trust, uint64_t began_ns)
{
    wake(service, began_ns);
    world_set_trust(&service->world, trust);
    LIST_EACH_SAFE(link, &service->sessions) {
        struct session *session = LIST_OF(link, struct session, link);
        struct err err = {{0}, {0}};
        if (!session->is_over && !is_still_proved(session, trust, &err)) {
            session_finish(session, SERVICE_END_REVOKED, GRPC_PERMISSION_DENIED, err.text);
        }
    }
}

void service_disconnected(void *ctx, const struct h2_peer *peer, const char *why)
{
    struct service *service = ctx;
    char address[ADDR_TEXT_MAX], quoted[1024];
    uint64_t passed_over = 0;
    if (why[0] == '\0' || strcmp(why, "the peer closed the connection") == 0 ||
        !log_allowed(&service->disconnect_log, uv_now(service->loop), SERVICE_LOG_MS,
                     &passed_over)) {
        return;
    }
    log_info("msg=\"connection ended\" peer=%s passed_over=%" PRIu64 " error=%s",
             peer->is_unix ? "unix" : addr_text(&peer->addr, address), passed_over,
             log_quote(quoted, sizeof quoted, why));
}

bool service_permits(void *ctx, const char *id, const struct ip *ip)
{
    struct service *service = ctx;
    const struct fleet *fleet = service->world.fleet;
    uint32_t number = fleet_find(fleet, id, strlen(id));
    return number != FLEET_NONE && fleet_allows_address(fleet, number, ip);
}
