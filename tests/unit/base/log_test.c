// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char output[1 << 20];

// Makes standard error a pipe, whose reading end is returned; log_init opens it again.
static int redirect(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    return ends[0];
}

static const char *drain(int fd)
{
    size_t len = 0;
    ssize_t got;
    while ((got = read(fd, output + len, sizeof output - 1 - len)) > 0) {
        len += (size_t)got;
    }
    output[len] = '\0';
    return output;
}

TestSuite(log, .timeout = 10);

Test(log, a_line_says_when_how_bad_who_and_what)
{
    int fd = redirect();
    log_init("tabard-test", LOG_LEVEL_INFO);
    log_info("msg=hello n=%d", 5);
    const char *line = drain(fd);
    cr_expect_eq(strncmp(line, "time=20", 7), 0, "%s", line);
    cr_expect_eq(line[28], 'Z', "%s", line);
    cr_expect_str_eq(line + 29, " level=info program=tabard-test msg=hello n=5\n");
}

Test(log, lines_below_the_level_are_not_written)
{
    int fd = redirect();
    log_init("t", LOG_LEVEL_WARN);
    log_debug("msg=debug");
    log_info("msg=info");
    log_warn("msg=warn");
    log_error("msg=error");
    const char *lines = drain(fd);
    cr_expect_null(strstr(lines, "msg=debug"));
    cr_expect_null(strstr(lines, "msg=info"));
    cr_expect_not_null(strstr(lines, "level=warn program=t msg=warn\n"));
    cr_expect_not_null(strstr(lines, "level=error program=t msg=error\n"));
}

Test(log, levels_are_read_by_their_names)
{
    enum log_level level = LOG_LEVEL_ERROR;
    cr_expect(log_level_parse(&level, "debug") && level == LOG_LEVEL_DEBUG);
    cr_expect(log_level_parse(&level, "info") && level == LOG_LEVEL_INFO);
    cr_expect(log_level_parse(&level, "warn") && level == LOG_LEVEL_WARN);
    cr_expect(log_level_parse(&level, "error") && level == LOG_LEVEL_ERROR);
    cr_expect_not(log_level_parse(&level, "INFO"));
    cr_expect_not(log_level_parse(&level, ""));
    cr_expect_eq(level, LOG_LEVEL_ERROR);
}

Test(log, a_long_line_is_cut_and_still_ends)
{
    static char text[LOG_LINE_MAX * 2];
    int fd = redirect();
    memset(text, 'x', sizeof text - 1);
    log_init("t", LOG_LEVEL_INFO);
    log_info("msg=%s", text);
    log_info("msg=next");
    const char *lines = drain(fd);
    const char *end = strchr(lines, '\n');
    cr_assert_not_null(end);
    cr_expect_eq(end - lines + 1, LOG_LINE_MAX);
    cr_expect_not_null(strstr(end, "msg=next\n"));
}

Test(log, a_full_pipe_never_blocks_and_the_loss_is_counted)
{
    int fd = redirect();
    log_init("t", LOG_LEVEL_INFO);
    for (int i = 0; i < 5000; i++) { // more than a pipe holds
        log_info("msg=filler number=%d", i);
    }
    const char *lines = drain(fd);
    unsigned num_lines = 0;
    for (const char *at = lines; (at = strchr(at, '\n')) != NULL; at++) {
        num_lines++;
    }
    cr_assert_lt(num_lines, 5000);
    log_info("msg=after");
    char want[64];
    snprintf(want, sizeof want, "log_dropped=%u msg=after\n", 5000 - num_lines);
    cr_expect_not_null(strstr(drain(fd), want), "%s instead of %s", output, want);
    log_info("msg=again");
    cr_expect_null(strstr(drain(fd), "log_dropped"));
}

Test(log, a_socket_that_nobody_reads_never_blocks_and_the_loss_is_counted)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    log_init("t", LOG_LEVEL_INFO);
    for (int i = 0; i < 20000; i++) { // more than a socket holds; the suite's timeout is the judge
        log_info("msg=\"a line that may find no room\" i=%d", i);
    }
    cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    drain(ends[0]);
    log_info("msg=after");
    cr_expect_not_null(strstr(drain(ends[0]), "log_dropped="));
}

// Makes standard error a pipe of another user, who lets us write but not open it.
static int redirect_to_anothers(void)
{
    int fd = redirect();
    if (geteuid() != 0 || seteuid(12345) != 0) {
        cr_skip_test("needs root, to become another user");
    }
    cr_assert_lt(open("/proc/self/fd/2", O_WRONLY), 0);
    return fd;
}

