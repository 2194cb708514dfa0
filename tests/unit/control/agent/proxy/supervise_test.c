// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/supervise.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "net/pipe/frame.h"
#include "proto/contract_digest.h"
#include "tabard/v1/dataplane.pb-c.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

// A supervisor of a shell script that plays the proxy.
struct stage {
    uv_loop_t loop;
    struct keyring *keyring;
    struct supervise supervise;
    unsigned num_up;
    unsigned num_down;
    unsigned num_drained;
    bool clean;
    char folder[TEMP_PATH_BYTES];
    char script[160];
};

static void on_up(void *ctx)
{
    struct stage *stage = ctx;
    stage->num_up++;
    cr_expect_not_null(stage->supervise.link);
}

static void on_down(void *ctx)
{
    struct stage *stage = ctx;
    stage->num_down++;
    cr_expect_null(stage->supervise.link);
}

static void on_drained(void *ctx, bool clean)
{
    struct stage *stage = ctx;
    stage->num_drained++;
    stage->clean = clean;
}

static bool on_snapshot_result(void *ctx, uint64_t generation, const char *error)
{
    (void)ctx;
    (void)generation;
    (void)error;
    return true;
}

static const char *layer_name = "landlock_ports"; // what the Hello says of its sandbox

// Leaves the frame of a Hello in the folder, for scripts that say it: `cat hello >&3`.
static void write_hello(const char *folder)
{
    uint8_t frame[512];
    Tabard__V1__Hello hello = TABARD__V1__HELLO__INIT;
    hello.contract = (char *)CONTRACT_DIGEST;
    Tabard__V1__SandboxLayer layer = TABARD__V1__SANDBOX_LAYER__INIT;
    Tabard__V1__SandboxLayer *layers[] = {&layer};
    layer.name = (char *)(uintptr_t)layer_name;
    layer.why = (char *)"an old kernel";
    hello.sandbox = layers;
    hello.n_sandbox = 1;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_HELLO;
    message.hello = &hello;
    size_t len = tabard__v1__from_proxy__pack(&message, frame + FRAME_PREFIX_LEN);
    frame_prefix_write(frame, (uint32_t)len);
    temp_write(folder, "hello", frame, FRAME_PREFIX_LEN + len);
}

static bool has_ended(const struct stage *stage)
{
    return stage->supervise.last_end[0] != '\0';
}

static bool stage_init(struct stage *stage, const char *script, uint32_t num_workers,
                       struct err *err)
{
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    signal(SIGPIPE, SIG_IGN);
    temp_make(stage->folder);
    snprintf(stage->script, sizeof stage->script, "%s/proxy", stage->folder);
    if (script != NULL) {
        FILE *file = fopen(stage->script, "w");
        cr_assert_not_null(file);
        fprintf(file, "#!/bin/sh\ncd '%s'\n%s\n", stage->folder, script);
        fclose(file);
        cr_assert_eq(chmod(stage->script, 0700), 0);
    }
    write_hello(stage->folder);
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    stage->keyring = keyring_new();
    struct supervise_spec spec = {
        .proxy_path = stage->script, .num_workers = num_workers, .uid = 1337, .log_level = "warn"};
    struct supervise_hooks hooks = {.ctx = stage,
                                    .on_up = on_up,
                                    .on_down = on_down,
                                    .on_drained = on_drained,
                                    .on_snapshot_result = on_snapshot_result};
    return supervise_start(&stage->supervise, &stage->loop, &spec, stage->keyring, &hooks, err);
}

static void stage_cleanup(struct stage *stage)
{
    supervise_stop(&stage->supervise);
    loop_end(&stage->loop);
    keyring_free(stage->keyring);
    temp_remove(stage->folder);
}

Test(supervise, passes_the_flags_and_two_sockets_more_than_workers, .timeout = 20)
{
    struct stage stage;
    struct err err = {{0}, {0}};
    cr_assert(
        stage_init(&stage,
                   "echo \"$@\" > args\n"
                   "for n in 0 1 2 3 4 5 6 7 8; do readlink /proc/$$/fd/$n; done | sed 's/:.*//' "
                   "> fds\nexit 0",
                   2, &err),
        "%s", err.text);
    cr_assert(run_until(&stage, has_ended(&stage), 10000));
    char text[512];
    temp_read(stage.folder, "args", text, sizeof text);
    cr_expect_str_eq(text, "--workers 2 --uid 1337 --log-level warn\n");
    temp_read(stage.folder, "fds", text, sizeof text);
    unsigned num_sockets = 0;
    for (const char *at = text; (at = strstr(at, "socket\n")) != NULL; at++) {
        num_sockets++;
    }
    // Standard error may be a socket too, where a test runner wants it so.
    cr_expect(num_sockets == 4 || num_sockets == 5, "%s", text);
    stage_cleanup(&stage);
}

