// SPDX-License-Identifier: Apache-2.0
#include "control/agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "control/agent/drain.h"
#include "control/agent/feed.h"
#include "control/agent/interception/interception.h"
#include "control/agent/operator/admin.h"
#include "control/agent/probes/probes.h"
#include "control/agent/proxy/keyring.h"
#include "control/host/listen.h"
#include "control/host/reaper.h"
#include "control/agent/snapshot/rollout.h"
#include "control/agent/proxy/supervise.h"

#define TICK_MS       1000
#define STANDSTILL_MS 5000 // between two ticks: no load delays one so long

// The right to intercept on two ports (listen_netns_lock).
struct netns_lock {
    int fd; // -1: none
    uint16_t outbound_port;
    uint16_t inbound_port;
};

struct agent {
    const struct bootstrap *bootstrap;   // borrowed
    const struct sandbox_facts *sandbox; // borrowed: the agent's own
    uv_loop_t loop;
    struct keyring *keyring; // owned
    struct rollout rollout;
    struct supervise supervise;
    struct admin admin;
    struct probes *probes; // owned; NULL: none
    struct feed feed;
    struct interception interception;
    struct netns_lock lock;      // of the snapshot in force
    struct netns_lock lock_next; // of the one that is being tried
    struct drain drain;
    uv_signal_t reload;
    struct reaper reaper;
    uv_timer_t tick;
    uv_timer_t stop;    // ends the agent from outside of whatever callback found the cause
    uint64_t ticked_ms; // when the last tick was
    uint64_t stood_ms;  // for how long the agent stood still in all
    int exit_status;
    bool is_stopping;
};

// The time that the agent lived through, and the date.
static struct now time_now(const struct agent *agent)
{
    return now_read(uv_now(&agent->loop) - agent->stood_ms);
}

// Notices that the agent stood still (SIGSTOP, a freezer): that time is held against nobody, and
// what came meanwhile is read before anyone is judged.
static void notice_standstill(struct agent *agent)
{
    uint64_t gap_ms = uv_now(&agent->loop) - agent->ticked_ms;
    agent->ticked_ms = uv_now(&agent->loop);
    if (gap_ms > STANDSTILL_MS) {
        agent->stood_ms += gap_ms - TICK_MS;
        log_warn("msg=\"the agent stood still\" ms=%llu", (unsigned long long)gap_ms);
    }
}

// Closes everything; the loop then runs out.
static void on_stop(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    if (agent->is_stopping) {
        return;
    }
    agent->is_stopping = true;
    feed_close(&agent->feed);
    interception_stop(&agent->interception);
    supervise_stop(&agent->supervise);
    probes_free(agent->probes); // which answers requests of the admin
    agent->probes = NULL;
    admin_stop(&agent->admin);
    drain_stop(&agent->drain);
    uv_close((uv_handle_t *)&agent->reload, NULL);
    reaper_stop(&agent->reaper);
    uv_close((uv_handle_t *)&agent->tick, NULL);
    uv_close((uv_handle_t *)&agent->stop, NULL);
}

static void stop_soon(struct agent *agent, int exit_status)
{
    if (!agent->is_stopping) {
        agent->exit_status = exit_status;
        uv_timer_start(&agent->stop, on_stop, 0, 0);
    }
}

static void lock_release(struct netns_lock *lock)
{
    if (lock->fd >= 0) {
        close(lock->fd);
    }
    *lock = (struct netns_lock){.fd = -1};
}

// Takes the lock of the ports on which the assembly intercepts, unless it is held already.
static bool on_claim(void *ctx, const struct assembly *assembly, struct err *err)
{
    struct agent *agent = ctx;
    lock_release(&agent->lock_next);
    bool is_held = agent->lock.outbound_port == assembly->outbound_port &&
                   agent->lock.inbound_port == assembly->inbound_port;
    if (assembly->inbound_port == 0 || is_held) {
        return true;
    }
    int fd = listen_netns_lock(assembly->outbound_port, assembly->inbound_port, err);
    if (fd < 0) {
        if (!agent->rollout.in_force.is_set) {
            // Nothing is served yet: what fails is the start of a second agent, not an update.
            stop_soon(agent, 1);
        }
        return false;
    }
    agent->lock_next = (struct netns_lock){
        .fd = fd, .outbound_port = assembly->outbound_port, .inbound_port = assembly->inbound_port};
    return true;
}

