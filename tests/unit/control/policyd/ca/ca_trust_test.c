// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/ca_trust.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/ca/ca_store.h"
#include "certs/path/revocation.h"
#include "tests/unit/support/temp.h"

#define DAY 86400

static struct err err;
static char path[2 * TEMP_PATH_BYTES];

static const char *dir_of(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    return path;
}

static char *read_file(const char *dir, const char *name)
{
    char *text = calloc(1, 20000);
    temp_read(dir_of(dir), name, text, 20000);
    return text;
}

// Makes a root in the folder `root` and an intermediate in `middle`.
static void make_authorities(void)
{
    char root[2 * TEMP_PATH_BYTES];
    temp_set_up();
    snprintf(root, sizeof root, "%s", dir_of("root"));
    cr_assert(ca_store_create(root, NULL, MINT_KEY_P256, "demo.example", time(NULL), 9 * DAY, &err),
              "%s", err.text);
    cr_assert(ca_store_create(dir_of("middle"), root, MINT_KEY_P256, NULL, time(NULL), DAY, &err),
              "%s", err.text);
}

static char *crl_at(const char *dir, const char *serial_hex, time_t now)
{
    struct ca_store store = {0};
    size_t num = 0;
    bool was_known = false;
    cr_assert(ca_store_open(&store, dir_of(dir), &err), "%s", err.text);
    ASN1_INTEGER *serial = mint_serial_parse(serial_hex, &err);
    cr_assert(ca_store_revoke(&store, serial, now, &was_known, &err), "%s", err.text);
    char *pem = ca_store_crl(&store, now, 3600, &num, &err);
    cr_assert_not_null(pem, "%s", err.text);
    ASN1_INTEGER_free(serial);
    ca_store_close(&store);
    return pem;
}

static char *crl_of(const char *dir, const char *serial_hex)
{
    return crl_at(dir, serial_hex, time(NULL));
}

// Asks whether a certificate of the CA in a folder is revoked.
static bool is_revoked(const struct ca_trust *trust, const char *dir, const char *bytes)
{
    struct cert_serial serial = {.len = (uint8_t)strlen(bytes)};
    struct ca_store store = {0};
    memcpy(serial.bytes, bytes, serial.len);
    cr_assert(ca_store_open(&store, dir_of(dir), &err), "%s", err.text);
    bool is_its = revocation_lists(trust->bundle, store.ca.cert, &serial);
    ca_store_close(&store);
    return is_its;
}

static bool has_note(const struct ca_trust *trust, const char *words)
{
    for (size_t i = 0; i < trust->num_notes; i++) {
        if (strstr(trust->notes[i], words) != NULL) {
            return true;
        }
    }
    return false;
}

TestSuite(ca_trust, .timeout = 20, .init = make_authorities, .fini = temp_tear_down);

Test(ca_trust, of_a_root_is_its_own_certificate_and_its_list)
{
    char *ca = read_file("root", "ca.pem");
    char *crl = crl_of("root", "0a0b");
    struct ca_trust *trust =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .crl = crl}, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect_str_eq(trust->domain, "demo.example");
    cr_expect_eq(trust->crls.num, 1);
    cr_expect_gt(trust->packed.len, 100);
    cr_expect(is_revoked(trust, "root", "\x0a\x0b"));
    cr_expect_not(is_revoked(trust, "root", "\x0a\x0c"));
    cr_expect_not(is_revoked(trust, "root", "\x0a"));
    cr_expect_not(is_revoked(trust, "root", ""), "no certificate was shown");
    ca_trust_free(trust);
    free(ca);
    free(crl);
}

Test(ca_trust, of_an_intermediate_needs_the_root_above_it_and_takes_all_lists)
{
    char *ca = read_file("middle", "ca.pem");
    char *roots = read_file("root", "ca.pem");
    char *crls = crl_of("root", "0a0b");
    struct ca_trust_texts texts = {.ca = ca};
    cr_expect_null(ca_trust_new(&texts, NULL, time(NULL), &err));
    cr_expect_not_null(strstr(err.text, "roots.pem must hold the root"), "%s", err.text);
    texts.roots = roots;
    texts.crls = crls;
    struct ca_trust *trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect_str_eq(trust->domain, "demo.example");
    cr_expect(is_revoked(trust, "root", "\x0a\x0b"));
    ca_trust_free(trust);
    free(ca);
    free(roots);
    free(crls);
}

Test(ca_trust, a_certificate_that_stands_twice_is_sent_once)
{
    char *ca = read_file("root", "ca.pem");
    struct ca_trust *once =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca}, NULL, time(NULL), &err);
    struct ca_trust *twice =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .roots = ca}, NULL, time(NULL), &err);
    cr_assert(once != NULL && twice != NULL, "%s", err.text);
    cr_expect_eq(once->packed.len, twice->packed.len);
    ca_trust_free(once);
    ca_trust_free(twice);
    free(ca);
}

