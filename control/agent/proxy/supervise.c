// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/supervise.h"

#include <errno.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "base/process.h"
#include "base/sandbox/violation.h"
#include "proto/contract.h"

static bool start(struct supervise *supervise, struct err *err);

static void close_all(int *fds, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}

// Makes `num` pairs of sockets, all or none.
static bool make_pairs(int *ours, int *theirs, size_t num, struct err *err)
{
    for (size_t i = 0; i < num; i++) {
        ours[i] = theirs[i] = -1;
    }
    for (size_t i = 0; i < num; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
            err_set(err, "a socket pair for the proxy: %s", strerror(errno));
            close_all(ours, num);
            close_all(theirs, num);
            return false;
        }
        ours[i] = pair[0];
        theirs[i] = pair[1];
    }
    return true;
}

static void start_later(struct supervise *supervise);

static void on_start_timer(uv_timer_t *timer)
{
    struct supervise *supervise = timer->data;
    struct err err = {{0}, {0}};
    if (!start(supervise, &err)) {
        supervise->num_early_ends++;
        snprintf(supervise->last_end, sizeof supervise->last_end, "could not be started: %s",
                 err.text);
        start_later(supervise);
    }
}

static void start_later(struct supervise *supervise)
{
    static const struct backoff waits = {
        .first_ms = 100, .min_ms = 200, .max_ms = 10000, .jitter = BACKOFF_FROM_FIRST};
    uint32_t random = 0;
    RAND_bytes((uint8_t *)&random, sizeof random);
    uint32_t wait_ms = backoff_ms(&waits, supervise->num_early_ends, random);
    char quoted[512];
    log_quote(quoted, sizeof quoted, supervise->last_end);
    if (supervise->num_early_ends >= SUPERVISE_EARLY_ENDS_MAX) {
        log_error("msg=\"the proxy keeps ending right after its start; see its own lines above for "
                  "the cause\" ends_in_a_row=%u last=%s next_try_ms=%u",
                  supervise->num_early_ends, quoted, wait_ms);
    } else {
        log_warn("msg=\"the proxy ended\" how=%s next_try_ms=%u", quoted, wait_ms);
    }
    uv_timer_start(&supervise->timer, on_start_timer, wait_ms, 0);
}

static void on_process_closed(uv_handle_t *handle)
{
    free(handle);
}

static void describe_violation(struct supervise *supervise)
{
    char buf[VIOLATION_TEXT_MAX];
    int number = violation_read(supervise->tell_fd);
    const char *name = number >= 0 ? violation_text(number, buf) : "unknown";
    supervise->num_violations++;
    snprintf(supervise->last_end, sizeof supervise->last_end,
             "killed by its sandbox for the system call %s, which relaying does not need: somebody "
             "has taken it over, or this is a bug in Tabard",
             name);
    log_error("msg=\"the proxy broke its sandbox\" system_call=\"%s\"", name);
}

static void describe_end(struct supervise *supervise, int64_t status, int signal_number)
{
    char *out = supervise->last_end;
    size_t out_len = sizeof supervise->last_end;
    bool is_killed = signal_number == SIGKILL;
    if (signal_number == SIGSYS && supervise->spec.sandbox != SANDBOX_OFF) {
        describe_violation(supervise);
    } else if (is_killed && supervise->killed_because[0] != '\0') {
        snprintf(out, out_len, "killed by the agent: %s", supervise->killed_because);
    } else if (is_killed && process_oom_kills() > supervise->num_oom_kills) {
        snprintf(
            out, out_len,
            "killed by the kernel, which was out of memory: the limit of the control group, or "
            "the host's memory, is too small");
    } else if (signal_number != 0) {
        snprintf(out, out_len, "killed by signal %d (%s)", signal_number, strsignal(signal_number));
    } else {
        snprintf(out, out_len, "exited with status %lld", (long long)status);
    }
}

