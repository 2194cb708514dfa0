// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/policyd/stream/version.h"
#include "tests/unit/support/temp.h"

#define TIMEOUT 20

#define VERSION_TEST(name)                                                                         \
    Test(version, name, .init = temp_set_up, .fini = temp_tear_down, .timeout = TIMEOUT)

VERSION_TEST(grows_through_clocks_that_stand_or_go_back_and_over_a_restart)
{
    struct version version;
    struct err err = {{0}, {0}};
    static const uint64_t clock[] = {1000, 1000, 500, 2000, 1, 2000, 2001};
    uint64_t last = 0;
    cr_assert(version_open(&version, temp_folder, 1000, &err), "%s", err.text);
    for (size_t i = 0; i < sizeof clock / sizeof clock[0]; i++) {
        last = version.last;
        cr_assert(version_draw(&version, clock[i], &err), "%s", err.text);
        cr_expect_gt(version.last, last, "draw %zu", i);
    }
    last = version.last;
    version_cleanup(&version);
    cr_assert(version_open(&version, temp_folder, 3, &err), "%s", err.text);
    cr_expect_gt(version.last, last, "after a restart");
    version_cleanup(&version);
}

VERSION_TEST(of_several_processes_is_never_drawn_twice)
{
    enum { NUM = 500, NUM_PROCESSES = 2 };
    static uint64_t all[NUM * NUM_PROCESSES];
    struct err err = {{0}, {0}};
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    for (int p = 0; p < NUM_PROCESSES; p++) {
        if (fork() == 0) {
            struct version version;
            bool ok = version_open(&version, temp_folder, 1000, &err);
            for (int i = 0; ok && i < NUM; i++) {
                uint64_t before = version.last;
                ok = version_draw(&version, 1000, &err) && version.last > before &&
                     write(pipes[1], &version.last, sizeof version.last) == sizeof version.last;
            }
            _exit(!ok);
        }
    }
    for (size_t i = 0; i < NUM * NUM_PROCESSES; i++) {
        cr_assert_eq(read(pipes[0], &all[i], sizeof all[i]), (ssize_t)sizeof all[i]);
        for (size_t k = 0; k < i; k++) {
            cr_assert_neq(all[i], all[k], "%lu was drawn twice", (unsigned long)all[i]);
        }
    }
    while (wait(NULL) > 0) {
    }
}

VERSION_TEST(is_never_below_what_another_policyd_gave_a_sidecar)
{
    struct version a, b;
    struct err err = {{0}, {0}};
    cr_assert(version_open(&a, temp_folder, 1000, &err) &&
              version_open(&b, temp_folder, 1000, &err));
    for (int i = 0; i < 10; i++) {
        cr_assert(version_draw(&a, 1000, &err));
    }
    cr_assert_lt(b.last, a.last);
    uint64_t ticket = 0;
    cr_expect_eq(version_reach(&b, a.last, &ticket, 1000), VERSION_REACHED);
    cr_expect_gt(b.last, a.last);
    uint64_t last = b.last;
    cr_expect_eq(version_reach(&b, a.last, &ticket, 1000), VERSION_REACHED);
    cr_expect_eq(b.last, last, "a second sidecar costs no draw");
    cr_expect_eq(version_reach(&b, 1u << 30, &ticket, 1000), VERSION_FOREIGN,
                 "nobody drew that here");
    cr_expect_eq(version_least(&b, 1u << 30), 0);
    cr_expect_eq(b.last, last, "a sidecar can't drive the counter up");
    version_cleanup(&a);
    version_cleanup(&b);
}

VERSION_TEST(goes_on_by_the_clock_where_the_file_is_no_version)
{
    struct version version;
    struct err err = {{0}, {0}};
    cr_assert(version_open(&version, temp_folder, 1000, &err));
    static const char text[] = "not a number, really\n";
    temp_write(temp_folder, "version", text, strlen(text));
    uint64_t last = version.last;
    cr_expect_not(version_draw(&version, 1000, &err));
    cr_expect_not_null(strstr(err.text, "not a version"), "%s", err.text);
    cr_expect_gt(version.last, last);
    version_cleanup(&version);
}

// Kubernetes' revisions.

