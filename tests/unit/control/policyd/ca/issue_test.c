// SPDX-License-Identifier: Apache-2.0
//
// Who waits for whom at the issuer, and for how long.
#include "control/policyd/ca/issue.h"

#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/ca_store.h"
#include "certs/ca/csr.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define ID "spiffe://demo.example/a"

// The loop and the issuer of one test, and what came of its requests.
static struct rig {
    uv_loop_t loop;
    struct issuer *issuer;
    char ca_dir[TEMP_PATH_BYTES + 8];
    uint8_t *csr;
    size_t csr_len;
    unsigned num_done;
    unsigned num_failed;
    char error[512];
} rig;

// One request that is watched: how many were done before it.
struct watched {
    bool is_done;
    unsigned num_before;
};

static struct err err;

static void set_up(void)
{
    EVP_PKEY *key = NULL;
    temp_set_up();
    rig = (struct rig){.issuer = NULL};
    snprintf(rig.ca_dir, sizeof rig.ca_dir, "%s/ca", temp_folder);
    cr_assert(
        ca_store_create(rig.ca_dir, NULL, MINT_KEY_P256, "demo.example", time(NULL), 864000, &err),
        "%s", err.text);
    cr_assert_eq(uv_loop_init(&rig.loop), 0);
    rig.issuer = issuer_new(&rig.loop, rig.ca_dir);
    cr_assert(csr_new(&key, &rig.csr, &rig.csr_len, MINT_KEY_P256, ID, &err), "%s", err.text);
    EVP_PKEY_free(key);
}

static void tear_down(void)
{
    issuer_close(rig.issuer);
    loop_end(&rig.loop);
    free(rig.csr);
    temp_tear_down();
}

TestSuite(issue, .timeout = 30, .init = set_up, .fini = tear_down);

static void on_done(void *ctx, const struct issue_result *result)
{
    struct watched *watched = ctx;
    if (watched != NULL) {
        watched->is_done = true;
        watched->num_before = rig.num_done;
    }
    rig.num_done++;
    if (result->error != NULL) {
        rig.num_failed++;
        snprintf(rig.error, sizeof rig.error, "%s", result->error);
    } else {
        cr_assert_not_null(result->issuer);
    }
}

static struct issue_job *ask(struct issue_queue *queue, struct watched *watched, bool *out_limited)
{
    const struct issue_request request = {
        .csr = rig.csr, .csr_len = rig.csr_len, .spiffe_id = ID, .seconds = 3600};
    err = (struct err){{0}, {0}};
    return issue(rig.issuer, queue, &request, on_done, watched, out_limited, &err);
}

Test(issue, one_asker_with_many_requests_holds_up_another_by_no_more_than_a_batch)
{
    struct issue_queue flood = {.bucket = bucket_full(1000, 1)};
    struct issue_queue calm = {.bucket = bucket_full(10, 1)};
    struct watched watched = {.is_done = false};
    bool is_limited = false;
    for (int i = 0; i < 500; i++) {
        cr_assert_not_null(ask(&flood, NULL, &is_limited), "%s", err.text);
    }
    cr_assert_not_null(ask(&calm, &watched, &is_limited));
    cr_assert(run_until(&rig, watched.is_done, 10000));
    cr_expect_leq(watched.num_before, 1 + ISSUE_BATCH_MAX, "%u were first", watched.num_before);
    cr_assert(run_until(&rig, rig.num_done == 501, 20000), "%u", rig.num_done);
    cr_expect_eq(rig.num_failed, 0, "%s", rig.error);
}

Test(issue, an_asker_waits_for_its_bucket_and_is_told_to_come_later_when_too_many_wait)
{
    static struct issue_queue queue; // the issuer has it until it is closed
    queue.bucket = bucket_full(2, 5);
    bool is_limited = false;
    int num = 0;
    while (ask(&queue, NULL, &is_limited) != NULL) {
        num++;
    }
    cr_expect(is_limited);
    cr_expect_not_null(strstr(err.text, "ask again later"), "%s", err.text);
    cr_expect_geq(num, ISSUE_QUEUE_MIN);
    cr_expect_leq(num, ISSUE_QUEUE_MIN + 3);
    cr_expect_eq(issuer_stats(rig.issuer)->num_limited_asker, 1);
    uint64_t began = uv_hrtime();
    cr_assert(run_until(&rig, rig.num_done >= 6, 10000));
    cr_expect_geq(uv_hrtime() - began, 500000000u, "four more in 0.8 s");
    cr_expect_eq(rig.num_failed, 0, "%s", rig.error);
}

Test(issue, a_request_that_is_forgotten_while_it_waits_is_never_signed)
{
    struct issue_queue queue = {.bucket = bucket_full(100, 1)};
    struct issue_job *jobs[100];
    bool is_limited = false;
    for (int i = 0; i < 100; i++) {
        jobs[i] = ask(&queue, NULL, &is_limited);
        cr_assert_not_null(jobs[i]);
    }
    for (int i = 99; i > 0; i -= 2) { // the first is with the worker by now
        issue_forget(jobs[i]);
    }
    cr_assert(run_until(&rig, rig.num_done == 50, 10000));
    run_until(&rig, false, 300);
    cr_expect_eq(rig.num_done, 50);
    cr_expect_eq(issuer_stats(rig.issuer)->num_issued, 50);
    cr_expect_eq(queue.num, 0);
}

Test(issue, a_ca_whose_files_are_being_replaced_is_waited_for_but_not_for_ever)
{
    struct issue_queue queue = {.bucket = bucket_full(10, 1)};
    char key[2 * TEMP_PATH_BYTES], away[2 * TEMP_PATH_BYTES];
    bool is_limited = false;
    snprintf(key, sizeof key, "%s/ca.key", rig.ca_dir);
    snprintf(away, sizeof away, "%s/away", rig.ca_dir);
    cr_assert_eq(rename(key, away), 0);
    cr_assert_not_null(ask(&queue, NULL, &is_limited));
    cr_expect_not(run_until(&rig, rig.num_done > 0, 300));
    cr_assert_eq(rename(away, key), 0);
    cr_assert(run_until(&rig, rig.num_done == 1, 2000));
    cr_expect_eq(rig.num_failed, 0, "%s", rig.error);
    cr_assert_eq(rename(key, away), 0);
    cr_assert_not_null(ask(&queue, NULL, &is_limited));
    cr_assert(run_until(&rig, rig.num_done == 2, ISSUE_RETRY_MS + 3000));
    cr_expect_eq(rig.num_failed, 1);
    cr_expect_str_eq(rig.error, "the CA can't issue certificates now; its own log says why");
}