// Gives up the link. Whoever was told that the proxy is up hears that it is not.
static void set_down(struct supervise *supervise)
{
    proxy_link_close(supervise->link);
    supervise->link = NULL;
    supervise->sandbox = (struct sandbox_facts){0};
    supervise->num_silent = supervise->num_quiet = 0;
    if (supervise->is_up) {
        supervise->is_up = false;
        supervise->hooks.on_down(supervise->hooks.ctx);
    }
}

static void on_exit_of_process(uv_process_t *process, int64_t status, int signal_number)
{
    struct supervise *supervise = process->data;
    uv_close((uv_handle_t *)process, on_process_closed);
    if (supervise == NULL) {
        return; // stopped meanwhile
    }
    supervise->process = NULL;
    set_down(supervise);
    uv_timer_stop(&supervise->timer);
    describe_end(supervise, status, signal_number);
    close_all(&supervise->tell_fd, 1);
    bool was_healthy = uv_now(supervise->loop) - supervise->started_ms >= SUPERVISE_HEALTHY_MS;
    supervise->num_early_ends = was_healthy ? 1 : supervise->num_early_ends + 1;
    if (supervise->is_draining) {
        if (!supervise->is_drained) {
            supervise->is_drained = true;
            bool clean = status == 0 && signal_number == 0;
            log_info("msg=\"the proxy ended after the drain\" how=\"%s\"", supervise->last_end);
            supervise->hooks.on_drained(supervise->hooks.ctx, clean);
        }
        return;
    }
    start_later(supervise);
}

static void on_kill_timer(uv_timer_t *timer)
{
    supervise_kill(timer->data, "it didn't end in time");
}

static void on_broken(void *ctx, bool is_eof, const char *why)
{
    struct supervise *supervise = ctx;
    set_down(supervise);
    if (!is_eof) {
        supervise_kill(supervise, why);
    } else if (!supervise->is_draining) {
        // The process is about to end, and how it ends will say why.
        uv_timer_start(&supervise->timer, on_kill_timer, SUPERVISE_EOF_MS_MAX, 0);
    }
}

static bool take_sandbox(struct sandbox_facts *out, const Tabard__V1__Hello *hello, struct err *err)
{
    for (size_t i = 0; i < hello->n_sandbox; i++) {
        enum sandbox_layer layer;
        if (!sandbox_layer_parse(&layer, hello->sandbox[i]->name)) {
            return err_set(err, "a layer of its sandbox of which nobody has heard");
        }
        sandbox_set(out, layer, hello->sandbox[i]->in_force ? SANDBOX_IN_FORCE : SANDBOX_MISSING,
                    hello->sandbox[i]->why);
    }
    return true;
}

static bool on_hello(void *ctx, const Tabard__V1__Hello *hello, struct err *err)
{
    struct supervise *supervise = ctx;
    if (!take_sandbox(&supervise->sandbox, hello, err)) {
        return false;
    }
    supervise->is_up = true;
    supervise->num_silent = 0;
    supervise->hooks.on_up(supervise->hooks.ctx);
    return true;
}

static bool on_snapshot_result(void *ctx, uint64_t generation, const char *error)
{
    struct supervise *supervise = ctx;
    return supervise->hooks.on_snapshot_result(supervise->hooks.ctx, generation, error);
}

// Fills the arguments; the texts live in `numbers`.
static void make_args(const struct supervise *supervise, char **args, char numbers[2][24])
{
    size_t num = 0;
    args[num++] = (char *)supervise->spec.proxy_path;
    snprintf(numbers[0], sizeof numbers[0], "%u", supervise->spec.num_workers);
    args[num++] = (char *)"--workers";
    args[num++] = numbers[0];
    if (supervise->spec.uid >= 0) {
        snprintf(numbers[1], sizeof numbers[1], "%lld", (long long)supervise->spec.uid);
        args[num++] = (char *)"--uid";
        args[num++] = numbers[1];
    }
    if (supervise->spec.log_level != NULL) {
        args[num++] = (char *)"--log-level";
        args[num++] = (char *)supervise->spec.log_level;
    }
    if (supervise->spec.has_caller_addresses) {
        args[num++] = (char *)"--caller-addresses";
    }
    if (supervise->spec.sandbox != SANDBOX_ON) {
        args[num++] = (char *)"--sandbox";
        args[num++] = (char *)(uintptr_t)sandbox_mode_text(supervise->spec.sandbox);
    }
    args[num] = NULL;
}