static bool on_send(void *ctx, const Tabard__V1__Snapshot *snapshot, struct err *err)
{
    struct agent *agent = ctx;
    if (agent->supervise.link == NULL) {
        return err_set(err, "the proxy is not running");
    }
    return proxy_link_send_snapshot(agent->supervise.link, snapshot, err);
}

// Keeps the lock of the snapshot in force and lets the others go; its ports are those to which the
// rules must lead.
static void settle_lock(struct agent *agent)
{
    const struct assembly *what = &agent->rollout.in_force.what;
    if (!agent->rollout.is_applied || agent->rollout.sent.is_set) {
        return;
    }
    if (agent->lock_next.fd >= 0 && agent->lock_next.inbound_port == what->inbound_port &&
        agent->lock_next.outbound_port == what->outbound_port) {
        lock_release(&agent->lock);
        agent->lock = agent->lock_next;
        agent->lock_next.fd = -1;
    } else if (what->inbound_port == 0) {
        lock_release(&agent->lock);
    }
    lock_release(&agent->lock_next);
    interception_want(&agent->interception, what->outbound_port, what->inbound_port);
}

static bool on_snapshot_result(void *ctx, uint64_t generation, const char *error)
{
    struct agent *agent = ctx;
    bool ok = rollout_answer(&agent->rollout, generation, error, time_now(agent));
    settle_lock(agent);
    return ok;
}

static void on_up(void *ctx)
{
    struct agent *agent = ctx;
    rollout_proxy_up(&agent->rollout, time_now(agent));
}

static void on_down(void *ctx)
{
    struct agent *agent = ctx;
    rollout_proxy_down(&agent->rollout, time_now(agent));
}

static void on_drained(void *ctx, bool clean)
{
    stop_soon(ctx, clean ? 0 : 1);
}

static void on_failed(void *ctx, const char *text)
{
    struct agent *agent = ctx;
    rollout_source_failed(&agent->rollout, text, time_now(agent));
}

static void on_settled(void *ctx, size_t source, uint64_t ticket, const char *error)
{
    struct agent *agent = ctx;
    feed_settled(&agent->feed, source, ticket, error);
}

static const struct assembly *on_in_force(void *ctx)
{
    struct agent *agent = ctx;
    return agent->rollout.in_force.is_set ? &agent->rollout.in_force.what : NULL;
}

static void on_offer(void *ctx, struct assembly *assembly)
{
    struct agent *agent = ctx;
    rollout_offer(&agent->rollout, assembly, time_now(agent));
}

// Says why the sidecar must get no traffic, by the most telling cause; empty: it may.
static void not_ready_because(const struct agent *agent, char *buf, size_t buf_len)
{
    const struct rollout *rollout = &agent->rollout;
    struct source_facts facts = {0};
    const char *source = feed_facts(&agent->feed, &facts);
    bool has_nothing = !rollout->in_force.is_set && rollout->last_error[0] == '\0';
    bool is_down = !rollout->is_applied && !rollout->is_draining;
    if (drain_is_announced(&agent->drain)) {
        snprintf(buf, buf_len, "draining");
    } else if (rollout_not_ready_because(rollout, time_now(agent), buf, buf_len) == NULL) {
        interception_not_ready_because(&agent->interception, buf, buf_len);
    } else if (source != NULL && has_nothing && facts.last_error[0] != '\0') {
        snprintf(buf, buf_len, "no configuration is in force yet: the %s at %s: %s", source,
                 facts.address, facts.last_error);
    } else if (is_down && agent->supervise.num_early_ends >= SUPERVISE_EARLY_ENDS_MAX) {
        snprintf(buf, buf_len, "the proxy keeps ending right after its start: %s",
                 agent->supervise.last_end);
    } else if (!agent->supervise.is_up && !rollout->is_draining &&
               agent->supervise.last_end[0] != '\0') {
        snprintf(buf, buf_len, "the proxy is not running: %s", agent->supervise.last_end);
    }
    uint32_t silent_s = supervise_silent(&agent->supervise);
    if (silent_s > 0 && !rollout->is_draining) {
        snprintf(buf, buf_len, "the proxy has not answered for %u s", silent_s);
    }
}

