// SPDX-License-Identifier: Apache-2.0
//
// A change of the world, and how it ends streams and moves the addresses of their sidecars.
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/ca/ca_store.h"
#include "certs/ca/csr.h"
#include "control/policyd/stream/session.h"
#include "tests/unit/control/policyd/stream/policyd_rig.h"

static struct policyd_rig rig;
static struct sidecar shop, web;

static void start(void)
{
    temp_set_up();
    policyd_rig_start(&rig, POLICYD_FLEET);
}

static void stop(void)
{
    struct sidecar *sidecars[] = {&shop, &web};
    for (size_t i = 0; i < 2; i++) {
        if (sidecars[i]->call != NULL) {
            sidecar_vanish(sidecars[i]);
        }
        sidecar_cleanup(sidecars[i]);
    }
    policyd_rig_stop(&rig);
    temp_tear_down();
}

TestSuite(service, .init = start, .fini = stop, .timeout = 60);

static void expect_address_is_gone(void)
{
    cr_expect_str_eq(policyd_rig_owner(&rig, "10.0.0.5"), "");
    cr_expect_eq(rig.service.world.registry.num_claims, 0);
}

Test(service, a_sidecar_that_says_goodbye_gives_its_addresses_up_at_once)
{
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_leave(&shop);
    expect_address_is_gone();
    cr_expect_eq(rig.service.stats.num_streams, 0);
}

Test(service, a_sidecar_that_is_lost_and_comes_back_keeps_them_and_nobody_is_told)
{
    sidecar_join(&web, &rig, WEB, NULL);
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_take(&web);
    sidecar_answer(&web, "");
    sidecar_vanish(&shop);
    cr_expect_str_eq(policyd_rig_owner(&rig, "10.0.0.5"), SHOP);
    cr_expect(sidecar_is_quiet(&web), "nothing has changed for who calls it");
    sidecar_cleanup(&shop);
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    cr_expect(sidecar_is_quiet(&web), "nor when it comes back");
}

Test(service, what_a_lost_sidecar_left_gives_way_to_another_identity)
{
    policyd_rig_set_fleet(&rig,
                          "workloads:\n"
                          "- {spiffe_id: '" SHOP "', unix_uids: [@], addresses: ['10.0.0.0/24'], "
                          "ports: [8080]}\n"
                          "- {spiffe_id: '" WEB "', unix_uids: [@], addresses: ['10.0.0.0/24'], "
                          "ports: [8080]}\n");
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_open(&web, &rig);
    sidecar_ask(&web, WEB, "10.0.0.5", NULL, 0);
    sidecar_expect_end(&web, GRPC_PERMISSION_DENIED, "10.0.0.5 is in use by " SHOP,
                       SERVICE_END_ADDRESS);
    sidecar_vanish(&shop);
    sidecar_cleanup(&web);
    sidecar_join(&web, &rig, WEB, "10.0.0.5");
    cr_expect_str_eq(policyd_rig_owner(&rig, "10.0.0.5"), WEB);
}

Test(service, what_a_lost_sidecar_left_goes_with_the_fleet_that_gave_it)
{
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_vanish(&shop);
    policyd_rig_set_fleet(&rig, "workloads:\n- {spiffe_id: '" SHOP "', unix_uids: [@], addresses: "
                                "['10.0.9.0/24'], ports: [8080]}\n");
    expect_address_is_gone();
}

Test(service, an_identity_that_the_fleet_no_longer_grants_loses_its_stream_and_its_addresses)
{
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    policyd_rig_set_fleet(&rig, "workloads:\n- {spiffe_id: '" WEB "', unix_uids: [@]}\n");
    sidecar_expect_end(&shop, GRPC_PERMISSION_DENIED, "no longer grants this identity",
                       SERVICE_END_NO_LONGER_GRANTED);
    cr_expect(run_until(&rig, rig.service.stats.num_streams == 0, POLICYD_WAIT_MS));
    expect_address_is_gone();
}