Test(log, another_users_pipe_never_blocks_and_the_loss_is_counted)
{
    int fd = redirect_to_anothers();
    log_init("t", LOG_LEVEL_INFO);
    for (int i = 0; i < 5000; i++) { // more than a pipe holds; the suite's timeout is the judge
        log_info("msg=filler number=%d", i);
    }
    cr_expect_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    unsigned num_lines = 0;
    for (const char *at = drain(fd); (at = strchr(at, '\n')) != NULL; at++) {
        num_lines++;
    }
    cr_expect_geq(num_lines, 16);
    cr_expect_eq(log_num_dropped(), 5000 - num_lines);
    log_info("msg=after");
    char want[64];
    snprintf(want, sizeof want, "log_dropped=%u msg=after\n", 5000 - num_lines);
    cr_expect_not_null(strstr(drain(fd), want), "%s instead of %s", output, want);
    log_info("msg=again");
    cr_expect_eq(strncmp(drain(fd), "time=", 5), 0, "%s", output);
    cr_expect_not_null(strstr(output, "program=t msg=again\n"));
}

Test(log, another_users_pipe_whose_reader_is_gone_is_survived)
{
    close(redirect_to_anothers());
    signal(SIGPIPE, SIG_IGN);
    log_init("t", LOG_LEVEL_INFO);
    log_info("msg=lost");
    log_info("msg=\"lost too\"");
    cr_expect_eq(log_num_dropped(), 2);
}

Test(log, a_line_of_which_a_full_disk_took_a_part_is_closed_and_counted)
{
    char path[] = "/tmp/tabard-log-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    unlink(path);
    cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    signal(SIGXFSZ, SIG_IGN);
    log_init("t", LOG_LEVEL_INFO);
    struct rlimit whole;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &whole), 0);
    // The limit on a file's size stops a write in the middle, as a full disk does.
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, whole.rlim_max}), 0);
    log_info("msg=whole");
    log_info("msg=torn");
    log_info("msg=lost");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &whole), 0);
    log_info("msg=after");
    ssize_t len = pread(fd, output, sizeof output - 1, 0);
    cr_assert_gt(len, 100);
    cr_expect_not_null(strstr(output, "msg=whole\ntime="), "%s", output);
    cr_expect_eq(output[100], '\n', "%s", output);
    cr_expect_eq(strncmp(output + 101, "time=", 5), 0, "%s", output);
    cr_expect_not_null(strstr(output + 101, "log_dropped=2 msg=after\n"), "%s", output);
    cr_expect_eq(log_num_dropped(), 2);
}

Test(log, closed_standard_descriptors_are_opened_before_anything_else)
{
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    log_init("t", LOG_LEVEL_INFO);
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        cr_expect_geq(fcntl(fd, F_GETFD), 0, "descriptor %d", fd);
    }
}

Test(log, the_pipe_of_others_stays_blocking)
{
    redirect();
    log_init("t", LOG_LEVEL_INFO);
    cr_expect_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

Test(log, errno_survives_a_line)
{
    int fd = redirect();
    log_init("t", LOG_LEVEL_INFO);
    close(fd);
    signal(SIGPIPE, SIG_IGN);
    errno = ENOENT;
    log_info("msg=x");
    cr_expect_eq(errno, ENOENT);
}

Test(log, a_quoted_value_cannot_forge_a_line)
{
    static const struct {
        const char *text;
        const char *quoted;
    } rows[] = {
        {"", "\"\""},
        {"plain text", "\"plain text\""},
        {"a\nmsg=forged", "\"a\\x0amsg=forged\""},
        {"\"\\", "\"\\x22\\x5c\""},
        {"\x1b[31m\x7f\xff", "\"\\x1b[31m\\x7f\\xff\""},
        {"tab\there", "\"tab\\x09here\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buf[128];
        cr_expect_str_eq(log_quote(buf, sizeof buf, rows[i].text), rows[i].quoted);
    }
}

Test(log, a_quoted_value_ends_with_a_quote_however_small_the_buffer)
{
    for (size_t size = 8; size < 40; size++) {
        char buf[40];
        memset(buf, 'z', sizeof buf);
        const char *quoted = log_quote(buf, size, "\n\nlong enough \n to be cut somewhere");
        size_t len = strlen(quoted);
        cr_expect_lt(len, size);
        cr_expect_eq(quoted[0], '"');
        cr_expect_eq(quoted[len - 1], '"');
        cr_expect(size == sizeof buf || buf[size] == 'z', "%zu", size);
    }
    cr_expect_str_eq(log_quote((char[7]){0}, 7, "x"), "");
}

Test(log, repeated_errors_are_let_through_once_an_interval)
{
    struct log_limit limit = {0};
    uint64_t passed_over = 99;
    cr_expect(log_allowed(&limit, 5, 1000, &passed_over));
    cr_expect_eq(passed_over, 0);
    cr_expect_not(log_allowed(&limit, 6, 1000, &passed_over));
    cr_expect_not(log_allowed(&limit, 1004, 1000, &passed_over));
    cr_expect(log_allowed(&limit, 1005, 1000, &passed_over));
    cr_expect_eq(passed_over, 2);
    cr_expect(log_allowed(&limit, 2005, 1000, &passed_over));
    cr_expect_eq(passed_over, 0);
}

Test(log, a_broken_invariant_aborts, .signal = SIGABRT)
{
    invariant(1 + 1 == 2);
    invariant(1 + 1 == 3);
}
