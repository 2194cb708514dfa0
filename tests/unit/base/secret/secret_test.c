// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "base/secret/secret.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(secret, .timeout = 20);

static size_t num_told;

static void on_overflow(size_t locked_len)
{
    (void)locked_len;
    num_told++;
}

static struct secret_facts open_secret(void)
{
    return secret_open(on_overflow);
}

// Whether /proc/self/smaps has a flag for the mapping of an address.
static bool has_flag(const void *ptr, const char *flag)
{
    char line[512];
    bool is_there = false;
    bool has = false;
    FILE *file = fopen("/proc/self/smaps", "re");
    while (fgets(line, sizeof line, file) != NULL) {
        uintptr_t start, end;
        if (sscanf(line, "%zx-%zx ", &start, &end) == 2) {
            is_there = (uintptr_t)ptr >= start && (uintptr_t)ptr < end;
        } else if (is_there && strncmp(line, "VmFlags:", 8) == 0) {
            has = strstr(line, flag) != NULL;
        }
    }
    fclose(file);
    return has;
}

// Looks at what really lies there: a compiler may know what was written to memory that was just
// had.
static bool is_zero(const volatile char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

Test(secret, memory_is_locked_left_out_of_core_files_and_wiped)
{
    open_secret();
    char *key = secret_alloc(100);
    cr_expect(has_flag(key, " lo"), "not locked");
    cr_expect(has_flag(key, " dd"), "in core files");
    cr_expect(has_flag(key, " wf"), "in children");
    cr_expect_geq(secret_len(key), 100);
    memset(key, 'k', secret_len(key));
    size_t len = secret_len(key);
    secret_free(key);
    cr_expect(is_zero(key, len));
}

Test(secret, a_child_has_none)
{
    open_secret();
    char *key = secret_alloc(100);
    memset(key, 'k', 100);
    pid_t child = fork();
    if (child == 0) {
        _exit(is_zero(key, 100) ? 0 : 1);
    }
    int status = -1;
    cr_expect_eq(waitpid(child, &status, 0), child);
    cr_expect_eq(status, 0, "%x", (unsigned)status);
    cr_expect_eq(key[99], 'k');
}

Test(secret, allocations_do_not_overlap_and_what_is_freed_is_used_again)
{
    enum { NUM = 64, ROUNDS = 2000 };
    char *all[NUM] = {NULL};
    size_t lens[NUM] = {0};
    open_secret();
    unsigned seed = 1;
    for (int round = 0; round < ROUNDS; round++) {
        int i = rand_r(&seed) % NUM;
        for (size_t at = 0; at < lens[i]; at++) {
            cr_assert_eq(all[i][at], (char)i);
        }
        secret_free(all[i]);
        lens[i] = (size_t)(rand_r(&seed) % 20000);
        all[i] = secret_alloc(lens[i]);
        cr_assert_eq((uintptr_t)all[i] % 16, 0);
        memset(all[i], i, lens[i]);
    }
    for (int i = 0; i < NUM; i++) {
        secret_free(all[i]);
    }
    char *whole = secret_alloc(SECRET_BYTES - 1);
    cr_expect(has_flag(whole, " dd"), "all was freed and yet not all can be had");
    secret_free(whole);
}

Test(secret, what_finds_no_room_comes_from_elsewhere_and_that_is_told_once)
{
    cr_assert_eq(open_secret().locked_len, SECRET_BYTES, "more may be locked here");
    char *whole = secret_alloc(SECRET_BYTES - 1);
    cr_expect_eq(num_told, 0);
    char *more = secret_alloc(100);
    char *yet_more = secret_alloc(100);
    cr_expect_eq(num_told, 1);
    memset(more, 'k', 100);
    secret_free(more);
    secret_free(yet_more);
    secret_free(whole);
}

Test(secret, where_little_may_be_locked_that_is_used_first_and_it_is_told)
{
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){64 << 10, 64 << 10}), 0);
    if (geteuid() == 0) {
        cr_assert_eq(seteuid(65534), 0); // and with it goes CAP_IPC_LOCK
    }
    struct secret_facts facts = open_secret();
    cr_expect_eq(facts.locked_len, 64 << 10);
    cr_expect(facts.is_left_out);
    char *first = secret_alloc(60 << 10);
    cr_expect_eq(num_told, 0);
    char *second = secret_alloc(60 << 10);
    cr_expect_eq(num_told, 1);
    cr_expect(has_flag(first, " lo"));
    cr_expect_not(has_flag(second + (59 << 10), " lo"));
    cr_expect(has_flag(second + (59 << 10), " dd"));
}

Test(secret, without_secret_open_memory_is_had_and_wiped_all_the_same)
{
    char *key = secret_alloc(100);
    cr_expect_geq(secret_len(key), 100);
    secret_free(key);
    secret_free(NULL);
    secret_free(malloc(10));
    cr_expect_eq(secret_len(NULL), 0);
}

static uintptr_t left_at;

__attribute__((noinline)) static void leave_on_the_stack(char with)
{
    volatile char copy[1024];
    for (size_t i = 0; i < sizeof copy; i++) {
        copy[i] = with;
    }
    left_at = (uintptr_t)copy;
}

__attribute__((no_sanitize("address"))) static size_t num_left(uintptr_t at, char with)
{
    size_t num = 0;
    for (size_t i = 0; i < 1024; i++) {
        num += ((const volatile char *)at)[i] == with;
    }
    return num;
}

Test(secret, the_end_wipes_the_stack_and_may_be_nested)
{
    secret_begin();
    secret_begin();
    secret_end();
    cr_expect(secret_is_begun());
    leave_on_the_stack('k');
    secret_end();
    size_t num = num_left(left_at, 'k');
    // What the frames of secret_end and num_left cover is left, more of it under a sanitizer.
    cr_expect_lt(num, 256, "%zu bytes are left", num);
    cr_expect_not(secret_is_begun());
}
