// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/closing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "proxy/conn/queue.h"
#include "proxy/conn/steps.h"
#include "proxy/carry/tls.h"

enum {
    // Lines of one reason at once, and then in a second, of ends that a stranger can bring.
    LINES_BURST = 50,
    LINES_PER_SECOND = 1,
};

// Says whether strangers can bring as many of these ends as they like: the peer has proved no
// identity, and policy has not let it in.
static bool is_stranger_s(const struct conn *conn)
{
    return conn->direction == DIRECTION_INBOUND && conn->peer == NULL && !conn->is_authorized;
}

// Says whether to log this end. Of those that a flood brings some are, with how many of the same
// reason were not; the metrics count each.
static bool is_logged(struct conn *conn, uint64_t *out_num_passed_over)
{
    struct thinned *thinned = &conn->env->thinned[conn->reason];
    *out_num_passed_over = 0;
    if (!is_stranger_s(conn) && !reason_is_logged_seldom(conn->reason)) {
        return true;
    }
    if (thinned->lines.drops_max == 0) {
        thinned->lines = bucket_full(LINES_BURST, LINES_PER_SECOND);
    }
    if (!bucket_take(&thinned->lines, conn_now_ms(conn))) {
        thinned->num_passed_over++;
        return false;
    }
    *out_num_passed_over = thinned->num_passed_over;
    thinned->num_passed_over = 0;
    return true;
}

// The peer as the log names it: proved, or only claimed by a certificate that is valid and to which
// no key has been proved yet (RFC 8446, section 4.4.3).
static const char *peer_text(const struct conn *conn, char *buf, size_t buf_len)
{
    if (conn->peer != NULL) {
        return conn->peer->text;
    }
    const char *claimed = handshake_claimed(&conn->handshake);
    if (claimed == NULL) {
        return "-";
    }
    snprintf(buf, buf_len, "- claimed=%s", claimed);
    return buf;
}

static void log_end(struct conn *conn, enum step ended_in)
{
    uint64_t num_passed_over;
    if (!is_logged(conn, &num_passed_over)) {
        return;
    }
    char src[ADDR_TEXT_MAX];
    char dst[ADDR_TEXT_MAX];
    char rule[160] = "-";
    char peer[SPIFFE_ID_LEN_MAX + 32];
    char detail[608] = "";
    char quoted[480];
    if (conn->policy != NULL && conn->policy[0] != '\0') {
        int len = snprintf(rule, sizeof rule, "%s", conn->policy);
        if (conn->rule >= 0 && len > 0 && (size_t)len < sizeof rule) {
            snprintf(rule + len, sizeof rule - (size_t)len, "#%d", conn->rule);
        }
    }
    const char *group = tls_group(conn->mesh);
    if (group != NULL) {
        snprintf(detail, sizeof detail, " group=%s", group);
    }
    if (conn->detail != NULL) {
        size_t len = strlen(detail);
        snprintf(detail + len, sizeof detail - len, " detail=%s",
                 log_quote(quoted, sizeof quoted, conn->detail));
    }
    if (conn->would != REASON_NONE) {
        size_t len = strlen(detail);
        snprintf(detail + len, sizeof detail - len, " would=%s", reason_text(conn->would));
    }
    if (num_passed_over > 0) {
        size_t len = strlen(detail);
        snprintf(detail + len, sizeof detail - len, " not_logged=%llu",
                 (unsigned long long)num_passed_over);
    }
    log_info("msg=conn id=%llu dir=%s src=%s dst=%s peer=%s rule=%s generation=%llu up=%llu "
             "down=%llu ms=%llu reason=%s while=%s%s",
             (unsigned long long)conn->id, direction_text(conn->direction),
             addr_text(&conn->source, src), addr_text(&conn->destination, dst),
             peer_text(conn, peer, sizeof peer), rule,
             (unsigned long long)conn->env->snapshot->generation,
             (unsigned long long)conn->up.num_bytes, (unsigned long long)conn->down.num_bytes,
             (unsigned long long)(conn_now_ms(conn) - conn->opened_ms), reason_text(conn->reason),
             step_text(ended_in), detail);
}

