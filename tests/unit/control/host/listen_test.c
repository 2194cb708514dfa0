// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "control/host/listen.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    return path;
}

TestSuite(listen_unix, .init = temp_set_up, .fini = temp_tear_down, .timeout = 20);

Test(listen_unix, makes_the_socket_for_its_owner_alone_and_the_missing_folder)
{
    struct err err = {{0}, {0}};
    int fd = listen_unix(path_of("run/admin.sock"), &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    struct stat st;
    cr_assert_eq(stat(path_of("run/admin.sock"), &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
    cr_assert_eq(stat(path_of("run"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0755);
    close(fd);
    listen_unix_remove(path_of("run/admin.sock"));
    cr_expect_neq(stat(path_of("run/admin.sock"), &st), 0, "removed at the end");
}

Test(listen_unix, replaces_what_a_dead_process_left)
{
    int dead = listen_unix(path_of("admin.sock"), NULL);
    cr_assert_geq(dead, 0);
    close(dead);
    struct err err = {{0}, {0}};
    int fd = listen_unix(path_of("admin.sock"), &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    close(fd);
}

Test(listen_unix, refuses_where_another_process_listens_and_names_it)
{
    int living = listen_unix(path_of("admin.sock"), NULL);
    cr_assert_geq(living, 0);
    struct err err = {{0}, {0}};
    cr_expect_eq(listen_unix(path_of("admin.sock"), &err), -1);
    char words[64];
    snprintf(words, sizeof words, "another process (%d)", (int)getpid());
    cr_expect(strstr(err.text, words) != NULL && strstr(err.text, "admin.sock") != NULL, "%s",
              err.text);
    listen_unix_remove(path_of("admin.sock"));
    struct stat st;
    cr_expect_eq(stat(path_of("admin.sock"), &st), 0, "and doesn't remove its socket");
    close(living);
}

Test(listen_unix, removes_no_file_that_is_no_socket)
{
    FILE *file = fopen(path_of("admin.sock"), "w");
    cr_assert_not_null(file);
    fclose(file);
    struct err err = {{0}, {0}};
    cr_expect_eq(listen_unix(path_of("admin.sock"), &err), -1);
    cr_expect(strstr(err.text, "no socket") != NULL, "%s", err.text);
    listen_unix_remove(path_of("admin.sock"));
    struct stat st;
    cr_expect_eq(stat(path_of("admin.sock"), &st), 0);
}

Test(listen_unix, refuses_a_path_that_is_too_long_or_has_no_folder)
{
    char path[256];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    struct err err = {{0}, {0}};
    cr_expect_eq(listen_unix(path, &err), -1);
    cr_expect(strstr(err.text, "at most 107 bytes") != NULL, "%s", err.text);
    cr_expect_eq(listen_unix(path_of("a/b/admin.sock"), &err), -1);
    cr_expect(strstr(err.text, "folder") != NULL, "%s", err.text);
}

Test(listen_tcp, tells_the_port_and_refuses_a_taken_one, .timeout = 20)
{
    struct addr addr;
    struct addr bound;
    struct err err = {{0}, {0}};
    cr_assert(addr_parse(&addr, "127.0.0.1:0", true, NULL));
    int fd = listen_tcp(&addr, &bound, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    cr_expect_neq(bound.port, 0);
    cr_expect_eq(listen_tcp(&bound, &addr, &err), -1);
    char words[ADDR_TEXT_MAX];
    cr_expect(strstr(err.text, addr_text(&bound, words)) != NULL &&
                  strstr(err.text, "already in use") != NULL,
              "%s", err.text);
    close(fd);
}

Test(listen_tcp, the_wildcard_serves_ipv4_also, .timeout = 20)
{
    struct addr addr;
    struct addr bound;
    struct err err = {{0}, {0}};
    cr_assert(addr_parse(&addr, "[::]:0", true, NULL));
    int fd = listen_tcp(&addr, &bound, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    struct addr target;
    cr_assert(addr_parse(&target, "127.0.0.1:1", false, NULL));
    target.port = bound.port;
    struct sockaddr_storage storage;
    socklen_t len = addr_to_sockaddr(&target, &storage);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_expect_eq(connect(client, (struct sockaddr *)&storage, len), 0);
    close(client);
    close(fd);
}

Test(netns_lock, is_held_by_one_and_named_by_the_other, .timeout = 20)
{
    struct err err = {{0}, {0}};
    int fd = listen_netns_lock(55001, 55006, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    cr_expect_eq(listen_netns_lock(55001, 55006, &err), -1);
    char words[64];
    snprintf(words, sizeof words, "(process %d) already intercepts on ports 55001 and 55006",
             (int)getpid());
    cr_expect(strstr(err.text, words) != NULL, "%s", err.text);
    int other = listen_netns_lock(55001, 55007, &err);
    cr_expect_geq(other, 0, "other ports are another lock");
    close(other);
    close(fd);
    fd = listen_netns_lock(55001, 55006, &err);
    cr_expect_geq(fd, 0, "it ends with its descriptor");
    close(fd);
}

Test(netns_lock, holds_in_its_own_network_namespace_only, .timeout = 20)
{
    int fd = listen_netns_lock(55101, 55106, NULL);
    cr_assert_geq(fd, 0);
    if (unshare(CLONE_NEWNET) != 0) {
        close(fd);
        cr_skip_test("no network namespace can be made here: needs root");
    }
    struct err err = {{0}, {0}};
    int other = listen_netns_lock(55101, 55106, &err);
    cr_expect_geq(other, 0, "%s", err.text);
    close(other);
    close(fd);
}

static void expect_own(const char *const *texts, const char *when)
{
    struct listen_addrs own = listen_own(15020);
    char text[ADDR_TEXT_MAX];
    size_t num = 0;
    for (; texts[num] != NULL; num++) {
        cr_assert_lt(num, own.num, "%s: no %s", when, texts[num]);
        cr_expect_str_eq(addr_text(&own.addrs[num], text), texts[num], "%s", when);
    }
    cr_expect_eq(own.num, num, "%s", when);
}

Test(listen_own, is_loopback_and_what_the_host_calls_others_from, .timeout = 20)
{
    if (unshare(CLONE_NEWNET) != 0) {
        cr_skip_test("no network namespace can be made here: needs root");
    }
    cr_assert_eq(system("ip link set lo up && ip link add one type veth peer name two && "
                        "ip link set one up && ip link set two up"),
                 0);
    expect_own((const char *[]){"127.0.0.1:15020", "[::1]:15020", NULL}, "no address");
    cr_assert_eq(system("ip addr add 10.9.0.1/24 dev one"), 0);
    expect_own((const char *[]){"127.0.0.1:15020", "10.9.0.1:15020", "[::1]:15020", NULL},
               "no route");
    cr_assert_eq(system("ip addr add 10.8.0.1/24 dev two && ip route add default via 10.8.0.2 && "
                        "ip addr add fd99::1/64 dev one nodad && "
                        "ip -6 route add default via fd99::2 dev one"),
                 0);
    expect_own((const char *[]){"127.0.0.1:15020", "10.8.0.1:15020", "[::1]:15020",
                                "[fd99::1]:15020", NULL},
               "two interfaces");
}
