// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/policyd/stream/admit.h"
#include "control/policyd/stream/token.h"
#include "tests/unit/support/temp.h"

#define TIMEOUT 20
#define NOW     1800000000
#define A       "spiffe://demo.example/a"
#define B       "spiffe://demo.example/b"
#define C       "spiffe://demo.example/c"
#define GONE    "spiffe://demo.example/gone"

static struct fleet *make_fleet(void)
{
    const char *text = "workloads:\n"
                       "- {spiffe_id: '" A "', unix_uids: [10, 12], by_certificate: true}\n"
                       "- {spiffe_id: '" B "', unix_uids: [11, 12], by_join_token: true}\n"
                       "- {spiffe_id: '" C "'}\n";
    const struct fleet_piece piece = {.name = "a", .text = text, .len = strlen(text)};
    struct err err = {{0}, {0}};
    struct fleet *fleet = fleet_new(&piece, 1, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    return fleet;
}

static enum token_result token_use(char *id, const char *dir, const char *token, time_t now,
                                   struct err *err)
{
    struct token_name name;
    enum token_result found = token_find(&name, id, dir, token, now, err);
    found = found == TOKEN_OK ? token_hold(&name, dir, now, err) : found;
    return found == TOKEN_OK ? token_spend(&name, dir, err) : found;
}

struct row {
    const char *certificate; // proven id
    const char *bad;         // why a certificate proves nothing
    int uid;                 // -1: not a Unix peer
    const char *token_id;    // a good token's; "?": one that is unknown
    const char *wanted;
    enum admit_result result;
    const char *id;
    enum admit_proof proof;
};

Test(admit, grants_what_is_proven_and_nothing_else, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = TIMEOUT)
{
    static const struct row rows[] = {
        {A, "", -1, "", "", ADMIT_OK, A, ADMIT_BY_CERTIFICATE},
        {A, "", -1, "", A, ADMIT_OK, A, ADMIT_BY_CERTIFICATE},
        {A, "", -1, "", B, ADMIT_CERTIFICATE, NULL, 0},
        {B, "", -1, "", "", ADMIT_NOT_NAMED, NULL, 0},
        {GONE, "", -1, "", "", ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "expired", -1, "", "", ADMIT_CERTIFICATE, NULL, 0},
        {NULL, "expired", -1, B, "", ADMIT_OK, B, ADMIT_BY_JOIN_TOKEN},
        {NULL, "", -1, "", "", ADMIT_NO_PROOF, NULL, 0},
        {NULL, "", 10, "", "", ADMIT_OK, A, ADMIT_BY_UNIX_UID},
        {NULL, "", 10, "", B, ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "", 10, B, B, ADMIT_OK, B, ADMIT_BY_JOIN_TOKEN},
        {NULL, "", 12, "", "", ADMIT_AMBIGUOUS, NULL, 0},
        {NULL, "", 12, "", B, ADMIT_OK, B, ADMIT_BY_UNIX_UID},
        {NULL, "", 12, "", C, ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "", 0, "", "", ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "", -1, B, "", ADMIT_OK, B, ADMIT_BY_JOIN_TOKEN},
        {NULL, "", -1, B, A, ADMIT_TOKEN_OTHER, NULL, 0},
        {NULL, "", -1, A, "", ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "", -1, GONE, "", ADMIT_NOT_NAMED, NULL, 0},
        {NULL, "", -1, "?", "", ADMIT_TOKEN_UNKNOWN, NULL, 0},
    };
    struct fleet *fleet = make_fleet();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct err err = {{0}, {0}};
        struct admission got;
        char token[TOKEN_TEXT_MAX] = "";
        if (strcmp(row->token_id, "?") == 0) {
            strcpy(token, "tabard-join-guessed");
        } else if (row->token_id[0] != '\0') {
            cr_assert(token_make(token, temp_folder, row->token_id, NOW + 60, &err), "%s",
                      err.text);
        }
        const struct admit_request request = {.dir = temp_folder,
                                              .certificate_id = row->certificate,
                                              .certificate_error = row->bad,
                                              .is_unix = row->uid >= 0,
                                              .uid = (uid_t)row->uid,
                                              .token = token,
                                              .wanted_id = row->wanted,
                                              .now = NOW};
        enum admit_result result = admit(&got, fleet, &request, &err);
        cr_expect_eq(result, row->result, "row %zu: %s: %s", i, admit_result_text(result),
                     err.text);
        if (row->result == ADMIT_OK && result == ADMIT_OK) {
            cr_expect_str_eq(got.id, row->id, "row %zu", i);
            cr_expect_eq(got.proof, row->proof, "row %zu", i);
        } else {
            cr_expect_str_neq(err.text, "", "row %zu says nothing", i);
        }
        char id[SPIFFE_ID_LEN_MAX + 1];
        bool has_token = row->token_id[0] != '\0' && row->token_id[0] != '?';
        cr_expect(!has_token || token_use(id, temp_folder, token, NOW, &err) == TOKEN_OK,
                  "row %zu: a decision spends no token", i);
    }
    fleet_free(fleet);
}

