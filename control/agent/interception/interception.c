// SPDX-License-Identifier: Apache-2.0
#include "control/agent/interception/interception.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/now.h"
#include "control/agent/interception/opens.h"

#define SETTLE_MS 500 // for an `up` or `down` that is under way

static const char hint[] = "tabardctl intercept up";

static void look(struct interception *in);

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void on_look(uv_timer_t *timer)
{
    look(timer->data);
}

// Has the next look begin after a while, or as soon as the last one is long enough ago.
static void look_in(struct interception *in, uint64_t ms)
{
    uint64_t now = uv_now(in->loop);
    uint64_t next = in->looked_ms + INTERCEPTION_APART_MS;
    next = next > in->settles_ms ? next : in->settles_ms;
    uint64_t apart = next > now ? next - now : 0;
    uint64_t wait = ms > apart ? ms : apart;
    bool is_sooner =
        !uv_is_active((uv_handle_t *)&in->timer) || uv_timer_get_due_in(&in->timer) > wait;
    if (!in->is_looking && !in->is_stopping && is_sooner) {
        uv_timer_start(&in->timer, on_look, wait, 0);
    }
}

static void notice(struct interception *in, bool of_routes)
{
    if (!in->is_due) {
        in->noticed_ms = uv_now(in->loop);
    }
    in->is_due = true;
    in->are_routes_due = in->are_routes_due || of_routes;
    look_in(in, 0);
}

static void begin_loss(struct interception *in, const struct upkeep_found *found)
{
    char quoted[2048];
    uint64_t passed_over = 0;
    uint64_t now = uv_now(in->loop);
    in->lost_since_ms = in->noticed_ms != 0 && in->noticed_ms < now ? in->noticed_ms : now;
    in->facts.num_losses++;
    in->facts.lost_unix_ms = now_unix_ms();
    if (log_allowed(&in->lost_log, now, INTERCEPTION_LOG_MS, &passed_over)) {
        log_error("msg=\"interception lost\" error=%s put_back=%s passed_over=%" PRIu64
                  " hint=\"the service's calls and callers pass by policy and in plaintext until "
                  "it is back\"",
                  log_quote(quoted, sizeof quoted, found->why.text),
                  !in->upkeep.may_change     ? "\"no: it needs CAP_NET_ADMIN\""
                  : in->upkeep.asked == NULL ? "\"no: tabardctl intercept up has left no record\""
                                             : "yes",
                  passed_over);
    }
}

static void end_loss(struct interception *in, const struct upkeep_found *found)
{
    char quoted[2048];
    uint64_t passed_over = 0;
    uint64_t now = uv_now(in->loop);
    uint64_t opens = opens_count();
    uint64_t opened = opens > in->opens_before ? opens - in->opens_before : 0;
    in->facts.lost_ms += now - in->lost_since_ms;
    in->facts.num_opened += opened;
    in->facts.num_passed += found->num_passed;
    in->facts.num_put_back += found->is_put_back;
    if (log_allowed(&in->back_log, now, INTERCEPTION_LOG_MS, &passed_over)) {
        log_warn("msg=\"interception is back\" put_back=%s lost_ms=%" PRIu64
                 " passed_by_min=%zu passed_by_max=%" PRIu64 " passed_over=%" PRIu64,
                 found->is_put_back ? "yes" : "no", now - in->lost_since_ms, found->num_passed,
                 opened, passed_over);
        if (found->goes_on.text[0] != '\0') {
            log_error("msg=\"what passed may go on\" error=%s",
                      log_quote(quoted, sizeof quoted, found->goes_on.text));
        }
    }
}