// Gives back what only a living connection holds.
static void release_facts(struct conn *conn)
{
    struct conn_env *env = conn->env;
    handshake_over(&conn->handshake);
    if (conn->has_entered) {
        peer_leave(conn->peer);
        conn->has_entered = false;
    }
    peer_unref(&env->peers, conn->peer);
    conn->peer = NULL;
    conn->policy = NULL;
}

// Says whether a caller's handshake ends before TLS has said anything, an alert of its own
// included.
static bool has_said_nothing(const struct conn *conn)
{
    const struct handshake *handshake = &conn->handshake;
    return handshake->is_server && handshake->ticket.state != TICKET_IN_FLIGHT &&
           (handshake->reason == REASON_NONE || handshake_refusal(handshake) != REASON_NONE);
}

void conn_end(struct conn *conn, enum reason reason, const char *detail)
{
    if (conn->reason != REASON_NONE) {
        return;
    }
    enum step ended_in = conn_step(conn);
    bool is_unheard = has_said_nothing(conn);
    struct stats *stats = &conn->env->stats;
    conn->reason = reason;
    conn->step_ms = conn_now_ms(conn);
    conn->is_step_begun = false;
    conn->detail = detail == NULL ? NULL : must_strdup(detail);
    stats_add(&stats->closed[conn->direction][reason], 1);
    stats_add(&stats->open[conn->direction], (uint64_t)-1);
    log_end(conn, ended_in);
    release_facts(conn);
    if (reason != REASON_FINISHED && conn->plain->is_open) {
        side_close(conn->plain, true); // the service learns at once, and never by a quiet end
    }
    if (is_unheard) {
        tls_stop(conn->mesh); // no alert waits for a stranger's end
    }
    if (reason != REASON_FINISHED && conn->mesh->ssl != NULL) {
        conn->mesh->wants_finish = tls_alert(conn->mesh, reason_alert(reason));
    }
    if (!conn->is_advancing) { // else the step that ended it says STEP_ENDED
        conn_advance(conn);
    }
}

static void conn_free(struct conn *conn)
{
    struct conn_env *env = conn->env;
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        env->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    list_remove(&conn->ready);
    env->num_conns--;
    env->num_open[conn->direction]--;
    stats_set(&env->stats.buffer_bytes,
              pool_bytes_lent(&env->pool)); // a deadline ends without an advance
    free(conn->detail);
    free(conn);
    queue_wake(env); // its place may be all that somebody waits for
    env->on_conn_gone(env->ctx);
}

void closing_on_handle_closed(void *owner)
{
    struct conn *conn = owner;
    if (--conn->handles_open == 0) {
        conn_free(conn);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    closing_on_handle_closed(handle->data);
}

void closing_now(struct conn *conn)
{
    bool is_failure = conn->reason != REASON_FINISHED;
    if (conn->mesh->is_open) {
        // After an alert the peer gets a FIN: a reset could overtake it. Without one it gets a
        // reset, for a FIN alone is a clean end to those who don't ask for a close_notify.
        bool is_told = conn->mesh->has_alert && conn->mesh->is_finished;
        tls_stop(conn->mesh);
        side_close(conn->mesh, is_failure && !is_told);
    }
    if (conn->plain->is_open) {
        side_close(conn->plain, is_failure);
    }
    if (!uv_is_closing((const uv_handle_t *)&conn->timer)) {
        uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
    }
}

// An alert may still be on its way to the peer: this flushes it and waits for the peer's own end.
// Everything else is over. A peer that has more than its share of the connections must not hold
// another one by not ending it: what it still sends is answered by a reset, after the alert.
enum step_result step_closing(struct conn *conn)
{
    struct side *mesh = conn->mesh;
    if (conn->reason != REASON_FINISHED && mesh->is_open && mesh->has_alert) {
        ring_pull(&mesh->in, mesh->in.len);
        side_settle(mesh, &mesh->in);
        side_flush(mesh);
        bool is_awaited = !mesh->is_eof && conn->reason != REASON_LIMIT_IDENTITY;
        if (mesh->error == 0 && (!mesh->is_finished || is_awaited)) {
            return STEP_WAIT;
        }
    }
    closing_now(conn);
    return STEP_WAIT;
}