Test(supervise, passes_nothing_of_its_environment, .timeout = 20)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("a sanitizer is told in the environment what to do");
#endif
    struct stage stage;
    char text[512];
    setenv("TOKEN", "secret", 1);
    cr_assert(stage_init(&stage, "tr '\\0' '\\n' < /proc/$$/environ > environ\nexit 0", 1, NULL));
    cr_assert(run_until(&stage, has_ended(&stage), 10000));
    temp_read(stage.folder, "environ", text, sizeof text);
    cr_expect_str_eq(text, "");
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_ends_at_once_is_started_again_with_growing_waits, .timeout = 30)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "cat hello >&3\nexit 3", 1, NULL));
    cr_expect(run_until(&stage, stage.supervise.num_early_ends >= 4, 10000));
    cr_expect_str_eq(stage.supervise.last_end, "exited with status 3");
    cr_expect_eq(stage.num_up, 4);
    cr_expect_eq(stage.num_down, 4);
    cr_expect_eq(stage.supervise.num_restarts, 3);
    stage_cleanup(&stage);
}

Test(supervise, a_signal_is_told_in_words, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "kill -SEGV $$", 1, NULL));
    cr_expect(run_until(&stage, has_ended(&stage), 10000));
    cr_expect_str_eq(stage.supervise.last_end, "killed by signal 11 (Segmentation fault)");
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_broke_its_sandbox_is_told_with_the_system_call_and_counted,
     .timeout = 20)
{
    struct stage stage;
    char script[160];
    uint8_t number[4] = {SYS_openat & 0xff, SYS_openat >> 8};
    // Descriptor 5 is for its last words: 3 is the control socket and 4 the worker's.
    snprintf(script, sizeof script, "printf '\\%03o\\%03o\\000\\000' >&5\nkill -SYS $$", number[0],
             number[1]);
    cr_assert(stage_init(&stage, script, 1, NULL));
    cr_expect(run_until(&stage, has_ended(&stage), 10000));
    cr_expect_str_eq(stage.supervise.last_end,
                     "killed by its sandbox for the system call openat, which relaying does not "
                     "need: somebody has taken it over, or this is a bug in Tabard");
    cr_expect_eq(stage.supervise.num_violations, 1);
    stage_cleanup(&stage);
}

Test(supervise, what_the_proxy_says_of_its_sandbox_counts_while_it_is_up, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "cat hello >&3\nexec sleep 60", 1, NULL));
    cr_assert(run_until(&stage, stage.num_up == 1, 5000));
    const struct sandbox_facts *facts = &stage.supervise.sandbox;
    cr_expect_eq(facts->layers[SANDBOX_PORTS].state, SANDBOX_MISSING);
    cr_expect_str_eq(facts->layers[SANDBOX_PORTS].why, "an old kernel");
    cr_expect_eq(facts->layers[SANDBOX_FILES].state, SANDBOX_UNUSED);
    supervise_kill(&stage.supervise, "a test");
    cr_assert(run_until(&stage, has_ended(&stage), 5000));
    cr_expect_eq(facts->layers[SANDBOX_PORTS].state, SANDBOX_UNUSED);
    stage_cleanup(&stage);
    layer_name = "moat";
    cr_assert(stage_init(&stage, "cat hello >&3\nexec sleep 60", 1, NULL));
    cr_assert(run_until(&stage, has_ended(&stage), 5000));
    cr_expect_not_null(strstr(stage.supervise.last_end, "a layer of its sandbox"));
    stage_cleanup(&stage);
}

Test(supervise, a_program_that_is_not_there_fails_the_start, .timeout = 20)
{
    struct stage stage;
    struct err err = {{0}, {0}};
    cr_expect(!stage_init(&stage, NULL, 1, &err));
    cr_expect(strstr(err.text, "proxy: no such file or directory") != NULL, "%s", err.text);
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_closes_its_socket_and_stays_is_killed, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "cat hello >&3\nexec 3<&-\nexec sleep 60", 1, NULL));
    cr_expect(run_until(&stage, stage.num_down > 0, 5000));
    cr_expect_not(has_ended(&stage), "it counts as down while the process still runs");
    cr_expect(run_until(&stage, has_ended(&stage), SUPERVISE_EOF_MS_MAX + 5000));
    cr_expect_str_eq(stage.supervise.last_end, "killed by the agent: it didn't end in time");
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_speaks_nonsense_is_killed, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "printf '\\000\\000\\000\\002xx' >&3\nexec sleep 60", 1, NULL));
    cr_expect(run_until(&stage, has_ended(&stage), SUPERVISE_EOF_MS_MAX / 2));
    cr_expect_str_eq(stage.supervise.last_end,
                     "killed by the agent: its first message is no Hello: it is a tabard-proxy of "
                     "another build");
    stage_cleanup(&stage);
}