Test(service, an_address_that_the_fleet_no_longer_gives_ends_the_stream)
{
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    policyd_rig_set_fleet(&rig, "workloads:\n- {spiffe_id: '" SHOP "', unix_uids: [@], addresses: "
                                "['10.0.9.0/24'], ports: [8080]}\n");
    sidecar_expect_end(&shop, GRPC_PERMISSION_DENIED, "one of the addresses",
                       SERVICE_END_NO_LONGER_GRANTED);
    cr_expect(run_until(&rig, rig.service.stats.num_streams == 0, POLICYD_WAIT_MS));
    expect_address_is_gone();
}

Test(service, a_fleet_that_changes_nothing_for_a_sidecar_is_not_sent_to_it)
{
    sidecar_join(&web, &rig, WEB, NULL);
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_take(&web);
    sidecar_answer(&web, "");
    policyd_rig_set_fleet(&rig, POLICYD_FLEET);
    cr_expect(sidecar_is_quiet(&shop) && sidecar_is_quiet(&web));
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    cr_expect_eq(sidecar_take(&shop)->state->n_policies, 2);
    cr_expect(sidecar_is_quiet(&web), "what others may do is not told");
}

Test(service, a_push_lasts_until_the_last_sidecar_has_answered)
{
    struct sidecar second = {0};
    const struct service_stats *stats = &rig.service.stats;
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    sidecar_join(&second, &rig, SHOP, "10.0.0.6");
    cr_expect(run_until(&rig, rig.service.change_began_ns == 0, POLICYD_WAIT_MS));
    cr_expect_eq(stats->num_pushes, 0, "the first states are no pushes");
    uint64_t before_ns = uv_hrtime();
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    sidecar_take(&shop);
    sidecar_take(&second);
    uint64_t taken_ns = uv_hrtime();
    sidecar_answer(&shop, "");
    cr_expect(run_until(&rig, stats->num_acks == 3, POLICYD_WAIT_MS));
    cr_expect_eq(stats->num_pushes, 0);
    uint64_t unanswered_ns = uv_hrtime();
    sidecar_answer(&second, "it refuses, which is an answer too");
    cr_expect(run_until(&rig, stats->num_pushes == 1, POLICYD_WAIT_MS));
    cr_expect_geq(stats->push_ns_last, unanswered_ns - taken_ns);
    cr_expect_leq(stats->push_ns_last, uv_hrtime() - before_ns);
    cr_expect_eq(stats->push_ns_sum, stats->push_ns_last);
    cr_expect_eq(stats->push_ns_max, stats->push_ns_last);
    sidecar_vanish(&second);
    sidecar_cleanup(&second);
}

Test(service, a_push_does_not_wait_for_a_sidecar_that_is_gone)
{
    const struct service_stats *stats = &rig.service.stats;
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    cr_expect(run_until(&rig, rig.service.change_began_ns == 0, POLICYD_WAIT_MS));
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    sidecar_take(&shop);
    cr_expect_eq(stats->num_pushes, 0);
    sidecar_vanish(&shop);
    cr_expect_eq(stats->num_pushes, 1);
}

// A CRL, as PEM, that revokes this certificate.
static char *revoke(const uint8_t *der, size_t len)
{
    struct ca_store store = {0};
    struct err err = {0};
    bool was_known = false;
    size_t num = 0;
    X509 *leaf = d2i_X509(NULL, &der, (long)len);
    cr_assert(leaf != NULL && ca_store_open(&store, rig.ca_dir, &err), "%s", err.text);
    cr_assert(ca_store_revoke(&store, X509_get0_serialNumber(leaf), time(NULL), &was_known, &err),
              "%s", err.text);
    char *crl = ca_store_crl(&store, time(NULL), 3600, &num, &err);
    cr_assert(crl != NULL && num == 1, "%s", err.text);
    ca_store_close(&store);
    X509_free(leaf);
    return crl;
}

