// SPDX-License-Identifier: Apache-2.0
#include "proxy/limits/room.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/tabard-room-XXXXXX";

static void put(const char *path, const char *text)
{
    char command[512];
    char full[256];
    snprintf(full, sizeof full, "%s/%s", root, path);
    snprintf(command, sizeof command, "mkdir -p $(dirname %s)", full);
    cr_assert(system(command) == 0);
    FILE *file = fopen(full, "w");
    cr_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static uint64_t memory_of(const char *list)
{
    char path[256];
    struct room room;
    put("list", list);
    snprintf(path, sizeof path, "%s/list", root);
    room_read(&room, path, root);
    return room.memory_bytes;
}

static void begin(void)
{
    cr_assert(mkdtemp(root) != NULL);
}

static void end(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    cr_assert(system(command) == 0);
}

TestSuite(room, .init = begin, .fini = end, .timeout = 20);

Test(room, the_least_limit_of_a_group_and_those_above_it_counts)
{
    put("pods/memory.max", "200000000\n");
    put("pods/one/memory.max", "max\n");
    cr_expect(memory_of("0::/pods/one\n") == 200000000);
    put("pods/one/memory.max", "100000000\n");
    cr_expect(memory_of("0::/pods/one\n") == 100000000);
    put("memory/box/memory.limit_in_bytes", "50000000\n");
    cr_expect(memory_of("3:cpuset:/\n4:cpu,memory:/box\n0::/pods/one\n") == 50000000);
    put("memory/box/memory.limit_in_bytes", "9223372036854771712\n");
    cr_expect(memory_of("4:memory:/box\n") == UINT64_MAX, "nobody has set one");
    cr_expect(memory_of("4:hugememory,memoryx:/box\n") == UINT64_MAX);
}

Test(room, in_a_container_whose_group_is_mounted_as_the_root_the_root_s_limit_counts)
{
    put("memory.max", "64000000\n");
    cr_expect(memory_of("0::/a/path/of/the/host\n") == 64000000);
}

Test(room, without_a_limit_or_a_list_none_is_known)
{
    cr_expect(memory_of("0::/\n") == UINT64_MAX);
    cr_expect(memory_of("no list at all") == UINT64_MAX);
    struct room room;
    room_read(&room, "/nonexistent", root);
    cr_expect(room.memory_bytes == UINT64_MAX && room.descriptors > 0);
}

Test(room, limits_are_lowered_to_what_fits_and_never_raised)
{
    struct limits limits = {
        .connections = 65536, .handshakes = 4096, .hellos = 16384, .buffer_bytes = 512u << 20};
    const struct room large = {.memory_bytes = UINT64_MAX, .descriptors = UINT32_MAX};
    const struct room small = {.memory_bytes = 128u << 20, .descriptors = 100000};
    const struct room tiny = {.memory_bytes = 1, .descriptors = 1};
    room_fit(&limits, &large);
    cr_expect(limits.connections == 65536 && limits.handshakes == 4096 && limits.hellos == 16384);
    room_fit(&limits, &small);
    cr_expect(limits.connections == 4096 && limits.handshakes == 128 && limits.hellos == 2048);
    cr_expect(limits.buffer_bytes == 32u << 20);
    room_fit(&limits, &tiny);
    cr_expect(limits.connections == 1 && limits.handshakes == 1 && limits.hellos == 1);
}

Test(room, workers_and_listeners_take_descriptors_before_connections_do)
{
    static const struct {
        uint32_t all;
        unsigned num_workers;
        size_t num_listeners;
        uint32_t left;
    } rows[] = {
        {1u << 20, 1, 1, (1u << 20) - 256},
        {1024, 1, 1, 768},
        {1024, 8, 1, 768},
        {1024, 25, 1, 1024 - 266},
        {1024, 25, 8, 1024 - 616},
        {8192, 256, 3, 8192 - 3600},
        {64, 2, 1, 28},
        {64, 8, 1, 16}, // not enough for itself: one connection of each worker
        {4096, 256, 3, 512},
        {64, 256, 1000000, 512},
        {UINT32_MAX, 1, 1, UINT32_MAX - 256},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct room process = {.memory_bytes = 7, .descriptors = rows[i].all};
        struct room left =
            room_for_connections(&process, rows[i].num_workers, rows[i].num_listeners);
        cr_expect_eq(left.descriptors, rows[i].left, "row %zu: %u", i, left.descriptors);
        cr_expect_eq(left.memory_bytes, 7);
    }
}
