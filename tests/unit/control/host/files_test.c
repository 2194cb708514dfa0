// SPDX-License-Identifier: Apache-2.0
#include "control/host/files.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define LONGER_THAN_A_TICK_US 60000 // time itself is what is tested: no fact tells its passing
#define TRIES_MAX             50

#define STILL_MS 150

TestSuite(files, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

struct reader {
    char path[TEMP_PATH_BYTES + 2];
    bool writes_meanwhile; // before it reads, but long after the reading began
    unsigned wait_after_us;
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    const struct reader *reader = ctx;
    if (reader->writes_meanwhile) {
        usleep(LONGER_THAN_A_TICK_US);
        temp_write(temp_folder, "f", "text", 4);
    }
    bool ok = files_add(files, "f", "f", reader->path, FILES_NEEDED, err);
    usleep(reader->wait_after_us);
    return ok;
}

static bool is_recent(const struct reader *reader)
{
    struct files files = {.file_len_max = 100, .len_max = 100};
    cr_assert(files_read(&files, NULL, "all", read_once, (void *)reader, NULL));
    bool recent = files.is_recent;
    files_cleanup(&files);
    return recent;
}

Test(files, one_that_changed_just_before_it_was_read_is_recent)
{
    struct reader reader = {.writes_meanwhile = false};
    snprintf(reader.path, sizeof reader.path, "%s/f", temp_folder);
    bool was_recent = false;
    for (int i = 0; i < TRIES_MAX && !was_recent; i++) { // a busy machine may pause us in between
        temp_write(temp_folder, "f", "text", 4);
        was_recent = is_recent(&reader);
    }
    cr_expect(was_recent);
    usleep(LONGER_THAN_A_TICK_US);
    cr_expect_not(is_recent(&reader));
}

Test(files, one_that_changed_while_others_were_read_is_recent_too)
{
    struct reader reader = {.writes_meanwhile = true};
    snprintf(reader.path, sizeof reader.path, "%s/f", temp_folder);
    cr_expect(is_recent(&reader));
    reader.wait_after_us = LONGER_THAN_A_TICK_US;
    cr_expect(is_recent(&reader));
}

// Two readings in a row of the file `f`.
struct readings {
    char path[TEMP_PATH_BYTES + 2];
    bool is_optional;
    struct files now;
    struct err err;
    bool is_ok;
};

static bool add_f(void *ctx, struct files *files, struct err *err)
{
    const struct readings *readings = ctx;
    return files_add(files, "f", "f", readings->path,
                     readings->is_optional ? FILES_OPTIONAL : FILES_NEEDED, err);
}

static void read_next(struct readings *readings)
{
    struct files before = readings->now;
    readings->now = (struct files){
        .file_len_max = 100, .len_max = 100, .still_ms = STILL_MS, .missed_ms = STILL_MS};
    readings->err = (struct err){{0}, {0}};
    readings->is_ok = files_read(&readings->now, &before, "all", add_f, readings, &readings->err);
    files_cleanup(&before);
}

static struct readings begin(void)
{
    struct readings readings = {.is_ok = false};
    snprintf(readings.path, sizeof readings.path, "%s/f", temp_folder);
    temp_write(temp_folder, "f", "old", 3);
    read_next(&readings);
    cr_assert(readings.is_ok);
    return readings;
}

static int open_to_write(const struct readings *readings, int flags)
{
    int fd = open(readings->path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
    cr_assert_geq(fd, 0);
    return fd;
}

static void write_part(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

// Expects what the last reading took for the file's bytes; NULL: none.
static void expect_bytes(const struct readings *readings, const char *text, enum files_hold hold,
                         const char *when)
{
    const struct files_entry *entry = &readings->now.entries[0];
    cr_expect_eq(entry->hold, hold, "%s: %s", when, files_hold_text(entry->hold));
    cr_expect_eq(readings->now.num_held, hold == FILES_SETTLED ? 0 : 1, "%s", when);
    if (text == NULL) {
        cr_expect_null(entry->file.bytes, "%s: %s", when, entry->file.bytes);
    } else {
        cr_assert_not_null(entry->file.bytes, "%s: %s", when, readings->err.text);
        cr_expect_str_eq(entry->file.bytes, text, "%s", when);
    }
}

Test(files, one_that_is_being_written_holds_what_it_held_until_its_writer_has_closed_it)
{
    struct readings readings = begin();
    int fd = open_to_write(&readings, O_TRUNC);
    read_next(&readings);
    expect_bytes(&readings, "old", FILES_OPEN, "emptied");
    write_part(fd, "new");
    cr_expect_not(files_moved(&readings.now), "what its writer does is no news");
    read_next(&readings);
    expect_bytes(&readings, "old", FILES_OPEN, "half");
    cr_expect(readings.is_ok);
    write_part(fd, "er");
    close(fd);
    cr_expect(files_moved(&readings.now), "that its writer is done is news");
    read_next(&readings);
    expect_bytes(&readings, "newer", FILES_SETTLED, "whole");
    files_cleanup(&readings.now);
}

Test(files, one_that_comes_is_not_there_until_it_is_whole)
{
    struct readings readings = begin();
    readings.is_optional = true;
    readings.now.entries[0].path[0] = '!'; // the reading before knew another file
    int fd = open_to_write(&readings, O_TRUNC);
    write_part(fd, "half");
    for (int i = 0; i < 2; i++) {
        read_next(&readings);
        cr_expect(readings.is_ok);
        expect_bytes(&readings, NULL, FILES_OPEN, "half");
    }
    close(fd);
    read_next(&readings);
    expect_bytes(&readings, "half", FILES_SETTLED, "whole");
    files_cleanup(&readings.now);
}

// Not there would be wrong: it may have been whole until its writer came.
Test(files, one_of_which_nothing_is_known_but_its_writer_is_an_error)
{
    struct readings readings = begin();
    readings.is_optional = true;
    files_cleanup(&readings.now);
    int fd = open_to_write(&readings, 0);
    for (int i = 0; i < 2; i++) {
        read_next(&readings);
        cr_expect_not(readings.is_ok);
        cr_expect_not_null(strstr(readings.err.text, "f: is still being written"), "%s",
                           readings.err.text);
    }
    close(fd);
    files_cleanup(&readings.now);
}

Test(files, one_that_was_emptied_is_an_error_and_then_must_stand_still)
{
    struct readings readings = begin();
    temp_write(temp_folder, "f", "", 0);
    read_next(&readings);
    cr_expect_not(readings.is_ok);
    cr_expect_not_null(strstr(readings.err.text, "f: is empty"), "%s", readings.err.text);
    temp_write(temp_folder, "f", "half", 4);
    read_next(&readings);
    expect_bytes(&readings, NULL, FILES_UNSTILL, "half");
    usleep(STILL_MS * 1000 / 2);
    temp_write(temp_folder, "f", "whole", 5);
    read_next(&readings);
    expect_bytes(&readings, NULL, FILES_UNSTILL, "whole, but not for long");
    cr_expect_not(files_moved(&readings.now));
    usleep((STILL_MS + 20) * 1000);
    cr_expect(files_moved(&readings.now));
    read_next(&readings);
    expect_bytes(&readings, "whole", FILES_SETTLED, "still");
    files_cleanup(&readings.now);
}

Test(files, one_that_goes_and_comes_back_was_never_away)
{
    struct readings readings = begin();
    readings.is_optional = true;
    cr_assert_eq(unlink(readings.path), 0);
    read_next(&readings);
    cr_expect(readings.is_ok);
    expect_bytes(&readings, "old", FILES_MISSED, "gone");
    temp_write(temp_folder, "f", "new", 3);
    read_next(&readings);
    expect_bytes(&readings, "new", FILES_SETTLED, "back");
    cr_assert_eq(unlink(readings.path), 0);
    read_next(&readings);
    usleep((STILL_MS + 20) * 1000);
    cr_expect(files_moved(&readings.now));
    read_next(&readings);
    cr_expect(readings.is_ok);
    expect_bytes(&readings, NULL, FILES_SETTLED, "removed");
    files_cleanup(&readings.now);
}

Test(files, a_link_to_nothing_is_an_error_and_no_removal)
{
    struct readings readings = {.is_optional = true};
    snprintf(readings.path, sizeof readings.path, "%s/f", temp_folder);
    read_next(&readings);
    cr_expect(readings.is_ok, "no file: %s", readings.err.text);
    cr_assert_eq(symlink("nowhere", readings.path), 0);
    read_next(&readings);
    cr_expect_not(readings.is_ok);
    files_cleanup(&readings.now);
}

static bool add_both(void *ctx, struct files *files, struct err *err)
{
    (void)ctx;
    return files_add(files, NULL, "f", "f", FILES_NEEDED, err) &&
           files_add(files, NULL, "g", "g", FILES_NEEDED, err);
}

Test(files, another_users_file_counts_at_once_if_a_volume_of_kubernetes_holds_it)
{
    if (geteuid() != 0) {
        cr_skip("needs root, to be another user than the file's");
    }
    char folder[TEMP_PATH_BYTES + 8], link[TEMP_PATH_BYTES + 8];
    struct files files = {.file_len_max = 100, .len_max = 100, .still_ms = 60000};
    struct err err = {{0}, {0}};
    cr_assert_eq(chmod(temp_folder, 0755), 0);
    snprintf(folder, sizeof folder, "%s/..1", temp_folder);
    cr_assert_eq(mkdir(folder, 0755), 0);
    temp_write(folder, "f", "one", 3);
    temp_write(folder, "g", "two", 3);
    snprintf(link, sizeof link, "%s/..data", temp_folder);
    cr_assert_eq(symlink("..1", link), 0);
    snprintf(link, sizeof link, "%s/f", temp_folder);
    cr_assert_eq(symlink("..data/f", link), 0);
    snprintf(link, sizeof link, "%s/g", temp_folder);
    cr_assert_eq(symlink("..1/g", link), 0); // which anybody may have made

    cr_assert_eq(chdir(temp_folder), 0); // on the way there may be a folder of root's own
    cr_assert_eq(seteuid(65534), 0);
    bool is_ok = files_read(&files, NULL, "both", add_both, NULL, &err);
    cr_assert_eq(seteuid(0), 0);
    cr_expect_not(is_ok);
    cr_assert_eq(files.num, 2);
    cr_expect_eq(files.entries[0].hold, FILES_SETTLED);
    cr_expect_eq(files.entries[1].hold, FILES_UNSTILL);
    files_cleanup(&files);
}
