// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "control/host/lease.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define NOBODY 65534

static void set_up(void)
{
    temp_set_up();
    temp_write(temp_folder, "f", "text", 4);
}

TestSuite(lease, .timeout = 10, .init = set_up, .fini = temp_tear_down);

static int open_file(const char *name, int flags)
{
    char path[TEMP_PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    int fd = open(path, flags | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

static enum lease ask(int fd)
{
    enum lease lease = lease_begin(fd);
    if (lease == LEASE_HELD) {
        lease_end(fd);
    }
    return lease;
}

Test(lease, tells_of_a_writer_as_long_as_it_has_the_file_open)
{
    int fd = open_file("f", O_RDONLY);
    cr_expect_eq(ask(fd), LEASE_HELD);
    static const int modes[] = {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND};
    for (int i = 0; i < 3; i++) {
        int writer = open_file("f", modes[i]);
        cr_expect_eq(ask(fd), LEASE_WRITER);
        close(writer);
        cr_expect_eq(ask(fd), LEASE_HELD);
    }
    int reader = open_file("f", O_RDONLY);
    cr_expect_eq(ask(fd), LEASE_HELD, "another reader");
    close(reader);
    close(fd);
}

Test(lease, tells_of_a_writer_by_another_name_and_of_a_mapping)
{
    char path[TEMP_PATH_BYTES + 8];
    char other[TEMP_PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/f", temp_folder);
    snprintf(other, sizeof other, "%s/g", temp_folder);
    cr_assert_eq(link(path, other), 0);
    int fd = open_file("f", O_RDONLY);
    int writer = open_file("g", O_RDWR);
    cr_expect_eq(ask(fd), LEASE_WRITER);
    void *bytes = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    cr_assert_neq(bytes, MAP_FAILED);
    close(writer);
    cr_expect_eq(ask(fd), LEASE_WRITER, "mapped and closed");
    munmap(bytes, 4);
    cr_expect_eq(ask(fd), LEASE_HELD);
    close(fd);
}

Test(lease, makes_a_writer_wait_and_ends_nobody)
{
    int fd = open_file("f", O_RDONLY);
    int pipes[2];
    char byte = 0;
    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(lease_begin(fd), LEASE_HELD);
    pid_t pid = fork();
    if (pid == 0) {
        int writer = open_file("f", O_WRONLY);
        _exit(write(pipes[1], "x", 1) == 1 && writer >= 0 ? 0 : 1);
    }
    struct pollfd ready = {.fd = pipes[0], .events = POLLIN};
    cr_expect_eq(poll(&ready, 1, 100), 0, "it waits");
    lease_end(fd);
    cr_expect_eq(read(pipes[0], &byte, 1), 1);
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    close(fd);
}

Test(lease, is_denied_on_a_file_of_another_user)
{
    if (geteuid() != 0) {
        cr_skip_test("only root can become somebody else");
    }
    int fd = open_file("f", O_RDONLY);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(setuid(NOBODY) == 0 && lease_begin(fd) == LEASE_DENIED ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    close(fd);
}

Test(lease, tells_nothing_of_a_file_system_that_is_not_known_to_be_local)
{
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_expect_eq(lease_begin(fd), LEASE_BLIND);
    close(fd);
}