// The proxy's environment is empty, since secrets of the agent's may stand in its own. NULL: it has
// the agent's.
static char **environment(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return NULL; // a sanitizer is told there what to do
#else
    static char *none[] = {NULL};
    return none;
#endif
}

static bool spawn(struct supervise *supervise, const int *theirs, size_t num, struct err *err)
{
    uv_stdio_container_t stdio[CONTRACT_TELL_FD(CONTRACT_WORKERS_MAX) + 1];
    stdio[0].flags = UV_IGNORE;
    stdio[1].flags = UV_IGNORE;
    stdio[2].flags = UV_INHERIT_FD;
    stdio[2].data.fd = STDERR_FILENO;
    for (size_t i = 0; i < num; i++) {
        stdio[CONTRACT_CONTROL_FD + i].flags = UV_INHERIT_FD;
        stdio[CONTRACT_CONTROL_FD + i].data.fd = theirs[i];
    }
    char *args[11];
    char numbers[2][24];
    make_args(supervise, args, numbers);
    uv_process_options_t options = {.file = supervise->spec.proxy_path,
                                    .args = args,
                                    .env = environment(),
                                    .stdio = stdio,
                                    .stdio_count = CONTRACT_CONTROL_FD + (int)num,
                                    .exit_cb = on_exit_of_process};
    supervise->process = must_alloc(1, sizeof *supervise->process);
    supervise->process->data = supervise;
    int rc = uv_spawn(supervise->loop, supervise->process, &options);
    if (rc != 0) {
        supervise->process->data = NULL;
        uv_close((uv_handle_t *)supervise->process, on_process_closed);
        supervise->process = NULL;
        return err_set(err, "%s: %s", supervise->spec.proxy_path, uv_strerror(rc));
    }
    return true;
}

static bool start(struct supervise *supervise, struct err *err)
{
    int ours[CONTRACT_WORKERS_MAX + 2];
    int theirs[CONTRACT_WORKERS_MAX + 2];
    size_t num = supervise->spec.num_workers + 2; // the last for its last words
    if (!make_pairs(ours, theirs, num, err)) {
        return false;
    }
    bool ok = spawn(supervise, theirs, num, err);
    close_all(theirs, num);
    if (!ok) {
        close_all(ours, num);
        return false;
    }
    if (supervise->last_end[0] != '\0') {
        supervise->num_restarts++;
    }
    supervise->started_ms = uv_now(supervise->loop);
    supervise->num_oom_kills = process_oom_kills();
    supervise->killed_because[0] = '\0';
    supervise->tell_fd = ours[num - 1];
    struct proxy_link_hooks hooks = {.ctx = supervise,
                                     .on_hello = on_hello,
                                     .on_snapshot_result = on_snapshot_result,
                                     .on_broken = on_broken};
    supervise->link = proxy_link_new(supervise->loop, ours[0], ours + 1, num - 2,
                                     supervise->keyring, &hooks, err);
    if (supervise->link == NULL) {
        // When it has ended, it is started again.
        supervise_kill(supervise, err->text);
        return true;
    }
    log_info("msg=\"proxy started\" pid=%d workers=%u", supervise->process->pid,
             supervise->spec.num_workers);
    return true;
}

bool supervise_start(struct supervise *supervise, uv_loop_t *loop,
                     const struct supervise_spec *spec, struct keyring *keyring,
                     const struct supervise_hooks *hooks, struct err *err)
{
    *supervise = (struct supervise){
        .hooks = *hooks, .spec = *spec, .keyring = keyring, .loop = loop, .tell_fd = -1};
    uv_timer_init(loop, &supervise->timer);
    supervise->timer.data = supervise;
    return start(supervise, err);
}

