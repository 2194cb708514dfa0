// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/token.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define ID  "spiffe://demo.example/a"
#define NOW 1000000

static char token[TOKEN_TEXT_MAX];
static char id[SPIFFE_ID_LEN_MAX + 1];
static struct err err;

static enum token_result use(const char *text, time_t now)
{
    struct token_name name;
    err = (struct err){{0}, {0}};
    enum token_result result = token_find(&name, id, temp_folder, text, now, &err);
    result = result == TOKEN_OK ? token_hold(&name, temp_folder, now, &err) : result;
    return result == TOKEN_OK ? token_spend(&name, temp_folder, &err) : result;
}

static void make(time_t expires)
{
    cr_assert(token_make(token, temp_folder, ID, expires, &err), "%s", err.text);
}

TestSuite(token, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

Test(token, admits_once_as_the_identity_it_was_made_for)
{
    make(NOW + 60);
    cr_expect_eq(strncmp(token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)), 0);
    cr_expect_eq(strlen(token), strlen(TOKEN_PREFIX) + 64);
    cr_expect_eq(use(token, NOW), TOKEN_OK, "%s", err.text);
    cr_expect_str_eq(id, ID);
    cr_expect_eq(use(token, NOW), TOKEN_USED);
    cr_expect_not_null(strstr(err.text, "was used before"), "%s", err.text);
}

Test(token, that_expired_is_refused_to_the_second)
{
    make(NOW);
    cr_expect_eq(use(token, NOW), TOKEN_EXPIRED);
    cr_expect_str_eq(err.text, "the join token expired 0 seconds ago");
    cr_expect_eq(use(token, NOW - 1), TOKEN_OK);
}

Test(token, is_held_by_whoever_comes_first_who_uses_it_up_or_gives_it_back)
{
    struct token_name one, two;
    make(NOW + 60);
    cr_assert_eq(token_find(&one, id, temp_folder, token, NOW, &err), TOKEN_OK);
    cr_assert_eq(token_find(&two, id, temp_folder, token, NOW, &err), TOKEN_OK);
    cr_expect_eq(token_hold(&one, temp_folder, NOW, &err), TOKEN_OK);
    cr_expect_eq(token_hold(&two, temp_folder, NOW, &err), TOKEN_HELD);
    cr_expect_eq(token_find(&two, id, temp_folder, token, NOW, &err), TOKEN_HELD);
    cr_expect_not_null(strstr(err.text, "good again within 60 seconds"), "%s", err.text);
    token_give_back(&one, temp_folder);
    cr_expect_eq(use(token, NOW), TOKEN_OK);
    cr_expect_eq(use(token, NOW), TOKEN_USED);
}

// As one of a policyd that was killed.
Test(token, that_nobody_gives_back_is_good_again_after_a_while_by_whichever_clock)
{
    struct token_name name;
    make(NOW + 1000);
    for (int sign = -1; sign <= 1; sign += 2) {
        time_t later = NOW + sign * (TOKEN_HOLD_SECONDS + 1);
        cr_assert_eq(token_find(&name, id, temp_folder, token, NOW, &err), TOKEN_OK);
        cr_expect_eq(token_hold(&name, temp_folder, NOW, &err), TOKEN_OK);
        token_sweep(temp_folder, later - sign);
        cr_expect_eq(token_find(&name, id, temp_folder, token, later - sign, &err), TOKEN_HELD);
        cr_expect_eq(token_find(&name, id, temp_folder, token, later, &err), TOKEN_OK);
    }
    cr_expect_eq(token_spend(&name, temp_folder, &err), TOKEN_OK, "it is late, and nobody else's");
    cr_expect_eq(token_spend(&name, temp_folder, &err), TOKEN_USED);
}

// Two streams of one token: the first one's hold has grown old, and the second has it.
Test(token, is_moved_on_by_nobody_but_its_holder)
{
    struct token_name one, two;
    const time_t later = NOW + TOKEN_HOLD_SECONDS + 1;
    bool is_spent = false;
    make(NOW + 1000);
    cr_assert_eq(token_find(&one, id, temp_folder, token, NOW, &err), TOKEN_OK);
    cr_assert_eq(token_hold(&one, temp_folder, NOW, &err), TOKEN_OK);
    cr_assert_eq(token_find(&two, id, temp_folder, token, later, &err), TOKEN_OK);
    cr_assert_eq(token_hold(&two, temp_folder, later, &err), TOKEN_OK);
    token_give_back(&one, temp_folder);
    cr_expect_eq(token_keep(&one, temp_folder, later, &err), TOKEN_HELD);
    cr_expect_eq(token_count(&one, temp_folder, later, &is_spent, &err), TOKEN_HELD);
    cr_expect_eq(token_spend(&one, temp_folder, &err), TOKEN_HELD);
    struct token_name three;
    cr_expect_eq(token_find(&three, id, temp_folder, token, later, &err), TOKEN_HELD);
    cr_expect_eq(token_spend(&two, temp_folder, &err), TOKEN_OK, "%s", err.text);
    cr_expect_eq(token_spend(&one, temp_folder, &err), TOKEN_USED);
}

