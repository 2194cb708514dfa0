// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/source_folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "certs/ca/ca_store.h"
#include "control/host/watch.h"
#include "control/policyd/folder/folder_record.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WORKLOAD(name) "workloads: [{spiffe_id: 'spiffe://demo.example/" name "'}]\n"

// Records the calls of a source's hooks, on a loop of its own.
struct listener {
    uv_loop_t loop;
    struct source_folder *source;
    unsigned num_fleets, num_trusts, num_failures;
    uint32_t num_workloads;
    size_t num_crls;
    char failed[100];
    char text[1200];
};

static void on_fleet(void *ctx, struct fleet *fleet, uint64_t began_ns)
{
    struct listener *listener = ctx;
    cr_expect_leq(began_ns, uv_hrtime());
    listener->num_fleets++;
    listener->num_workloads = fleet->workloads.num;
    fleet_free(fleet);
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    struct listener *listener = ctx;
    (void)began_ns;
    listener->num_trusts++;
    listener->num_crls = trust->crls.num;
    ca_trust_free(trust);
}

static void on_failed(void *ctx, const char *what, const char *text)
{
    struct listener *listener = ctx;
    listener->num_failures++;
    snprintf(listener->failed, sizeof listener->failed, "%s", what);
    snprintf(listener->text, sizeof listener->text, "%s", text);
}

static void write_piece(const char *name, const char *text)
{
    char folder[TEMP_PATH_BYTES + 8];
    snprintf(folder, sizeof folder, "%s/fleet", temp_folder);
    temp_write(folder, name, text, strlen(text));
}

static void make_folder(void)
{
    char path[TEMP_PATH_BYTES + 8];
    struct err err = {{0}, {0}};
    temp_set_up();
    snprintf(path, sizeof path, "%s/ca", temp_folder);
    cr_assert(ca_store_create(path, NULL, MINT_KEY_P256, "demo.example", time(NULL), 86400, &err),
              "%s", err.text);
    snprintf(path, sizeof path, "%s/fleet", temp_folder);
    cr_assert_eq(mkdir(path, 0700), 0);
    write_piece("a.yaml", WORKLOAD("a"));
}

static void write_crl(void)
{
    char path[TEMP_PATH_BYTES + 8];
    struct ca_store store = {0};
    struct err err = {{0}, {0}};
    size_t num = 0;
    snprintf(path, sizeof path, "%s/ca", temp_folder);
    cr_assert(ca_store_open(&store, path, &err), "%s", err.text);
    char *pem = ca_store_crl(&store, time(NULL), 3600, &num, &err);
    cr_assert_not_null(pem, "%s", err.text);
    temp_write(path, "crl.pem", pem, strlen(pem));
    free(pem);
    ca_store_close(&store);
}

// Loads the folder, and begins to watch it.
static void watch(struct listener *listener)
{
    struct fleet *fleet = NULL;
    struct ca_trust *trust = NULL;
    struct err err = {{0}, {0}};
    *listener = (struct listener){.num_fleets = 0};
    cr_assert_eq(uv_loop_init(&listener->loop), 0);
    listener->source = source_folder_load(temp_folder, &fleet, &trust, &err);
    cr_assert_not_null(listener->source, "%s", err.text);
    fleet_free(fleet);
    ca_trust_free(trust);
    source_folder_watch(
        listener->source, &listener->loop,
        &(struct source_folder_hooks){
            .ctx = listener, .on_fleet = on_fleet, .on_trust = on_trust, .on_failed = on_failed});
}

static void begin(struct listener *listener)
{
    watch(listener);
    cr_assert(run_until(listener, listener->num_fleets == 1 && listener->num_trusts == 1, 5000));
    run_until(listener, false, 3 * WATCH_RETRY_MS); // until the files are old
}

static void end(struct listener *listener)
{
    source_folder_close(listener->source);
    loop_end(&listener->loop);
}

TestSuite(source_folder, .timeout = 30, .init = make_folder, .fini = temp_tear_down);

Test(source_folder, a_first_load_gives_both_parts_or_an_error_that_names_the_file)
{
    struct fleet *fleet = NULL;
    struct ca_trust *trust = NULL;
    struct err err = {{0}, {0}};
    char text[1200];
    struct source_folder *source = source_folder_load(temp_folder, &fleet, &trust, &err);
    cr_assert_not_null(source, "%s", err.text);
    source_folder_close(source);
    cr_expect_eq(fleet->workloads.num, 1);
    cr_expect_str_eq(trust->domain, "demo.example");
    fleet_free(fleet);
    ca_trust_free(trust);
    write_piece("b.yaml", "workloads: [{spiffe_id: 'no id'}]");
    cr_expect_null(source_folder_load(temp_folder, &fleet, &trust, &err));
    cr_expect(strstr(err_text(&err, text, sizeof text), "fleet/b.yaml:1:") != NULL, "%s", text);
    cr_expect(fleet == NULL && trust == NULL);
}