Test(supervise, a_drain_waits_for_the_end_and_tells_how_it_was, .timeout = 20)
{
    static const struct {
        const char *script;
        bool clean;
    } rows[] = {{"head -c 4 <&3 >/dev/null\nexit 0", true},
                {"head -c 4 <&3 >/dev/null\nexit 1", false}};
    for (size_t i = 0; i < 2; i++) {
        struct stage stage;
        cr_assert(stage_init(&stage, rows[i].script, 1, NULL));
        supervise_drain(&stage.supervise, 30);
        supervise_drain(&stage.supervise, 30);
        cr_expect(run_until(&stage, stage.num_drained > 0, 10000), "row %zu", i);
        cr_expect_eq(stage.clean, rows[i].clean, "row %zu", i);
        run_until(&stage, false, 300);
        cr_expect_eq(stage.supervise.num_restarts, 0, "row %zu: it isn't started again", i);
        cr_expect_eq(stage.num_drained, 1, "row %zu", i);
        stage_cleanup(&stage);
    }
}

Test(supervise, a_drain_between_two_proxies_is_over_at_once, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "exit 3", 1, NULL));
    cr_assert(run_until(&stage, has_ended(&stage), 10000));
    supervise_drain(&stage.supervise, 30);
    cr_expect_eq(stage.num_drained, 1);
    run_until(&stage, false, 300);
    cr_expect_eq(stage.supervise.num_restarts, 0);
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_does_not_drain_in_time_is_killed, .timeout = 30)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "exec sleep 60", 1, NULL));
    supervise_drain(&stage.supervise, 0);
    cr_expect(run_until(&stage, stage.num_drained > 0, SUPERVISE_DRAIN_MS_EXTRA + 5000));
    cr_expect(!stage.clean);
    cr_expect_str_eq(stage.supervise.last_end, "killed by the agent: it didn't end in time");
    stage_cleanup(&stage);
}

Test(supervise, stopping_kills_what_runs_without_a_word, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "exec sleep 60", 1, NULL));
    stage_cleanup(&stage);
    cr_expect_eq(stage.num_down, 0);
    cr_expect_eq(stage.num_drained, 0);
}

static void tick(struct stage *stage, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        supervise_tick(&stage->supervise);
    }
}

Test(supervise, a_proxy_that_is_silent_for_too_many_ticks_counts_as_hung_and_is_killed,
     .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "cat hello >&3\nexec sleep 60", 1, NULL));
    cr_assert(run_until(&stage, stage.num_up == 1, 5000));
    tick(&stage, SUPERVISE_PING_TICKS + SUPERVISE_SILENT_TICKS - 1);
    cr_expect_eq(supervise_silent(&stage.supervise), 0);
    tick(&stage, 1);
    cr_expect_eq(supervise_silent(&stage.supervise), SUPERVISE_SILENT_TICKS);
    tick(&stage, SUPERVISE_SILENT_TICKS_MAX - SUPERVISE_SILENT_TICKS);
    cr_expect(run_until(&stage, has_ended(&stage), 5000));
    cr_expect_str_eq(stage.supervise.last_end,
                     "killed by the agent: it hangs: it has not answered for too long");
    cr_expect_eq(stage.num_down, 1);
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_answers_is_asked_again_and_left_alone, .timeout = 20)
{
    // Each Ping is 4 + 4 bytes long, and is turned into its Pong by its first byte.
    static const char script[] = "cat hello >&3\n"
                                 "while head -c 5 <&3 >/dev/null; do\n"
                                 "printf '\\000\\000\\000\\004\\052' >&3; head -c 3 <&3 >&3\n"
                                 "echo >> pings\ndone";
    char text[64];
    struct stage stage;
    cr_assert(stage_init(&stage, script, 1, NULL));
    cr_assert(run_until(&stage, stage.num_up == 1, 5000));
    for (unsigned round = 1; round <= 4; round++) {
        tick(&stage, SUPERVISE_PING_TICKS);
        cr_assert(run_until(&stage, !proxy_link_is_awaited(stage.supervise.link), 5000));
    }
    temp_read(stage.folder, "pings", text, sizeof text);
    cr_expect_geq(strlen(text), 3, "%zu pings", strlen(text));
    cr_expect_eq(supervise_silent(&stage.supervise), 0);
    cr_expect_not(has_ended(&stage));
    stage_cleanup(&stage);
}

Test(supervise, a_proxy_that_never_says_hello_is_killed_with_words, .timeout = 20)
{
    struct stage stage;
    cr_assert(stage_init(&stage, "exec sleep 60", 1, NULL));
    tick(&stage, SUPERVISE_SILENT_TICKS_MAX);
    cr_expect(run_until(&stage, has_ended(&stage), 5000));
    cr_expect_not_null(strstr(stage.supervise.last_end, "tabard-proxy of another build"));
    cr_expect_eq(stage.num_up + stage.num_down, 0);
    stage_cleanup(&stage);
}