Test(admit, a_token_that_is_not_needed_is_not_spent, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = TIMEOUT)
{
    struct fleet *fleet = make_fleet();
    struct admission got;
    struct err err = {{0}, {0}};
    char token[TOKEN_TEXT_MAX], id[SPIFFE_ID_LEN_MAX + 1];
    cr_assert(token_make(token, temp_folder, B, NOW + 60, &err), "%s", err.text);
    const struct admit_request request = {.dir = temp_folder,
                                          .certificate_id = A,
                                          .certificate_error = "",
                                          .token = token,
                                          .wanted_id = "",
                                          .now = NOW};
    cr_assert_eq(admit(&got, fleet, &request, &err), ADMIT_OK);
    cr_expect_eq(token_use(id, temp_folder, token, NOW, &err), TOKEN_OK, "%s", err.text);
    fleet_free(fleet);
}

Test(token, is_good_once_and_until_its_end, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    char token[TOKEN_TEXT_MAX], late[TOKEN_TEXT_MAX], id[SPIFFE_ID_LEN_MAX + 1];
    cr_assert(token_make(token, temp_folder, A, NOW + 60, &err), "%s", err.text);
    cr_assert(token_make(late, temp_folder, B, NOW + 60, &err), "%s", err.text);
    cr_expect_str_neq(token, late);
    cr_expect_eq(token_use(id, temp_folder, token, NOW + 59, &err), TOKEN_OK, "%s", err.text);
    cr_expect_str_eq(id, A);
    cr_expect_eq(token_use(id, temp_folder, token, NOW + 59, &err), TOKEN_USED);
    cr_expect_eq(token_use(id, temp_folder, late, NOW + 60, &err), TOKEN_EXPIRED);
    cr_expect_eq(token_use(id, temp_folder, late, NOW, &err), TOKEN_OK, "it admitted nobody");
    cr_expect_eq(token_use(id, temp_folder, "../fleet", NOW, &err), TOKEN_UNKNOWN);
    token_sweep(temp_folder, NOW + 61 + TOKEN_MEMORY_SECONDS);
    cr_expect_eq(token_use(id, temp_folder, token, NOW, &err), TOKEN_UNKNOWN, "it is swept");
}

Test(token, is_kept_only_as_its_hash, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    char token[TOKEN_TEXT_MAX], command[256];
    cr_assert(token_make(token, temp_folder, A, NOW + 60, &err), "%s", err.text);
    snprintf(command, sizeof command, "(ls -R %s; cat %s/tokens/*) 2>/dev/null | grep -q %s",
             temp_folder, temp_folder, token + strlen(TOKEN_PREFIX));
    cr_expect_neq(system(command), 0, "the token can be read from the folder");
}

// Two processes race for each of many tokens; each token must admit exactly once.
Test(token, two_processes_never_both_use_one, .init = temp_set_up, .fini = temp_tear_down,
     .timeout = TIMEOUT)
{
    enum { NUM = 200, NUM_PROCESSES = 2 };
    static char tokens[NUM][TOKEN_TEXT_MAX];
    struct err err = {{0}, {0}};
    char id[SPIFFE_ID_LEN_MAX + 1];
    int pipes[2];
    unsigned sum = 0;
    for (int i = 0; i < NUM; i++) {
        cr_assert(token_make(tokens[i], temp_folder, A, NOW + 60, &err), "%s", err.text);
    }
    cr_assert_eq(pipe(pipes), 0);
    for (int p = 0; p < NUM_PROCESSES; p++) {
        if (fork() == 0) {
            unsigned num = 0;
            for (int i = 0; i < NUM; i++) {
                num += token_use(id, temp_folder, tokens[i], NOW, &err) == TOKEN_OK;
            }
            _exit(write(pipes[1], &num, sizeof num) != sizeof num);
        }
    }
    for (int p = 0; p < NUM_PROCESSES; p++) {
        unsigned num = 0;
        int status = 1;
        cr_assert_eq(read(pipes[0], &num, sizeof num), (ssize_t)sizeof num);
        cr_assert_gt(wait(&status), 0);
        cr_expect_eq(status, 0);
        sum += num;
    }
    cr_expect_eq(sum, NUM);
}

