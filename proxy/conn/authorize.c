// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/authorize.h"

#include <string.h>
#include <time.h>

#include "base/log.h"
#include "proxy/carry/tls.h"

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
    return REASON_NONE;
}

static bool is_expected(const struct route *route, const struct peer *peer)
{
    for (size_t i = 0; i < route->num_identities; i++) {
        if (spiffe_pattern_matches(&route->identities[i], &peer->id)) {
            return true;
        }
    }
    return false;
}

static bool is_expected_here(const struct conn *conn, const struct peer *peer)
{
    struct route route = route_outbound(conn->env->snapshot->routes, &conn->destination);
    return route.mode == ROUTE_MTLS && is_expected(&route, peer);
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
    return is_mtls && !is_expected(&route, conn->peer) ? REASON_WRONG_IDENTITY : REASON_NONE;
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

// A client asks here whether the server is one of the identities that its destination must prove,
// so that nobody else learns our certificate.
static bool on_verify(void *app, CRYPTO_BUFFER *const *chain, size_t num_certs, uint8_t *out_alert)
{
    struct conn *conn = app;
    struct conn_env *env = conn->env;
    struct err err = {0};
    bool is_cached;
    enum verify_failure failure =
        peers_verify(&env->peers, &conn->peer, &is_cached, chain, num_certs,
                     env->snapshot->trust->bundles, time(NULL), &err);
    if (failure == VERIFY_OK) {
        stats_add(is_cached ? &env->stats.chains_cached : &env->stats.chains_checked, 1);
        if (conn->direction == DIRECTION_INBOUND || is_expected_here(conn, conn->peer)) {
            return true;
        }
        conn->handshake_reason = REASON_WRONG_IDENTITY;
    } else {
        conn->handshake_reason = reason_of_failure(failure);
        conn->detail = strdup(err.text);
    }
    *out_alert = (uint8_t)reason_alert(conn->handshake_reason);
    return false;
}

static bool on_client_hello(void *app, bool has_mesh_alpn)
{
    struct conn *conn = app;
    if (conn_step(conn) != STEP_DETECT) {
        return true;
    }
    // Whose it is, is all that DETECT asks; ours goes on in HANDSHAKE, where it counts against the
    // limit, and is signed for.
    conn->is_hello_ours = has_mesh_alpn;
    return false;
}

static struct sign_place on_sign_place(void *app)
{
    struct conn *conn = app;
    return (struct sign_place){.signer = &conn->env->signer,
                               .job = &conn->sign,
                               .key_id = conn->handshake_snapshot->trust->key_id};
}

const struct tls_hooks *authorize_tls_hooks(void)
{
    static const struct tls_hooks hooks = {
        .on_verify = on_verify, .on_client_hello = on_client_hello, .sign_place = on_sign_place};
    return &hooks;
}
