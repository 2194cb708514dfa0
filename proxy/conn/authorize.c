// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/authorize.h"

#include "base/log.h"

static void on_audit(void *ctx, const char *policy, int rule, bool would_deny)
{
    struct conn *conn = ctx;
    struct stats *stats = &conn->env->stats;
    stats_add(would_deny ? &stats->audit_would_deny : &stats->audit_would_allow, 1);
    log_info("msg=audit id=%llu policy=%s rule=%d would=%s peer=%s", (unsigned long long)conn->id,
             policy, rule, would_deny ? "deny" : "allow",
             conn->peer != NULL ? conn->peer->text : "-");
}

static enum reason authorize_inbound(struct conn *conn, bool is_recheck)
{
    struct conn_env *env = conn->env;
    enum reason denied = is_recheck ? REASON_POLICY_REVOKED : REASON_POLICY_DENIED;
    struct policy_request request = {.source = conn->source.ip, .port = conn->port};
    if (conn->is_self_call) {
        request.peer = &env->snapshot->trust->self_id;
        request.source = conn->destination.ip;
    } else if (conn->peer != NULL) {
        request.peer = &conn->peer->id;
    }
    struct policy_decision decision =
        policy_decide(env->snapshot->policies, &request, is_recheck ? NULL : on_audit, conn);
    conn->policy = decision.policy;
    conn->rule = decision.rule;
    if (decision.verdict == POLICY_DENIED) {
        return denied;
    }
    // The port may be served in another way by now, since ROUTE too: DETECT takes its time.
    if (conn->is_plaintext &&
        route_inbound(env->snapshot->routes, conn->port).mode == INBOUND_MTLS) {
        return is_recheck ? denied : REASON_PLAINTEXT_ON_MTLS;
    }
    // A lower limit ends nobody who is there.
    if (conn->peer != NULL && !conn->has_entered) {
        conn->has_entered = peer_enter(conn->peer, env->limits.identity_connections);
        return conn->has_entered ? REASON_NONE : REASON_LIMIT_IDENTITY;
    }
    return REASON_NONE;
}

static enum reason authorize_outbound(struct conn *conn)
{
    struct route route = route_outbound(conn->env->snapshot->routes, &conn->destination);
    bool is_mtls = conn->peer != NULL;
    conn->policy = route.name;
    conn->rule = -1;
    if (route.mode == ROUTE_DENY) {
        return REASON_UNLISTED_DESTINATION;
    }
    if (is_mtls != (route.mode == ROUTE_MTLS)) {
        return REASON_POLICY_REVOKED; // it must be spoken otherwise now
    }
    return is_mtls && !route_expects(&route, &conn->peer->id) ? REASON_WRONG_IDENTITY : REASON_NONE;
}

enum reason authorize(struct conn *conn, bool is_recheck)
{
    if (conn->peer != NULL && conn->peer->failure != VERIFY_OK) {
        return reason_of_failure(conn->peer->failure);
    }
    if (conn->direction == DIRECTION_INBOUND || conn->is_self_call) {
        return authorize_inbound(conn, is_recheck);
    }
    return authorize_outbound(conn);
}