// What the API server says of a token decides alone.
Test(admit, a_service_account_is_what_its_review_says_and_nothing_else, .timeout = TIMEOUT)
{
    static const char text[] =
        "workloads:\n"
        "- {spiffe_id: 'spiffe://demo.example/ns/shop/sa/web', by_service_account: true}\n"
        "- {spiffe_id: 'spiffe://demo.example/ns/shop/sa/old', by_certificate: true}\n";
    static const struct {
        enum account_result review;
        const char *ns, *account, *certificate, *wanted;
        enum admit_result result;
    } rows[] = {
        {ACCOUNT_OK, "shop", "web", NULL, "", ADMIT_OK},
        {ACCOUNT_OK, "shop", "web", NULL, "spiffe://demo.example/ns/shop/sa/web", ADMIT_OK},
        {ACCOUNT_OK, "shop", "web", "spiffe://demo.example/ns/shop/sa/web", "", ADMIT_OK},
        {ACCOUNT_OK, "shop", "web", NULL, "spiffe://demo.example/ns/bank/sa/web",
         ADMIT_ACCOUNT_OTHER},
        {ACCOUNT_OK, "shop", "web", "spiffe://demo.example/ns/shop/sa/old", "",
         ADMIT_ACCOUNT_OTHER},
        {ACCOUNT_OK, "shop", "old", "spiffe://demo.example/ns/shop/sa/old", "", ADMIT_NOT_NAMED},
        {ACCOUNT_OK, "shop", "none", NULL, "", ADMIT_NOT_NAMED},
        {ACCOUNT_OK, "bank", "web", NULL, "", ADMIT_NOT_NAMED},
        {ACCOUNT_OK, "..", "web", NULL, "", ADMIT_NOT_NAMED},
        {ACCOUNT_EXPIRED, "shop", "web", NULL, "", ADMIT_ACCOUNT_EXPIRED},
        {ACCOUNT_MALFORMED, "shop", "web", NULL, "", ADMIT_ACCOUNT_MALFORMED},
        {ACCOUNT_OTHER_AUDIENCE, "shop", "web", NULL, "", ADMIT_ACCOUNT_AUDIENCE},
        {ACCOUNT_GONE, "shop", "web", NULL, "", ADMIT_ACCOUNT_GONE},
        {ACCOUNT_POD_GONE, "shop", "web", NULL, "", ADMIT_POD_GONE},
        {ACCOUNT_REFUSED, "shop", "web", NULL, "", ADMIT_ACCOUNT_REFUSED},
        {ACCOUNT_NO_ACCOUNT, "shop", "web", NULL, "", ADMIT_NO_ACCOUNT},
        {ACCOUNT_NO_POD, "shop", "web", NULL, "", ADMIT_NO_POD},
        // Not even a certificate helps while the token can't be reviewed.
        {ACCOUNT_UNAVAILABLE, "shop", "old", "spiffe://demo.example/ns/shop/sa/old", "",
         ADMIT_UNREVIEWED},
    };
    const struct fleet_piece piece = {.name = "a", .text = text, .len = strlen(text)};
    struct err err = {{0}, {0}};
    struct fleet *fleet = fleet_new(&piece, 1, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct admission got;
        struct account_answer review = {.result = rows[i].review, .words = "the reason"};
        snprintf(review.pod.ns, sizeof review.pod.ns, "%s", rows[i].ns);
        snprintf(review.pod.account, sizeof review.pod.account, "%s", rows[i].account);
        const struct admit_request request = {.dir = "/nowhere",
                                              .certificate_id = rows[i].certificate,
                                              .certificate_error = "",
                                              .token = "",
                                              .wanted_id = rows[i].wanted,
                                              .review = &review,
                                              .trust_domain = "demo.example",
                                              .now = NOW};
        enum admit_result result = admit(&got, fleet, &request, &err);
        cr_expect_eq(result, rows[i].result, "%zu: %s: %s", i, admit_result_text(result), err.text);
        if (result == ADMIT_OK) {
            cr_expect_str_eq(got.id, "spiffe://demo.example/ns/shop/sa/web");
            cr_expect_eq(got.proof, ADMIT_BY_SERVICE_ACCOUNT);
        }
    }
    cr_expect(
        admit_still(fleet, "spiffe://demo.example/ns/shop/sa/web", ADMIT_BY_SERVICE_ACCOUNT, 0));
    cr_expect_not(
        admit_still(fleet, "spiffe://demo.example/ns/shop/sa/old", ADMIT_BY_SERVICE_ACCOUNT, 0));
    cr_expect_not(
        admit_still(fleet, "spiffe://demo.example/ns/shop/sa/web", ADMIT_BY_CERTIFICATE, 0));
    fleet_free(fleet);
}
