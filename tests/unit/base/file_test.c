// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define LEN_MAX 10

TestSuite(file, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

static const char *path_of(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    return path;
}

static void expect_refused(const char *path, enum file_care care, const char *words)
{
    struct file file;
    struct err err = {{0}, {0}};
    cr_expect_not(file_read(&file, path, LEN_MAX, care, &err), "%s was taken", path);
    cr_expect_str_eq(err.text, words);
    cr_expect_null(file.bytes);
    file_cleanup(&file);
}

Test(file, is_read_whole_up_to_the_limit_and_no_byte_over_it)
{
    struct file file;
    struct err err = {{0}, {0}};
    for (size_t len = 0; len <= LEN_MAX; len++) {
        temp_write(temp_folder, "f", "0123456789", len);
        cr_assert(file_read(&file, path_of("f"), LEN_MAX, FILE_OURS, &err), "%s", err.text);
        cr_expect_eq(file.len, len);
        cr_expect_eq(strlen(file.bytes), len, "a NUL stands behind the last byte");
        cr_expect_eq(file.stamp.size, len);
        file_cleanup(&file);
    }
    temp_write(temp_folder, "f", "0123456789x", 11);
    expect_refused(path_of("f"), FILE_ANY, "is over the limit of 10 bytes");
}

// Such a file says that it has no size, and must not be taken for an empty one, nor read for ever.
Test(file, that_says_no_size_is_read_to_its_end_or_the_limit)
{
    struct file file;
    struct err err = {{0}, {0}};
    cr_assert(file_read(&file, "/proc/self/stat", 4096, FILE_ANY, &err), "%s", err.text);
    cr_expect_gt(file.len, 20);
    cr_expect_eq(file.bytes[file.len], '\0');
    file_cleanup(&file);
    expect_refused("/proc/self/stat", FILE_ANY, "is over the limit of 10 bytes");
}

Test(file, that_would_hang_or_holds_nothing_is_refused_by_its_kind)
{
    cr_assert_eq(mkfifo(path_of("fifo"), 0600), 0);
    expect_refused(path_of("fifo"), FILE_ANY, "is a FIFO, not a regular file");
    expect_refused("/dev/zero", FILE_ANY, "is a device, not a regular file");
    expect_refused(temp_folder, FILE_ANY, "is a directory, not a regular file");
    expect_refused(path_of("none"), FILE_ANY, "No such file or directory");
}

Test(file, that_others_own_or_that_is_a_link_is_refused_where_care_is_taken)
{
    struct file file;
    char link[PATH_MAX];
    temp_write(temp_folder, "f", "x", 1);
    snprintf(link, sizeof link, "%s", path_of("link"));
    cr_assert_eq(symlink(path_of("f"), link), 0);
    cr_expect(file_read(&file, link, LEN_MAX, FILE_ANY, NULL));
    file_cleanup(&file);
    expect_refused(link, FILE_NO_LINK, "Too many levels of symbolic links");
    cr_assert_eq(chmod(path_of("f"), 0620), 0);
    cr_expect(file_read(&file, path_of("f"), LEN_MAX, FILE_NO_LINK, NULL));
    file_cleanup(&file);
    expect_refused(path_of("f"), FILE_OURS,
                   "others may write to it: it must be ours alone, mode 0600");
}

Test(file, has_another_stamp_when_it_changed_came_or_went)
{
    struct file file;
    temp_write(temp_folder, "f", "x", 1);
    cr_assert(file_read(&file, path_of("f"), LEN_MAX, FILE_ANY, NULL));
    struct file_stamp now = file_look(path_of("f"), &file.stamp);
    cr_expect(file_stamp_equal(&now, &file.stamp));
    int64_t changed_ns = now.ctime_ns;
    cr_expect(file_stamp_is_recent(&now, changed_ns + 19000000, changed_ns + 19000000));
    cr_expect(file_stamp_is_recent(&now, changed_ns - 90000000, changed_ns + 90000000));
    cr_expect_not(file_stamp_is_recent(&now, changed_ns + 21000000, changed_ns + 90000000));
    cr_expect_not(file_stamp_is_recent(&now, changed_ns - 90000000, changed_ns - 21000000));
    temp_write(temp_folder, "f", "xy", 2);
    now = file_look(path_of("f"), &file.stamp);
    cr_expect_not(file_stamp_equal(&now, &file.stamp));
    unlink(path_of("f"));
    now = file_look(path_of("f"), &file.stamp);
    cr_expect_eq(now.error, ENOENT);
    file_cleanup(&file);
    cr_expect_not(file_read(&file, path_of("f"), LEN_MAX, FILE_ANY, NULL));
    cr_expect(file_stamp_equal(&now, &file.stamp), "what is missing stays missing");
}

Test(file, is_replaced_whole_or_stays_as_it_was)
{
    char text[32];
    struct err err = {{0}, {0}};
    struct stat st;
    temp_write(temp_folder, "f.new", "of a run that was cut short", 27);
    cr_assert(file_replace(path_of("f"), "one", 3, true, &err), "%s", err.text);
    cr_assert(file_replace(path_of("f"), "two!", 4, false, &err), "%s", err.text);
    temp_read(temp_folder, "f", text, sizeof text);
    cr_expect_str_eq(text, "two!");
    cr_assert_eq(stat(path_of("f"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_expect_eq(access(path_of("f.new"), F_OK), -1);
    cr_expect_not(file_replace(path_of("none/f"), "x", 1, true, &err));
    cr_expect_not_null(strstr(err.text, "none/f: can't be created"), "%s", err.text);
}

Test(file, that_is_there_is_replaced_only_when_asked)
{
    char text[32];
    struct err err = {{0}, {0}};
    cr_assert(file_write_text(path_of("f"), "one", 0600, false, &err), "%s", err.text);
    cr_expect_not(file_write_text(path_of("f"), "two", 0600, false, &err));
    cr_expect_not_null(strstr(err.text, "is there already"), "%s", err.text);
    temp_read(temp_folder, "f", text, sizeof text);
    cr_expect_str_eq(text, "one");
    cr_assert(file_write_text(path_of("f"), "two", 0600, true, &err), "%s", err.text);
    temp_read(temp_folder, "f", text, sizeof text);
    cr_expect_str_eq(text, "two");
}

Test(file, under_way_leaves_nothing_when_it_is_abandoned)
{
    struct file_draft draft;
    struct err err = {{0}, {0}};
    cr_assert(file_draft_write(&draft, path_of("f"), "x", 0600, &err), "%s", err.text);
    cr_expect_eq(access(path_of("f"), F_OK), -1);
    cr_expect_eq(access(draft.temp, F_OK), 0);
    file_draft_abandon(&draft);
    cr_assert(file_draft_write(&draft, path_of("f"), "x", 0600, &err), "%s", err.text);
    cr_assert(file_draft_commit(&draft, false, &err), "%s", err.text);
    cr_expect_eq(access(path_of("f"), F_OK), 0);
    file_draft_abandon(&draft);
    cr_expect_eq(rmdir(temp_folder), 0, "nothing is left");
    cr_assert_eq(mkdir(temp_folder, 0700), 0);
}

Test(file, a_byte_order_mark_is_left_out_and_utf_16_named)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } rows[] = {{"\xef\xbb\xbf"
                 "abc",
                 6, "abc"},
                {"\xef\xbb\xbf", 3, ""},
                {"\xef\xbb", 2, "\xef\xbb"},
                {"a\xef\xbb\xbf", 4, "a\xef\xbb\xbf"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct file file;
        struct err err = {{0}, {0}};
        temp_write(temp_folder, "f", rows[i].bytes, rows[i].len);
        cr_assert(file_read(&file, path_of("f"), LEN_MAX, FILE_ANY, &err), "%s", err.text);
        cr_expect_str_eq(file.bytes, rows[i].text, "row %zu", i);
        cr_expect_eq(file.len, strlen(rows[i].text), "row %zu", i);
        file_cleanup(&file);
    }
    temp_write(temp_folder, "f",
               "\xff\xfe"
               "a\0",
               4);
    expect_refused(path_of("f"), FILE_ANY, "is UTF-16: write it as UTF-8");
    temp_write(temp_folder, "f", "\xfe\xff\0a", 4);
    expect_refused(path_of("f"), FILE_ANY, "is UTF-16: write it as UTF-8");
}

Test(file, has_the_mode_that_was_asked_for_whatever_the_umask)
{
    struct stat st;
    struct err err = {{0}, {0}};
    umask(077);
    cr_assert(file_write_text(path_of("public"), "x", 0644, true, &err), "%s", err.text);
    cr_assert(file_write_text(path_of("secret"), "x", 0600, true, &err), "%s", err.text);
    cr_assert(stat(path_of("public"), &st) == 0);
    cr_expect_eq(st.st_mode & 0777, 0644);
    cr_assert(stat(path_of("secret"), &st) == 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
}