Test(service, a_stream_whose_certificate_is_revoked_ends_and_the_others_are_told)
{
    EVP_PKEY *key = NULL;
    uint8_t *csr = NULL;
    size_t len = 0;
    struct err err = {0};
    cr_assert(csr_new(&key, &csr, &len, MINT_KEY_P256, "", &err), "%s", err.text);
    sidecar_join(&web, &rig, WEB, NULL);
    sidecar_open(&shop, &rig);
    sidecar_ask(&shop, SHOP, "10.0.0.5", csr, len);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&shop);
    cr_assert_not_null(response->certificate, "%s", response->certificate_error);
    sidecar_take(&web);
    sidecar_answer(&web, "");
    char *crl = revoke(response->certificate->chain[0].data, response->certificate->chain[0].len);
    policyd_rig_set_trust(&rig, crl);
    sidecar_expect_end(&shop, GRPC_PERMISSION_DENIED, "the certificate is revoked",
                       SERVICE_END_REVOKED);
    cr_expect(run_until(&rig, rig.service.stats.num_streams == 1, POLICYD_WAIT_MS));
    expect_address_is_gone();
    response = sidecar_take(&web);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->state->trust_bundles[0]->n_crls, 1);
    free(crl);
    free(csr);
    EVP_PKEY_free(key);
}

Test(service, more_streams_than_the_limit_are_refused)
{
    rig.service.stats.num_streams += SERVICE_STREAMS_MAX;
    sidecar_open(&web, &rig);
    sidecar_expect_end(&web, GRPC_RESOURCE_EXHAUSTED, "streams_max", SERVICE_END_LIMIT);
    rig.service.stats.num_streams -= SERVICE_STREAMS_MAX;
    cr_expect_eq(rig.service.stats.num_started, 1);
    sidecar_cleanup(&web);
    sidecar_join(&web, &rig, WEB, NULL);
}

Test(service, at_the_limit_a_stream_that_has_not_said_who_it_is_goes_first)
{
    struct sidecar silent = {.call = NULL};
    sidecar_open(&silent, &rig);
    cr_assert(run_until(&rig, rig.service.stats.num_streams == 1, 2000));
    rig.service.stats.num_streams += SERVICE_STREAMS_MAX - 1;
    sidecar_join(&web, &rig, WEB, NULL);
    sidecar_expect_end(&silent, GRPC_RESOURCE_EXHAUSTED, "has not said who it is",
                       SERVICE_END_LIMIT);
    rig.service.stats.num_streams -= SERVICE_STREAMS_MAX - 1;
    cr_expect_not_null(web.call);
    sidecar_cleanup(&silent);
}

Test(service, the_streams_of_an_identity_share_one_burst_of_signing_requests)
{
    sidecar_join(&web, &rig, WEB, NULL);
    struct session *session = LIST_OF(rig.service.sessions.next, struct session, link);
    struct share *share = session->in_share.share;
    share->queue.bucket.drops = 3;
    share->queue.bucket.last_ms = uv_now(&rig.loop);
    sidecar_leave(&web);
    sidecar_cleanup(&web);
    sidecar_join(&web, &rig, WEB, NULL);
    session = LIST_OF(rig.service.sessions.next, struct session, link);
    cr_expect_eq(session->in_share.share, share, "a new stream brings no new burst");
    cr_expect_eq(share->num_streams, 1);
    sidecar_leave(&web);
    share_sweep(&rig.service.shares, uv_now(&rig.loop));
    cr_expect_not(list_is_empty(&rig.service.shares.all));
    share_sweep(&rig.service.shares, uv_now(&rig.loop) + 60000);
    cr_expect(list_is_empty(&rig.service.shares.all));
}

Test(service, an_identity_may_be_where_the_fleet_says_and_nowhere_else)
{
    static const struct {
        const char *id, *address;
        bool may;
    } rows[] = {{SHOP, "10.0.0.5", true},
                {SHOP, "10.0.1.5", false},
                {WEB, "10.0.0.5", false},
                {"spiffe://demo.example/unknown", "10.0.0.5", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ip ip;
        cr_assert(ip_parse(&ip, rows[i].address, NULL));
        cr_expect_eq(service_permits(&rig.service, rows[i].id, &ip), rows[i].may, "row %zu", i);
    }
}