// Logs and counts what became of it. A loss that one look found and mended is one too.
static void take_state(struct interception *in, const struct upkeep_found *found)
{
    static const enum interception_state states[] = {
        [UPKEEP_UNSEEN] = INTERCEPTION_UNSEEN,
        [UPKEEP_HOLDS] = INTERCEPTION_HOLDS,
        [UPKEEP_TAKEN_DOWN] = INTERCEPTION_TAKEN_DOWN,
        [UPKEEP_LOST] = INTERCEPTION_LOST,
    };
    enum interception_state before = in->state;
    enum interception_state state = states[found->state];
    if (found->was_lost && before != INTERCEPTION_LOST) {
        begin_loss(in, found);
    }
    if (state != INTERCEPTION_LOST && (found->was_lost || before == INTERCEPTION_LOST)) {
        end_loss(in, found);
    } else if (state == INTERCEPTION_HOLDS && before != state) {
        log_info("msg=\"interception holds\" outbound_port=%u inbound_port=%u", in->outbound_port,
                 in->inbound_port);
    } else if (state == INTERCEPTION_UNSEEN && in->is_first) {
        log_info("msg=\"interception is not up yet\" hint=\"%s\"", hint);
    } else if (state == INTERCEPTION_TAKEN_DOWN && before != state) {
        log_warn("msg=\"interception was taken down by tabardctl\" hint=\"%s\"", hint);
    }
    in->puts_back = found->puts_back;
    in->state = state;
    in->why = found->why;
    in->is_first = false;
    if (state == INTERCEPTION_HOLDS) {
        in->opens_before = opens_count();
    }
}

// When what was put back and was lost again may be put back once more.
static void take_try(struct interception *in, const struct upkeep_found *found)
{
    uint64_t now = uv_now(in->loop);
    if (!found->was_lost) {
        return;
    }
    if (now - in->lost_last_ms > INTERCEPTION_CALM_MS) {
        in->num_tries = 0;
    }
    in->lost_last_ms = now;
    if (in->can_put_back) {
        uint64_t wait = (uint64_t)INTERCEPTION_PUT_BACK_MS << in->num_tries;
        in->num_tries += wait < INTERCEPTION_PUT_BACK_MS_MAX;
        in->put_back_at_ms = now + at_most(wait, INTERCEPTION_PUT_BACK_MS_MAX);
    }
}

// Forgets what is known, for other ports than before.
static void begin_anew(struct interception *in)
{
    in->is_renewed = false;
    upkeep_cleanup(&in->upkeep);
    in->state = in->outbound_port == 0 ? INTERCEPTION_OFF : INTERCEPTION_UNSEEN;
    in->why = (struct err){{0}, {0}};
    if (in->outbound_port != 0) {
        upkeep_init(&in->upkeep, in->outbound_port, in->inbound_port);
        in->opens_before = opens_count();
        in->is_first = true;
        notice(in, true);
    }
}

static void on_looked(uv_work_t *work, int status)
{
    struct interception *in = work->data;
    in->is_looking = false;
    if (in->is_stopping) {
        return;
    }
    if (in->is_renewed) {
        begin_anew(in);
        return;
    }
    uv_update_time(in->loop);
    if (status != 0 || in->found.is_unsettled) {
        in->settles_ms = uv_now(in->loop) + SETTLE_MS;
        notice(in, true);
        return;
    }
    take_try(in, &in->found);
    take_state(in, &in->found);
    if (in->is_due) {
        look_in(in, 0);
    } else if (in->state == INTERCEPTION_LOST) {
        uint64_t now = uv_now(in->loop);
        look_in(in, in->put_back_at_ms > now ? in->put_back_at_ms - now : INTERCEPTION_TICK_MS);
    }
}

static void do_look(uv_work_t *work)
{
    struct interception *in = work->data;
    upkeep_look(&in->upkeep, in->looks_at_routes, in->can_put_back, &in->found);
}

static void look(struct interception *in)
{
    uint64_t now = uv_now(in->loop);
    if (in->is_looking || in->is_stopping || in->outbound_port == 0) {
        return;
    }
    bool is_mending = in->state == INTERCEPTION_LOST && in->upkeep.may_change;
    in->looks_at_routes = in->are_routes_due || is_mending;
    in->can_put_back = now >= in->put_back_at_ms;
    in->is_due = in->are_routes_due = false;
    in->looked_ms = now;
    in->is_looking = uv_queue_work(in->loop, &in->work, do_look, on_looked) == 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct interception *in = timer->data;
    if (in->state == INTERCEPTION_HOLDS) {
        in->opens_before = opens_count();
    }
    bool hears = in->upkeep.may_change && in->is_polled[CHANGES_OF_RULES] &&
                 uv_is_active((uv_handle_t *)&in->polls[CHANGES_OF_RULES]);
    if (!hears || (in->state == INTERCEPTION_HOLDS && upkeep_is_suspect())) {
        look_in(in, 0);
    }
}