Test(source_folder, a_first_load_with_something_bad_goes_on_from_what_was_passed_on_before)
{
    struct fleet *fleet = NULL;
    struct ca_trust *trust = NULL;
    struct err err = {{0}, {0}};
    struct listener listener;
    begin(&listener);
    write_piece("b.yaml", WORKLOAD("b"));
    cr_assert(run_until(&listener, listener.num_fleets == 2, 1000));
    end(&listener);
    write_piece("a.yaml", "workloads: [{spiffe_id: 'no id'}]");
    struct source_folder *source = source_folder_load(temp_folder, &fleet, &trust, &err);
    cr_assert_not_null(source, "%s", err.text);
    cr_expect_eq(fleet->workloads.num, 2);
    cr_expect_eq(fleet->num_pieces, 2);
    cr_expect_str_eq(fleet->names[0], "fleet/a.yaml");
    cr_expect_str_eq(trust->domain, "demo.example");
    source_folder_close(source);
    fleet_free(fleet);
    ca_trust_free(trust);
    temp_write(temp_folder, FOLDER_RECORD_NAME, "\x0a\x01x", 3);
    fleet = NULL;
    cr_expect_null(source_folder_load(temp_folder, &fleet, &trust, &err), "no record is no CA");
    cr_expect_null(fleet);
}

Test(source_folder, a_changed_a_new_and_a_removed_piece_are_each_a_fleet_and_no_trust)
{
    struct listener listener;
    char path[TEMP_PATH_BYTES + 16];
    begin(&listener);
    write_piece("a.yaml", WORKLOAD("a") "policies: []\n");
    cr_expect(run_until(&listener, listener.num_fleets == 2, 1000), "a changed one");
    write_piece("b.yaml", WORKLOAD("b"));
    cr_expect(run_until(&listener, listener.num_fleets == 3, 1000), "a new one");
    cr_expect_eq(listener.num_workloads, 2);
    snprintf(path, sizeof path, "%s/fleet/b.yaml", temp_folder);
    unlink(path);
    cr_expect(run_until(&listener, listener.num_fleets == 4, 1000), "a removed one");
    cr_expect_eq(listener.num_workloads, 1);
    cr_expect_eq(listener.num_trusts, 1);
    cr_expect_eq(listener.num_failures, 0);
    end(&listener);
}

Test(source_folder, what_reads_the_same_is_not_passed_on_again_unless_asked)
{
    struct listener listener;
    begin(&listener);
    write_piece("a.yaml", WORKLOAD("a"));
    write_piece("no-piece.txt", "x");
    run_until(&listener, false, 3 * WATCH_RETRY_MS);
    cr_expect_eq(listener.num_fleets, 1);
    cr_expect_eq(listener.num_trusts, 1);
    source_folder_reload(listener.source);
    cr_expect(run_until(&listener, listener.num_fleets == 2 && listener.num_trusts == 2, 1000));
    end(&listener);
}

Test(source_folder, a_slip_in_a_piece_is_told_once_and_holds_up_no_revocation)
{
    struct listener listener;
    begin(&listener);
    write_piece("a.yaml", "workloads: [{spiffe_id: 'no id'}]");
    cr_assert(run_until(&listener, listener.num_failures == 1, 2000));
    cr_expect_str_eq(listener.failed, "fleet");
    cr_expect_not_null(strstr(listener.text, "fleet/a.yaml:1:"), "%s", listener.text);
    write_crl();
    cr_expect(run_until(&listener, listener.num_trusts == 2, 1000));
    cr_expect_eq(listener.num_crls, 1);
    run_until(&listener, false, 3 * WATCH_RETRY_MS);
    cr_expect_eq(listener.num_failures, 1);
    cr_expect_eq(listener.num_fleets, 1, "the fleet before stays");
    write_piece("a.yaml", WORKLOAD("a"));
    cr_expect(run_until(&listener, listener.num_fleets == 2, 1000));
    end(&listener);
}

Test(source_folder, a_piece_that_is_a_fifo_is_named_and_hangs_nothing)
{
    struct listener listener;
    char path[TEMP_PATH_BYTES + 16];
    begin(&listener);
    snprintf(path, sizeof path, "%s/fleet/b.yaml", temp_folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert(run_until(&listener, listener.num_failures > 0, 2000));
    cr_expect_not_null(strstr(listener.text, "fleet/b.yaml: is a FIFO"), "%s", listener.text);
    end(&listener);
}

Test(source_folder, closing_while_it_reads_is_clean)
{
    struct listener listener;
    watch(&listener);
    end(&listener);
    cr_expect_eq(listener.num_fleets + listener.num_trusts + listener.num_failures, 0);
}