Test(token, stays_held_for_as_long_as_its_holder_keeps_it)
{
    struct token_name one, two;
    make(NOW + 1000);
    cr_assert_eq(token_find(&one, id, temp_folder, token, NOW, &err), TOKEN_OK);
    cr_assert_eq(token_hold(&one, temp_folder, NOW, &err), TOKEN_OK);
    for (time_t now = NOW; now < NOW + 900; now += TOKEN_KEEP_SECONDS) {
        cr_expect_eq(token_keep(&one, temp_folder, now, &err), TOKEN_OK);
        cr_expect_eq(token_find(&two, id, temp_folder, token, now + 1, &err), TOKEN_HELD);
    }
}

Test(token, brings_only_so_many_certificates_that_nobody_accepts)
{
    struct token_name name;
    make(NOW + 1000);
    for (int i = 1; i <= TOKEN_CERTIFICATES_MAX; i++) {
        bool is_spent = false;
        cr_assert_eq(token_find(&name, id, temp_folder, token, NOW, &err), TOKEN_OK, "%d", i);
        cr_assert_eq(token_hold(&name, temp_folder, NOW, &err), TOKEN_OK);
        cr_expect_eq(token_count(&name, temp_folder, NOW, &is_spent, &err), TOKEN_OK);
        cr_expect_eq(is_spent, i == TOKEN_CERTIFICATES_MAX, "%d", i);
        if (!is_spent) {
            token_give_back(&name, temp_folder);
        }
    }
    cr_expect_str_eq(id, ID);
    cr_expect_eq(token_find(&name, id, temp_folder, token, NOW, &err), TOKEN_USED);
}

Test(token, that_nobody_made_is_unknown_whatever_it_looks_like)
{
    static const char *const texts[] = {"", "x", "../../etc/passwd", TOKEN_PREFIX, "used"};
    make(NOW + 60);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cr_expect_eq(use(texts[i], NOW), TOKEN_UNKNOWN, "\"%s\"", texts[i]);
    }
    token[strlen(token) - 1] ^= 1;
    cr_expect_eq(use(token, NOW), TOKEN_UNKNOWN, "one bit off");
}

static void each_file(const char *folder, void (*on_path)(const char *path))
{
    char command[200], line[200];
    snprintf(command, sizeof command, "find %s -type f", folder);
    FILE *list = popen(command, "re");
    while (fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        on_path(line);
    }
    pclose(list);
}

static unsigned num_seen;

static void look(const char *path)
{
    struct stat st;
    char text[200] = "";
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    FILE *file = fopen(path, "re");
    cr_expect_not_null(fgets(text, sizeof text, file));
    fclose(file);
    cr_expect_null(strstr(text, token + strlen(TOKEN_PREFIX)), "the token itself is kept");
    cr_expect_null(strstr(path, token + strlen(TOKEN_PREFIX)), "the token itself is kept");
    num_seen++;
}

Test(token, is_kept_as_a_hash_that_only_its_owner_reads)
{
    make(NOW + 60);
    each_file(temp_folder, look);
    cr_expect_eq(num_seen, 1);
}

static void spoil(const char *path)
{
    FILE *file = fopen(path, "we");
    fputs("no blank and no time", file);
    fclose(file);
}

Test(token, whose_file_is_spoiled_admits_nobody)
{
    make(NOW + 60);
    each_file(temp_folder, spoil);
    cr_expect_eq(use(token, NOW), TOKEN_BROKEN);
    cr_expect_eq(use(token, NOW), TOKEN_BROKEN);
}

Test(token, is_swept_away_a_day_after_its_end_and_not_before)
{
    char used[TOKEN_TEXT_MAX];
    make(NOW);
    strcpy(used, token);
    cr_expect_eq(use(used, NOW - 1), TOKEN_OK);
    make(NOW);
    token_sweep(temp_folder, NOW + TOKEN_MEMORY_SECONDS);
    cr_expect_eq(use(used, NOW), TOKEN_USED);
    token_sweep(temp_folder, NOW + TOKEN_MEMORY_SECONDS + 1);
    cr_expect_eq(use(used, NOW), TOKEN_UNKNOWN);
    cr_expect_eq(use(token, NOW), TOKEN_UNKNOWN);
}
