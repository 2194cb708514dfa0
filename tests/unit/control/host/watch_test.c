// SPDX-License-Identifier: Apache-2.0
#include "control/host/watch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

// A job that reads the file `f`, in which "good" is usable, and the loop it is watched on.
struct stage {
    uv_loop_t loop;
    struct watch *watch;
    struct files files;
    char path[TEMP_PATH_BYTES + 8];
    unsigned num_reads, num_takes, num_reports, num_releases;
    bool is_usable;
    char written_while_read[16]; // by the next reading; empty: nothing
    uint64_t began_ns;
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    struct stage *stage = ctx;
    return files_add(files, "tag", "f", stage->path, FILES_NEEDED, err);
}

static const struct files *on_read(void *ctx, bool *out_is_usable)
{
    struct stage *stage = ctx;
    stage->num_reads++;
    struct files before = stage->files;
    stage->files = (struct files){
        .file_len_max = 1000, .len_max = 1000, .still_ms = FILES_STILL_MS, .missed_ms = 1};
    bool ok = files_read(&stage->files, &before, "all", read_once, stage, NULL);
    *out_is_usable = stage->is_usable =
        ok && strcmp(stage->files.entries[0].file.bytes, "good") == 0;
    files_cleanup(&before);
    if (stage->written_while_read[0] != '\0') {
        temp_write(temp_folder, "f", stage->written_while_read, strlen(stage->written_while_read));
        stage->written_while_read[0] = '\0';
    }
    return &stage->files;
}

static void on_take(void *ctx, uint64_t began_ns)
{
    struct stage *stage = ctx;
    stage->num_takes++;
    stage->began_ns = began_ns;
}

static void on_report(void *ctx)
{
    struct stage *stage = ctx;
    cr_expect_not(stage->is_usable);
    stage->num_reports++;
}

static void on_release(void *ctx)
{
    struct stage *stage = ctx;
    files_cleanup(&stage->files);
    stage->num_releases++;
}

static void put(const char *text)
{
    temp_write(temp_folder, "f", text, strlen(text));
}

static void begin(struct stage *stage, const char *text)
{
    if (stage->path[0] == '\0') {
        snprintf(stage->path, sizeof stage->path, "%s/f", temp_folder);
    }
    if (text != NULL) {
        put(text);
    }
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    stage->watch = watch_new(&stage->loop, &(struct watch_job){.ctx = stage,
                                                               .read = on_read,
                                                               .take = on_take,
                                                               .report = on_report,
                                                               .release = on_release});
}

static void settle(struct stage *stage)
{
    run_until(stage, false, 3 * WATCH_RETRY_MS);
}

static void end(struct stage *stage)
{
    watch_close(stage->watch);
    loop_end(&stage->loop);
    cr_expect_eq(stage->num_releases, 1);
}

TestSuite(watch, .timeout = 30, .init = temp_set_up, .fini = temp_tear_down);

Test(watch, reads_at_once_and_after_a_change_and_not_otherwise)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, "good");
    settle(&stage);
    cr_expect_geq(stage.num_takes, 1);
    unsigned num = stage.num_reads;
    temp_write(temp_folder, "another", "x", 1);
    settle(&stage);
    cr_expect_eq(stage.num_reads, num, "another file changed");
    uint64_t before_ns = uv_hrtime();
    put("good");
    cr_expect(run_until(&stage, stage.num_reads > num, WATCH_POLL_MS / 2));
    settle(&stage);
    cr_expect_geq(stage.began_ns, before_ns);
    cr_expect_eq(stage.num_reports, 0);
    end(&stage);
}

Test(watch, a_failure_that_is_over_at_the_second_look_is_none)
{
    struct stage stage = {.written_while_read = "good"};
    begin(&stage, "half");
    cr_expect(run_until(&stage, stage.is_usable && stage.num_takes > 1, WATCH_POLL_MS / 2));
    settle(&stage);
    cr_expect_eq(stage.num_reports, 0);
    end(&stage);
}

