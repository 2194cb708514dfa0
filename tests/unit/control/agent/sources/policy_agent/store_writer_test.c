// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/store_writer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define OWNER "node by /etc/mesh.yaml"

struct stage {
    uv_loop_t loop;
    struct store_writer *writer;
    char folder[128];
};

static void set_up(void)
{
    temp_set_up();
    log_init("test", LOG_LEVEL_ERROR + 1);
}

TestSuite(store_writer, .init = set_up, .fini = temp_tear_down, .timeout = 30);

static void start(struct stage *stage)
{
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    snprintf(stage->folder, sizeof stage->folder, "%s/state", temp_folder);
    stage->writer = store_writer_new(&stage->loop);
}

static void put(struct stage *stage, uint64_t version)
{
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    store_writer_put(
        stage->writer, stage->folder, OWNER,
        &(struct stored_state){.state = &state, .version = version, .unix_s = 1800000000});
}

// The version on the disk; 0: none.
static uint64_t stored_version(const struct stage *stage)
{
    struct stored_state stored;
    bool is_missing = false;
    if (!store_read(&stored, stage->folder, OWNER, false, &is_missing, NULL)) {
        return 0;
    }
    tabard__v1__state__free_unpacked(stored.state, NULL);
    return stored.version;
}

static void stop(struct stage *stage)
{
    store_writer_close(stage->writer);
    loop_end(&stage->loop);
}

Test(store_writer, a_first_state_is_written_at_once_and_of_those_behind_it_the_newest)
{
    struct stage stage;
    start(&stage);
    put(&stage, 1);
    put(&stage, 2);
    put(&stage, 3);
    cr_expect(run_until(&stage, stored_version(&stage) == 1, STORE_WRITER_MS / 2));
    uint64_t began = uv_hrtime();
    cr_expect(run_until(&stage, stored_version(&stage) > 1, 5 * STORE_WRITER_MS));
    cr_expect_eq(stored_version(&stage), 3);
    cr_expect_geq((uv_hrtime() - began) / 1000000, STORE_WRITER_MS / 2, "not more often than that");
    stop(&stage);
}

Test(store_writer, a_close_writes_what_waits)
{
    struct stage stage;
    start(&stage);
    put(&stage, 1);
    cr_expect(run_until(&stage, stored_version(&stage) == 1, 5000));
    put(&stage, 2);
    cr_expect_eq(stored_version(&stage), 1, "it waits its time");
    store_writer_close(stage.writer);
    cr_expect_eq(stored_version(&stage), 2);
    loop_end(&stage.loop);
}

Test(store_writer, a_close_while_one_is_written_writes_the_next_after_it)
{
    struct stage stage;
    start(&stage);
    put(&stage, 1);
    put(&stage, 2);
    stop(&stage);
    cr_expect_eq(stored_version(&stage), 2);
}

Test(store_writer, a_folder_that_cannot_be_is_counted_and_the_next_state_is_tried)
{
    struct stage stage;
    start(&stage);
    temp_write(temp_folder, "state", "a file", 6);
    put(&stage, 1);
    cr_expect(run_until(&stage, store_writer_num_failures(stage.writer) == 1, 5000));
    cr_assert_eq(remove(stage.folder), 0);
    put(&stage, 2);
    cr_expect(run_until(&stage, stored_version(&stage) == 2, 5000));
    cr_expect_eq(store_writer_num_failures(stage.writer), 1);
    stop(&stage);
}