static void on_fill(void *ctx, struct report_facts *out)
{
    struct agent *agent = ctx;
    const struct rollout *rollout = &agent->rollout;
    const struct assembly *what = &rollout->in_force.what;
    *out = (struct report_facts){.program = agent->bootstrap->program,
                                 .generation = rollout_generation(rollout),
                                 .applied_unix_ms = rollout->applied_unix_ms,
                                 .is_observing = what->is_observing,
                                 .enforcement_by = what->enforcement_by,
                                 .key_exchange_by = what->key_exchange_by,
                                 .snapshot = rollout->in_force.is_set ? what->snapshot : NULL,
                                 .spiffe_id = what->spiffe_id,
                                 .not_after_unix = what->not_after,
                                 .crls = what->crls,
                                 .num_crls = what->num_crls,
                                 .last_error = rollout->last_error,
                                 .last_error_unix_ms = rollout->last_error_unix_ms,
                                 .proxy_pid = (uint32_t)supervise_pid(&agent->supervise),
                                 .is_proxy_up = agent->supervise.is_up &&
                                                supervise_silent(&agent->supervise) == 0,
                                 .proxy_restarts = agent->supervise.num_restarts,
                                 .num_violations = agent->supervise.num_violations,
                                 .agent_sandbox = agent->sandbox,
                                 .proxy_sandbox = &agent->supervise.sandbox,
                                 .num_rejected = rollout->num_rejected,
                                 .num_source_errors = rollout->num_source_errors,
                                 .num_files_held = feed_num_files_held(&agent->feed),
                                 .num_log_lines_dropped = log_num_dropped(),
                                 .interception = interception_show(&agent->interception)};
    not_ready_because(agent, out->not_ready_because, sizeof out->not_ready_because);
    feed_facts(&agent->feed, &out->policy_agent);
    for (int i = 0; i < 2 && agent->probes != NULL; i++) {
        out->num_probes[i] = probes_num(agent->probes, i == 1);
    }
    for (int i = 0; i < KEYRING_NUM_RESULTS; i++) {
        out->signatures[i] = keyring_count(agent->keyring, (enum keyring_result)i);
    }
}

static bool on_inspect(void *ctx, const Tabard__V1__Inspect *wanted,
                       proxy_link_on_inspected *on_inspected, void *inspected_ctx)
{
    struct agent *agent = ctx;
    return agent->supervise.link != NULL &&
           proxy_link_inspect(agent->supervise.link, wanted, on_inspected, inspected_ctx, NULL);
}

static bool on_probe(void *ctx, const char *page, const struct ip *ip, admin_on_probed *on_probed,
                     void *probed_ctx)
{
    struct agent *agent = ctx;
    return agent->probes != NULL && probes_ask(agent->probes, page, ip, on_probed, probed_ctx);
}

static void on_tick(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    now_log_set();
    notice_standstill(agent);
    supervise_tick(&agent->supervise);
    if (!rollout_tick(&agent->rollout, time_now(agent))) {
        supervise_kill(&agent->supervise, "it has not answered a snapshot in time");
    }
}

static void on_drain_announced(void *ctx, struct drain_times *out)
{
    struct agent *agent = ctx;
    const struct assembly *what = &agent->rollout.in_force.what;
    if (agent->rollout.in_force.is_set) {
        *out = (struct drain_times){what->drain_seconds, what->drain_delay_seconds};
    }
    admin_tell(&agent->admin, NOTIFY_STOPPING);
}

// Until the drain begins, callers still come in, and so must whatever turns them away.
static void on_drain_begin(void *ctx, uint32_t seconds)
{
    struct agent *agent = ctx;
    feed_close(&agent->feed);
    rollout_drain(&agent->rollout);
    supervise_drain(&agent->supervise, seconds);
}

static void on_drain_cut(void *ctx)
{
    stop_soon(ctx, 1);
}

static void on_reload_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct agent *agent = handle->data;
    if (!drain_has_begun(&agent->drain)) {
        log_info("msg=reloading");
        admin_tell(&agent->admin, NOTIFY_RELOADING);
        feed_reload(&agent->feed);
    }
}

static pid_t own_child(void *ctx)
{
    const struct agent *agent = ctx;
    return supervise_pid(&agent->supervise);
}

