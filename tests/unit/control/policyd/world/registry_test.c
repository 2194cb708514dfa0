// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "control/policyd/world/registry.h"

#define TIMEOUT 20
#define A       "spiffe://demo.example/a"
#define B       "spiffe://demo.example/b"

static char story[1024];

static void on_moved(void *ctx, const struct ip *ip, const char *from_id, const char *to_id)
{
    char text[ADDR_TEXT_MAX];
    (void)ctx;
    size_t len = strlen(story);
    snprintf(story + len, sizeof story - len, "%s:%s>%s ", ip_text(ip, text),
             from_id == NULL ? "-" : from_id + strlen(from_id) - 1,
             to_id == NULL ? "-" : to_id + strlen(to_id) - 1);
}

static struct registry registry;
static struct err err;

static void start(void)
{
    story[0] = '\0';
    err = (struct err){{0}, {0}};
    registry_init(&registry, NULL, on_moved);
}

static void end(void)
{
    registry_cleanup(&registry);
}

static struct claim *take(const char *id, const char *address, uint64_t since, bool is_foreign)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, address, NULL));
    const struct claim_spec spec = {.id = id,
                                    .addresses = &ip,
                                    .num_addresses = 1,
                                    .since_us = since,
                                    .is_foreign = is_foreign};
    return registry_claim(&registry, &spec, &err);
}

#define REGISTRY_TEST(name) Test(registry, name, .init = start, .fini = end, .timeout = TIMEOUT)

REGISTRY_TEST(refuses_an_address_in_use_by_another_identity)
{
    struct claim *a = take(A, "10.0.0.1", 1, false);
    cr_assert_not_null(a);
    cr_expect_null(take(B, "10.0.0.1", 2, false));
    cr_expect_str_eq(err.text, "10.0.0.1 is in use by " A);
    cr_expect_null(take(B, "::ffff:10.0.0.1", 2, false), "the same address in another dress");
    registry_drop(&registry, a);
    struct claim *b = take(B, "10.0.0.1", 3, false);
    cr_expect_not_null(b);
    registry_drop(&registry, b);
    cr_expect_str_eq(story, "10.0.0.1:->a 10.0.0.1:a>- 10.0.0.1:->b 10.0.0.1:b>- ");
}

REGISTRY_TEST(lets_several_sidecars_of_one_identity_share_an_address_and_tells_nobody)
{
    struct claim *first = take(A, "10.0.0.1", 1, false);
    struct claim *second = take(A, "10.0.0.1", 2, false);
    cr_assert(first != NULL && second != NULL);
    registry_drop(&registry, first);
    cr_expect_str_eq(story, "10.0.0.1:->a ");
    registry_drop(&registry, second);
    cr_expect_str_eq(story, "10.0.0.1:->a 10.0.0.1:a>- ");
}

REGISTRY_TEST(keeps_a_lost_sidecars_address_until_somebody_else_wants_it)
{
    struct claim *a = take(A, "10.0.0.1", 1, false);
    registry_linger(&registry, a);
    cr_expect_str_eq(story, "10.0.0.1:->a ");
    struct claim *b = take(B, "10.0.0.1", 2, false);
    cr_assert_not_null(b);
    cr_expect_str_eq(story, "10.0.0.1:->a 10.0.0.1:a>b ");
    registry_drop(&registry, a);
    cr_expect_str_eq(registry_owner(&registry, claim_addresses(b, &(size_t){0})), B);
    registry_drop(&registry, b);
}

REGISTRY_TEST(gives_an_address_that_two_policyds_gave_away_to_the_older_claim)
{
    struct claim *ours = take(A, "10.0.0.1", 5, false);
    struct claim *theirs = take(B, "10.0.0.1", 4, true);
    cr_assert(ours != NULL && theirs != NULL);
    cr_expect_not(claim_is_in_force(ours));
    cr_expect(claim_is_in_force(theirs));
    struct claim *later = take(A, "10.0.0.2", 5, false);
    struct claim *younger = take(B, "10.0.0.2", 6, true);
    cr_expect(claim_is_in_force(later));
    cr_expect_not(claim_is_in_force(younger));
    cr_expect_str_eq(story, "10.0.0.1:->a 10.0.0.1:a>b 10.0.0.2:->a ");
    registry_drop(&registry, ours);
    registry_drop(&registry, theirs);
    registry_drop(&registry, later);
    registry_drop(&registry, younger);
}

REGISTRY_TEST(holds_many_and_none_is_left)
{
    static struct claim *all[2000];
    for (unsigned i = 0; i < 2000; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.1.%u.%u", i / 256, i % 256);
        all[i] = take(A, text, i, false);
        cr_assert_not_null(all[i]);
        story[0] = '\0';
    }
    cr_expect_eq(registry.places.num, 2000);
    for (unsigned i = 0; i < 2000; i++) {
        registry_drop(&registry, all[i]);
        story[0] = '\0';
    }
    cr_expect_eq(registry.places.num, 0);
}

REGISTRY_TEST(an_address_that_is_placed_moves_in_one_step_and_needs_no_sidecar)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, "10.0.0.1", NULL));
    cr_assert(registry_place(&registry, &ip, NULL, &err), "nobody's address stays nobody's");
    cr_assert(registry_place(&registry, &ip, B, &err));
    cr_assert(registry_place(&registry, &ip, B, &err));
    cr_assert(registry_place(&registry, &ip, A, &err));
    cr_assert(registry_place(&registry, &ip, B, &err));
    cr_expect_str_eq(registry_owner(&registry, &ip), B);
    cr_assert(registry_place(&registry, &ip, NULL, &err));
    cr_expect_null(registry_owner(&registry, &ip));
    cr_expect_str_eq(story, "10.0.0.1:->b 10.0.0.1:b>a 10.0.0.1:a>b 10.0.0.1:b>- ");
    cr_assert(registry_place(&registry, &ip, A, &err), "and it may be left to the end");
}