static unsigned num_relists;
static uint64_t wanted;

static void on_relist(void *ctx, uint64_t revision)
{
    (void)ctx;
    wanted = revision;
    num_relists++;
}

static uint64_t at(uint64_t revision, uint64_t counter)
{
    return (revision << VERSION_COUNTER_BITS) + counter;
}

Test(version, by_revision_grows_with_each_draw_and_leaps_to_what_is_newer, .timeout = TIMEOUT)
{
    struct version version;
    struct err err = {{0}, {0}};
    version_open_revision(&version, on_relist, NULL);
    version_revise(&version, 100, 90);
    cr_assert(version_draw(&version, 1, &err));
    cr_expect_eq(version.last, at(100, 0));
    cr_assert(version_draw(&version, 1, &err));
    cr_expect_eq(version.last, at(100, 1));
    version_revise(&version, 99, 80);
    cr_assert(version_draw(&version, 1, &err));
    cr_expect_eq(version.last, at(100, 2), "an older object makes nothing older");
    version_revise(&version, 120, 120);
    cr_assert(version_draw(&version, 1, &err));
    cr_expect_eq(version.last, at(120, 0));
    version_cleanup(&version);
}

Test(version, a_sidecar_that_holds_more_waits_until_all_of_that_is_here, .timeout = TIMEOUT)
{
    struct version version;
    uint64_t ticket = 0;
    num_relists = 0;
    version_open_revision(&version, on_relist, NULL);
    version_revise(&version, 100, 90);
    cr_expect_eq(version_reach(&version, at(90, 65535), &ticket, 0), VERSION_REACHED);
    cr_expect_eq(num_relists, 0);
    cr_expect_eq(version_reach(&version, at(91, 0), &ticket, 0), VERSION_LATER,
                 "something of 91 may be missing, though there is something of 100");
    cr_expect_eq(num_relists, 1);
    cr_expect_eq(version_reach(&version, at(91, 0), &ticket, 0), VERSION_LATER);
    version_revise(&version, 100, 91);
    cr_expect_eq(version_reach(&version, at(91, 0), &ticket, 0), VERSION_REACHED);
    cr_expect_eq(version_least(&version, at(91, 7)), at(91, 7),
                 "another replica may have drawn more of this revision");
    version_cleanup(&version);
}

Test(version, many_that_wait_cost_one_list_in_a_while, .timeout = TIMEOUT)
{
    struct version version;
    uint64_t tickets[3] = {0};
    num_relists = 0;
    version_open_revision(&version, on_relist, NULL);
    cr_expect_eq(version_reach(&version, at(5, 0), &tickets[0], 1000), VERSION_LATER);
    cr_expect_eq(version_reach(&version, at(6, 0), &tickets[1], 2000), VERSION_LATER);
    cr_expect_eq(version_reach(&version, at(6, 0), &tickets[2], 2000), VERSION_LATER);
    cr_expect_eq(num_relists, 1);
    cr_expect_eq(wanted, 5);
    version_relisted(&version);
    cr_expect_eq(version_reach(&version, at(5, 0), &tickets[0], 3000), VERSION_FOREIGN,
                 "nothing in the API server is newer than what is here now");
    cr_expect_eq(version_reach(&version, at(6, 0), &tickets[1], 3000), VERSION_LATER,
                 "the list had begun before this one came");
    version_tick(&version, 1000 + VERSION_RELIST_US - 1);
    cr_expect_eq(num_relists, 1, "too soon");
    version_tick(&version, 1000 + VERSION_RELIST_US);
    version_tick(&version, 1000 + 3 * VERSION_RELIST_US);
    cr_expect_eq(num_relists, 2, "one at a time");
    cr_expect_eq(wanted, 6, "no more than somebody needs");
    version_relisted(&version);
    cr_expect_eq(version_reach(&version, at(6, 0), &tickets[1], 3000), VERSION_FOREIGN);
    cr_expect_eq(version_reach(&version, at(6, 0), &tickets[2], 3000), VERSION_FOREIGN);
    version_tick(&version, 1000 + 9 * VERSION_RELIST_US);
    cr_expect_eq(num_relists, 2, "nobody waits");
    version_cleanup(&version);
}