static void init_handles(struct agent *agent)
{
    drain_init(&agent->drain, &agent->loop,
               &(struct drain_hooks){.ctx = agent,
                                     .announced = on_drain_announced,
                                     .begin = on_drain_begin,
                                     .cut = on_drain_cut});
    uv_signal_init(&agent->loop, &agent->reload);
    agent->reload.data = agent;
    uv_signal_start(&agent->reload, on_reload_signal, SIGHUP);
    reaper_start(&agent->reaper, &agent->loop, own_child, agent);
    interception_start(&agent->interception, &agent->loop);
    uv_timer_init(&agent->loop, &agent->tick);
    uv_timer_init(&agent->loop, &agent->stop);
    agent->tick.data = agent->stop.data = agent;
    uv_timer_start(&agent->tick, on_tick, TICK_MS, TICK_MS);
    agent->ticked_ms = uv_now(&agent->loop);
}

// Starts the parts in the order in which they can fail: an occupied port shows before a proxy runs.
static bool start(struct agent *agent, struct err *err)
{
    const struct bootstrap *bootstrap = agent->bootstrap;
    agent->keyring = keyring_new();
    rollout_init(&agent->rollout, agent->keyring,
                 &(struct rollout_hooks){
                     .ctx = agent, .send = on_send, .claim = on_claim, .settled = on_settled});
    if (bootstrap->probes_path != NULL) {
        agent->probes = probes_load(&agent->loop, bootstrap->probes_path, err);
        if (agent->probes == NULL) {
            return err_prefix(err, "--probes");
        }
    }
    struct admin_spec admin = {.metrics = bootstrap->metrics,
                               .health = bootstrap->health,
                               .admin_path = bootstrap->admin_path,
                               .probe_seconds = probes_timeout_max(agent->probes),
                               .num_probes = probes_num_pages(agent->probes)};
    if (!admin_start(&agent->admin, &agent->loop, &admin,
                     &(struct admin_hooks){
                         .ctx = agent, .fill = on_fill, .inspect = on_inspect, .probe = on_probe},
                     err)) {
        return false;
    }
    struct supervise_spec spec = {.proxy_path = bootstrap->proxy_path,
                                  .log_level = bootstrap->log_level_text,
                                  .num_workers = bootstrap->num_workers,
                                  .uid = bootstrap->proxy_uid,
                                  .has_caller_addresses = bootstrap->has_caller_addresses,
                                  .sandbox = bootstrap->sandbox};
    struct supervise_hooks hooks = {.ctx = agent,
                                    .on_up = on_up,
                                    .on_down = on_down,
                                    .on_drained = on_drained,
                                    .on_snapshot_result = on_snapshot_result};
    if (!supervise_start(&agent->supervise, &agent->loop, &spec, agent->keyring, &hooks, err)) {
        return err_prefix(err, "the proxy");
    }
    feed_start(&agent->feed, &agent->loop, bootstrap->config_path,
               &(struct feed_hooks){
                   .ctx = agent, .offer = on_offer, .in_force = on_in_force, .failed = on_failed});
    return true;
}

int agent_run(const struct bootstrap *bootstrap, const struct sandbox_facts *sandbox)
{
    struct err err = {{0}, {0}};
    struct agent *agent = must_alloc(1, sizeof *agent);
    int rc = uv_loop_init(&agent->loop);
    if (rc != 0) {
        log_error("msg=\"start failed\" error=\"%s\"", uv_strerror(rc));
        free(agent);
        return 1;
    }
    agent->bootstrap = bootstrap;
    agent->sandbox = sandbox;
    agent->lock.fd = agent->lock_next.fd = -1;
    init_handles(agent);
    if (!start(agent, &err)) {
        char quoted[2048];
        log_error("msg=\"start failed\" error=%s", log_quote(quoted, sizeof quoted, err.text));
        stop_soon(agent, 1);
    }
    uv_run(&agent->loop, UV_RUN_DEFAULT);
    rollout_cleanup(&agent->rollout);
    feed_cleanup(&agent->feed);
    interception_cleanup(&agent->interception);
    keyring_free(agent->keyring);
    lock_release(&agent->lock);
    lock_release(&agent->lock_next);
    int exit_status = agent->exit_status;
    if (uv_loop_close(&agent->loop) == 0) {
        free(agent);
    }
    log_info("msg=stopped exit_status=%d", exit_status);
    return exit_status;
}
