// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/authorize.h"

#include "base/log.h"
#include "base/now.h"

// Enters a connection in the table of what would be denied.
static void note(struct conn *conn, const char *reason, const char *policy, int rule)
{
    struct conn_env *env = conn->env;
    bool is_inbound = conn->direction == DIRECTION_INBOUND || conn->is_self_call;
    const struct denial_facts facts = {
        .direction = is_inbound ? DIRECTION_INBOUND : DIRECTION_OUTBOUND,
        .reason = reason,
        .peer = conn->peer != NULL   ? conn->peer->text
                : conn->is_self_call ? env->snapshot->trust->self.id
                                     : NULL,
        .source = conn->source.ip,
        .destination = is_inbound ? (struct addr){.port = conn->port} : conn->destination,
        .policy = policy,
        .rule = rule,
        .generation = env->snapshot->generation,
    };
    denials_note(&env->denials, &facts, now_unix_ms());
    stats_set(&env->stats.denials_dropped, env->denials.num_dropped);
}

static void on_audit(void *ctx, const char *policy, int rule, bool would_deny)
{
    struct conn *conn = ctx;
    struct stats *stats = &conn->env->stats;
    stats_add(would_deny ? &stats->audit_would_deny : &stats->audit_would_allow, 1);
    log_info("msg=audit id=%llu policy=%s rule=%d would=%s peer=%s", (unsigned long long)conn->id,
             policy, rule, would_deny ? "deny" : "allow",
             conn->peer != NULL ? conn->peer->text : "-");
    if (would_deny) {
        note(conn, "audit_policy", policy, rule);
    }
}

static _Atomic uint64_t *would_deny_figure(struct stats *stats, enum reason reason)
{
    return reason == REASON_POLICY_DENIED       ? &stats->would_deny_policy
           : reason == REASON_PLAINTEXT_ON_MTLS ? &stats->would_deny_plaintext
                                                : &stats->would_deny_unlisted;
}

// Returns what becomes of a connection that policy denies for this reason: it ends, or it is served
// and counted where enforcement is OBSERVE. REASON_NONE: policy doesn't deny it.
static enum reason deny(struct conn *conn, enum reason reason, bool is_recheck)
{
    enum reason before = conn->would;
    conn->would = REASON_NONE;
    if (reason == REASON_NONE) {
        return REASON_NONE;
    }
    if (!route_is_observing(conn->env->snapshot->routes)) {
        return is_recheck ? REASON_POLICY_REVOKED : reason;
    }
    conn->would = reason;
    if (before == REASON_NONE) { // it is counted once, also where a later policy denies it anew
        bool is_policy_s = reason == REASON_POLICY_DENIED;
        stats_add(would_deny_figure(&conn->env->stats, reason), 1);
        note(conn, reason_text(reason), is_policy_s ? conn->policy : "",
             is_policy_s ? conn->rule : -1);
    }
    return REASON_NONE;
}

static enum reason authorize_inbound(struct conn *conn, bool is_recheck)
{
    struct conn_env *env = conn->env;
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
    enum reason reason = decision.verdict == POLICY_DENIED ? REASON_POLICY_DENIED : REASON_NONE;
    if (conn->is_plaintext) {
        // The port may be served in another way by now, since ROUTE too: DETECT takes its time.
        struct inbound inbound = route_inbound(env->snapshot->routes, conn->port);
        if (inbound.mode == INBOUND_MTLS) {
            return is_recheck ? REASON_POLICY_REVOKED : REASON_PLAINTEXT_ON_MTLS;
        }
        reason = inbound.is_observed ? REASON_PLAINTEXT_ON_MTLS : reason;
    }
    reason = deny(conn, reason, is_recheck);
    if (reason != REASON_NONE) {
        return reason;
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
    // Its destination is not listed any more: what was agreed with the server by mutual TLS stays.
    if (!route.is_observed && is_mtls != (route.mode == ROUTE_MTLS)) {
        return REASON_POLICY_REVOKED; // it must be spoken otherwise now
    }
    if (route.mode == ROUTE_MTLS && !route_expects(&route, &conn->peer->id)) {
        return REASON_WRONG_IDENTITY;
    }
    return deny(conn, route.is_observed ? REASON_UNLISTED_DESTINATION : REASON_NONE, false);
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