static void on_change(uv_poll_t *poll, int status, int events)
{
    struct interception *in = poll->data;
    int which = poll == &in->polls[CHANGES_OF_RULES] ? CHANGES_OF_RULES : CHANGES_OF_ROUTES;
    (void)events;
    int found = changes_read(&in->changes, which);
    if (status != 0) {
        // The kernel had no room for a notice, which is an error of the socket's, and libuv stops
        // to poll a socket with an error.
        found = CHANGES_RULES | CHANGES_ROUTES;
        uv_poll_start(poll, UV_READABLE, on_change);
    }
    if (found != 0) {
        notice(in, found & CHANGES_ROUTES);
    }
}

// Begins to hear of changes, once and for all.
static void begin_listening(struct interception *in)
{
    changes_open(&in->changes);
    for (int i = 0; i < CHANGES_NUM; i++) {
        int fd = changes_fd(&in->changes, i);
        if (fd >= 0 && uv_poll_init(in->loop, &in->polls[i], fd) == 0) {
            in->is_polled[i] = true;
            in->polls[i].data = in;
            uv_poll_start(&in->polls[i], UV_READABLE, on_change);
        }
    }
    uv_timer_start(&in->tick, on_tick, INTERCEPTION_TICK_MS, INTERCEPTION_TICK_MS);
    in->listens = true;
}

void interception_start(struct interception *in, uv_loop_t *loop)
{
    *in = (struct interception){.loop = loop};
    uv_timer_init(loop, &in->timer);
    uv_timer_init(loop, &in->tick);
    in->timer.data = in->tick.data = in->work.data = in;
}

void interception_want(struct interception *in, uint16_t outbound_port, uint16_t inbound_port)
{
    if (in->outbound_port == outbound_port && in->inbound_port == inbound_port) {
        return;
    }
    in->outbound_port = outbound_port;
    in->inbound_port = inbound_port;
    if (!in->listens) {
        begin_listening(in);
    }
    in->is_renewed = in->is_looking;
    if (!in->is_looking) {
        begin_anew(in);
    }
}

struct interception_facts interception_show(const struct interception *in)
{
    struct interception_facts facts = in->facts;
    facts.state = in->state;
    bool holds = in->state == INTERCEPTION_HOLDS || in->state == INTERCEPTION_OFF;
    facts.why = holds ? "" : in->why.text;
    facts.puts_back = in->puts_back;
    if (in->state == INTERCEPTION_LOST) {
        uint64_t opens = opens_count();
        facts.lost_ms += uv_now(in->loop) - in->lost_since_ms;
        facts.num_opened += opens > in->opens_before ? opens - in->opens_before : 0;
    }
    return facts;
}

void interception_not_ready_because(const struct interception *in, char *buf, size_t buf_len)
{
    buf[0] = '\0';
    if (in->state == INTERCEPTION_LOST) {
        snprintf(buf, buf_len, "interception is lost, and the service's traffic passes by: %s",
                 in->why.text);
    } else if (in->state == INTERCEPTION_TAKEN_DOWN) {
        snprintf(buf, buf_len, "interception was taken down by tabardctl intercept down");
    }
}

const char *interception_state_text(enum interception_state state)
{
    static const char *const texts[] = {
        [INTERCEPTION_OFF] = "off",     [INTERCEPTION_UNSEEN] = "not up yet",
        [INTERCEPTION_HOLDS] = "holds", [INTERCEPTION_TAKEN_DOWN] = "taken down",
        [INTERCEPTION_LOST] = "lost",
    };
    return texts[state];
}

void interception_stop(struct interception *in)
{
    if (in->loop == NULL || in->is_stopping) {
        return;
    }
    in->is_stopping = true;
    for (int i = 0; i < CHANGES_NUM; i++) {
        if (in->is_polled[i]) {
            uv_close((uv_handle_t *)&in->polls[i], NULL);
        }
    }
    uv_close((uv_handle_t *)&in->timer, NULL);
    uv_close((uv_handle_t *)&in->tick, NULL);
}

void interception_cleanup(struct interception *in)
{
    changes_close(&in->changes);
    upkeep_cleanup(&in->upkeep);
}