Test(ca_trust, that_cannot_be_made_is_refused_with_the_file_named)
{
    char *ca = read_file("root", "ca.pem");
    char *key = read_file("root", "ca.key");
    const struct {
        struct ca_trust_texts texts;
        const char *words;
    } rows[] = {
        {{.ca = NULL}, "ca/ca.pem: missing"},
        {{.ca = "x"}, "ca/ca.pem"},
        {{.ca = key}, "ca/ca.pem"},
        {{.ca = ca, .crl = "x"}, "ca/crl.pem"},
        {{.ca = ca, .crls = "x"}, "crls.pem"},
        {{.ca = ca, .roots = "x"}, "roots.pem"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        err = (struct err){{0}, {0}};
        cr_expect_null(ca_trust_new(&rows[i].texts, NULL, time(NULL), &err), "row %zu", i);
        char text[1200];
        cr_expect_not_null(strstr(err_text(&err, text, sizeof text), rows[i].words), "row %zu: %s",
                           i, text);
    }
    free(ca);
    free(key);
}

Test(ca_trust, the_list_of_an_intermediate_counts)
{
    char *ca = read_file("middle", "ca.pem");
    char *roots = read_file("root", "ca.pem");
    char *crl = crl_of("middle", "0a0b");
    const struct ca_trust_texts texts = {.ca = ca, .crl = crl, .roots = roots};
    struct ca_trust *trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect(is_revoked(trust, "middle", "\x0a\x0b"));
    cr_expect_not(is_revoked(trust, "root", "\x0a\x0b"), "the same number of another issuer");
    cr_expect_eq(trust->num_notes, 0);
    // Taken away again, that is told.
    struct ca_trust *without =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .roots = roots}, trust, time(NULL), &err);
    cr_assert_not_null(without, "%s", err.text);
    cr_expect(has_note(without, "is gone"));
    ca_trust_free(without);
    // As the CRL of an issuer that nobody knows, it is told and kept.
    struct ca_trust *unknown =
        ca_trust_new(&(struct ca_trust_texts){.ca = roots, .crl = crl}, NULL, time(NULL), &err);
    cr_assert_not_null(unknown, "%s", err.text);
    cr_expect(has_note(unknown, "of no root"));
    cr_expect(is_revoked(unknown, "middle", "\x0a\x0b"), "once its issuer is seen");
    ca_trust_free(unknown);
    ca_trust_free(trust);
    free(crl);
    free(roots);
    free(ca);
}

Test(ca_trust, an_older_list_is_refused_and_the_newer_one_stays)
{
    char *ca = read_file("root", "ca.pem");
    char *older = crl_of("root", "0a0b");
    char *newer = crl_of("root", "0a0c");
    struct ca_trust *trust =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .crl = newer}, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect_null(
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .crl = older}, trust, time(NULL), &err));
    cr_expect_not_null(strstr(err.text, "ca/crl.pem: CRL 1: "), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "older than the CRL"), "%s", err.text);
    // In the other file it is the second one.
    char *others = crl_of("middle", "0a0b");
    char both[16384];
    cr_assert_lt(snprintf(both, sizeof both, "%s%s", others, older), (int)sizeof both);
    const struct ca_trust_texts later = {.ca = ca, .crl = others, .crls = both};
    cr_expect_null(ca_trust_new(&later, trust, time(NULL), &err));
    cr_expect_not_null(strstr(err.text, "crls.pem: CRL 2: "), "%s", err.text);
    cr_expect_str_eq(err.where, "");
    ca_trust_free(trust);
    free(others);
    free(older);
    free(newer);
    free(ca);
}

Test(ca_trust, a_stale_list_is_taken_at_the_start_or_where_it_was_in_force)
{
    char *ca = read_file("root", "ca.pem");
    char *stale = crl_at("root", "0a0b", time(NULL) - 7200);
    const struct ca_trust_texts texts = {.ca = ca, .crl = stale};
    struct ca_trust *trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect(has_note(trust, "is stale"));
    cr_expect_lt(trust->next_update, time(NULL));
    struct ca_trust *again = ca_trust_new(&texts, trust, time(NULL), &err);
    cr_assert_not_null(again, "%s", err.text);
    ca_trust_free(again);
    char *other = crl_at("root", "0a0c", time(NULL) - 7100);
    cr_expect_null(
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .crl = other}, trust, time(NULL), &err));
    cr_expect_not_null(strstr(err.text, "is stale"), "%s", err.text);
    ca_trust_free(trust);
    free(other);
    free(stale);
    free(ca);
}

Test(ca_trust, a_root_that_was_rotated_out_leaves_when_nobody_renews_its_list)
{
    cr_assert(ca_store_create(dir_of("new"), NULL, MINT_KEY_P256, "demo.example", time(NULL),
                              9 * DAY, &err),
              "%s", err.text);
    char *ca = read_file("new", "ca.pem");
    char *roots = read_file("root", "ca.pem");
    char *fresh = crl_of("root", "0a0b");
    char *stale = crl_at("root", "0a0c", time(NULL) - 7200);
    struct ca_trust_texts texts = {.ca = ca, .roots = roots, .crl = fresh};
    struct ca_trust *trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect(is_revoked(trust, "root", "\x0a\x0b"), "the old root's list");
    size_t len = trust->packed.len;
    ca_trust_free(trust);
    texts.crl = stale;
    trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect(has_note(trust, "was left out"));
    cr_expect_lt(trust->packed.len, len - 300, "the root isn't sent");
    cr_expect(is_revoked(trust, "root", "\x0a\x0b"), "another root may have certified its key");
    ca_trust_free(trust);
    free(stale);
    free(fresh);
    free(roots);
    free(ca);
}