void supervise_kill(struct supervise *supervise, const char *why)
{
    if (supervise->process == NULL) {
        return;
    }
    char quoted[2048];
    snprintf(supervise->killed_because, sizeof supervise->killed_because, "%s", why);
    log_error("msg=\"the proxy is killed\" pid=%d because=%s", supervise->process->pid,
              log_quote(quoted, sizeof quoted, why));
    uv_process_kill(supervise->process, SIGKILL);
}

void supervise_tick(struct supervise *supervise)
{
    if (supervise->link == NULL || supervise->is_draining) {
        return;
    }
    if (!supervise->is_up) {
        if (++supervise->num_silent >= SUPERVISE_SILENT_TICKS_MAX) {
            supervise_kill(supervise, "it has not said hello: it may be a tabard-proxy of another "
                                      "build; install agent and proxy from one build");
        }
        return;
    }
    if (proxy_link_is_awaited(supervise->link)) {
        supervise->num_quiet = 0;
        supervise->num_silent++;
        if (supervise->num_silent == SUPERVISE_SILENT_TICKS) {
            log_error("msg=\"the proxy does not answer\" pid=%d silent_s=%u kill_at_s=%d",
                      supervise->process->pid, supervise->num_silent, SUPERVISE_SILENT_TICKS_MAX);
        } else if (supervise->num_silent == SUPERVISE_SILENT_TICKS_MAX) {
            supervise_kill(supervise, "it hangs: it has not answered for too long");
        }
        return;
    }
    if (supervise->num_silent >= SUPERVISE_SILENT_TICKS) {
        log_info("msg=\"the proxy answers again\" silent_s=%u", supervise->num_silent);
    }
    supervise->num_silent = 0;
    if (++supervise->num_quiet >= SUPERVISE_PING_TICKS) {
        proxy_link_ping(supervise->link);
    }
}

uint32_t supervise_silent(const struct supervise *supervise)
{
    bool is_hung = supervise->is_up && supervise->num_silent >= SUPERVISE_SILENT_TICKS &&
                   proxy_link_is_awaited(supervise->link);
    return is_hung ? supervise->num_silent : 0;
}

void supervise_drain(struct supervise *supervise, uint32_t seconds)
{
    if (supervise->is_draining) {
        return;
    }
    supervise->is_draining = true;
    uv_timer_stop(&supervise->timer);
    if (supervise->process == NULL) {
        supervise->is_drained = true;
        supervise->hooks.on_drained(supervise->hooks.ctx, true);
        return;
    }
    struct err err = {{0}, {0}};
    if (supervise->link == NULL || !proxy_link_send_drain(supervise->link, seconds, &err)) {
        // To the proxy the end of its control socket means a drain too.
        proxy_link_close(supervise->link);
        supervise->link = NULL;
    }
    uv_timer_start(&supervise->timer, on_kill_timer,
                   (uint64_t)seconds * 1000 + SUPERVISE_DRAIN_MS_EXTRA, 0);
}

void supervise_stop(struct supervise *supervise)
{
    if (supervise->loop == NULL || uv_is_closing((uv_handle_t *)&supervise->timer)) {
        return;
    }
    uv_close((uv_handle_t *)&supervise->timer, NULL);
    proxy_link_close(supervise->link);
    supervise->link = NULL;
    close_all(&supervise->tell_fd, 1);
    if (supervise->process != NULL) {
        uv_process_kill(supervise->process, SIGKILL);
        supervise->process->data = NULL;
        uv_close((uv_handle_t *)supervise->process, on_process_closed);
        supervise->process = NULL;
    }
}

pid_t supervise_pid(const struct supervise *supervise)
{
    return supervise->process != NULL ? supervise->process->pid : 0;
}