Test(watch, what_a_writer_leaves_half_is_read_neither_then_nor_reported)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, "good");
    settle(&stage);
    int fd = open(stage.path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "go", 2), 2);
    run_until(&stage, false, WATCH_RETRY_MS_MAX + 3 * WATCH_RETRY_MS);
    cr_expect(stage.is_usable, "the half is taken");
    cr_expect_eq(watch_num_held(stage.watch), 1);
    cr_assert_eq(write(fd, "od", 2), 2);
    close(fd);
    unsigned num = stage.num_takes;
    cr_expect(run_until(&stage, stage.num_takes > num && watch_num_held(stage.watch) == 0,
                        WATCH_POLL_MS / 2));
    cr_expect(stage.is_usable);
    cr_expect_eq(stage.num_reports, 0);
    end(&stage);
}

Test(watch, a_failure_that_stays_counts_at_the_second_look)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, "half");
    cr_expect(run_until(&stage, stage.num_reports > 0, WATCH_POLL_MS / 2));
    cr_expect_geq(stage.num_reads, 2);
    end(&stage);
}

Test(watch, a_file_that_is_missing_is_a_failure_until_it_comes)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, NULL);
    cr_expect(run_until(&stage, stage.num_reports > 0, WATCH_POLL_MS / 2));
    put("good");
    cr_expect(run_until(&stage, stage.is_usable, WATCH_POLL_MS / 2));
    end(&stage);
}

Test(watch, a_change_while_it_reads_is_read_soon_after)
{
    struct stage stage = {.written_while_read = "good"};
    begin(&stage, "good");
    cr_expect(run_until(&stage, stage.num_takes > 1, WATCH_RETRY_MS - 20));
    end(&stage);
}

Test(watch, reading_now_while_it_reads_reads_once_more)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, "good");
    settle(&stage);
    unsigned num = stage.num_reads;
    watch_read_now(stage.watch);
    watch_read_now(stage.watch);
    settle(&stage);
    cr_expect_eq(stage.num_reads, num + 2);
    end(&stage);
}

Test(watch, closing_while_it_reads_takes_nothing_and_releases_once)
{
    struct stage stage = {.num_reads = 0};
    begin(&stage, "good");
    end(&stage);
    cr_expect_eq(stage.num_takes, 0);
}

// Makes the folder below the test's own, with a good file in it, and returns its inode.
static ino_t make_folder(const char *folder, const char *path)
{
    struct stat st;
    cr_assert_eq(mkdir(folder, 0700), 0);
    temp_write(folder, "f", "good", 4);
    cr_assert_eq(stat(folder, &st), 0);
    cr_assert_eq(access(path, R_OK), 0);
    return st.st_ino;
}

Test(watch, a_folder_that_was_deleted_and_made_anew_is_watched_as_before)
{
    struct stage stage = {.num_reads = 0};
    char folder[TEMP_PATH_BYTES + 2];
    snprintf(folder, sizeof folder, "%s/d", temp_folder);
    snprintf(stage.path, sizeof stage.path, "%s/f", folder);
    ino_t first = make_folder(folder, stage.path);
    begin(&stage, NULL);
    settle(&stage);
    // Some file systems give the new folder the old one's number at once.
    for (int i = 0; i < 3; i++) {
        unsigned before = stage.num_takes;
        cr_assert_eq(unlink(stage.path), 0);
        cr_assert_eq(rmdir(folder), 0);
        ino_t again = make_folder(folder, stage.path);
        cr_assert(run_until(&stage, stage.num_takes > before, 2 * WATCH_POLL_MS));
        settle(&stage);
        before = stage.num_takes;
        temp_write(folder, "f", "good", 4);
        cr_expect(run_until(&stage, stage.num_takes > before, WATCH_POLL_MS / 2),
                  "left to the poll; inode %s", first == again ? "as before" : "another");
        settle(&stage);
    }
    end(&stage);
}
