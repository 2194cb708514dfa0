// SPDX-License-Identifier: Apache-2.0
//
// Sidecars that come from another replica, which gave them a version of Kubernetes' objects.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "certs/ca/csr.h"
#include "control/policyd/stream/session.h"
#include "tests/unit/control/policyd/stream/policyd_rig.h"

static struct policyd_rig rig;
static struct sidecar sidecar;
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

static void start(void)
{
    temp_set_up();
    policyd_rig_start(&rig, POLICYD_FLEET);
    version_cleanup(&rig.service.version);
    version_open_revision(&rig.service.version, on_relist, NULL);
    version_revise(&rig.service.version, 100, 100);
    num_relists = 0;
}

static void stop(void)
{
    if (sidecar.call != NULL) {
        sidecar_vanish(&sidecar);
    }
    sidecar_cleanup(&sidecar);
    policyd_rig_stop(&rig);
    temp_tear_down();
}

TestSuite(session_version, .init = start, .fini = stop, .timeout = 60);

Test(session_version, who_comes_from_a_replica_that_drew_more_of_a_revision_is_sent_no_less)
{
    sidecar.held = at(100, 7);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", NULL, 0);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->version, at(100, 7));
    sidecar_answer(&sidecar, "");
    version_revise(&rig.service.version, 101, 101);
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    cr_expect_eq(sidecar_take(&sidecar)->version, at(101, 0));
    cr_expect_eq(num_relists, 0);
}

Test(session_version,
     the_first_state_has_a_version_although_nothing_changed_since_the_service_began)
{
    rig.service.drawn_at = rig.service.world.num_changes; // as when it began with its first fleet
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", NULL, 0);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->version, at(100, 0));
}

Test(session_version, who_holds_more_than_we_have_is_sent_a_state_only_when_we_have_it)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    EVP_PKEY *key = NULL;
    struct err err = {0};
    cr_assert(csr_new(&key, &csr, &len, MINT_KEY_P256, "", &err), "%s", err.text);
    sidecar.held = at(105, 0);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", csr, len);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_null(response->state, "it may be older than what the sidecar holds");
    cr_expect_not_null(response->certificate, "its certificate has nothing to do with that");
    sidecar_answer(&sidecar, "");
    cr_expect_eq(num_relists, 1);
    cr_expect_eq(wanted, 105);
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    cr_expect(sidecar_is_quiet(&sidecar), "a change of something else is no reason");
    version_revise(&rig.service.version, 105, 105);
    response = sidecar_take(&sidecar);
    cr_assert_not_null(response->state);
    cr_expect_geq(response->version, at(105, 0));
    EVP_PKEY_free(key);
    free(csr);
}

Test(session_version, after_a_list_of_everything_there_is_nothing_to_wait_for)
{
    sidecar.held = at(1u << 30, 0);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", NULL, 0);
    cr_expect(sidecar_is_quiet(&sidecar));
    cr_expect_eq(num_relists, 1);
    version_relisted(&rig.service.version);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_assert_not_null(response->state, "the store was brought back from a copy, say");
    cr_expect_eq(response->version, at(1u << 30, 0), "else it would be refused");
    sidecar_answer(&sidecar, "");
    cr_expect_lt(rig.service.version.last, at(200, 0), "the others' versions know nothing of that");
}
