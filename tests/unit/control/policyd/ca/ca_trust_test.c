// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/ca_trust.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/ca/ca_store.h"
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

static char *crl_of(const char *dir, const char *serial_hex)
{
    struct ca_store store = {0};
    size_t num = 0;
    bool was_known = false;
    cr_assert(ca_store_open(&store, dir_of(dir), &err), "%s", err.text);
    ASN1_INTEGER *serial = mint_serial_parse(serial_hex, &err);
    cr_assert(ca_store_revoke(&store, serial, time(NULL), &was_known, &err), "%s", err.text);
    char *pem = ca_store_crl(&store, time(NULL), 3600, &num, &err);
    cr_assert_not_null(pem, "%s", err.text);
    ASN1_INTEGER_free(serial);
    ca_store_close(&store);
    return pem;
}

static bool is_revoked(const struct ca_trust *trust, const char *bytes)
{
    struct cert_serial serial = {.len = (uint8_t)strlen(bytes)};
    memcpy(serial.bytes, bytes, serial.len);
    return ca_trust_is_revoked(trust, &serial);
}

TestSuite(ca_trust, .timeout = 20, .init = make_authorities, .fini = temp_tear_down);

Test(ca_trust, of_a_root_is_its_own_certificate_and_its_list)
{
    char *ca = read_file("root", "ca.pem");
    char *crl = crl_of("root", "0a0b");
    struct ca_trust *trust =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .crl = crl}, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect_str_eq(trust->domain, "demo.example");
    cr_expect_eq(trust->crls.num, 1);
    cr_expect_gt(trust->packed.len, 100);
    cr_expect(is_revoked(trust, "\x0a\x0b"));
    cr_expect_not(is_revoked(trust, "\x0a\x0c"));
    cr_expect_not(is_revoked(trust, "\x0a"));
    cr_expect_not(is_revoked(trust, ""), "no certificate was shown");
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
    cr_expect_null(ca_trust_new(&texts, time(NULL), &err));
    cr_expect_not_null(strstr(err.text, "roots.pem must hold the root"), "%s", err.text);
    texts.roots = roots;
    texts.crls = crls;
    struct ca_trust *trust = ca_trust_new(&texts, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    cr_expect_str_eq(trust->domain, "demo.example");
    cr_expect(is_revoked(trust, "\x0a\x0b"));
    ca_trust_free(trust);
    free(ca);
    free(roots);
    free(crls);
}

Test(ca_trust, a_certificate_that_stands_twice_is_sent_once)
{
    char *ca = read_file("root", "ca.pem");
    struct ca_trust *once = ca_trust_new(&(struct ca_trust_texts){.ca = ca}, time(NULL), &err);
    struct ca_trust *twice =
        ca_trust_new(&(struct ca_trust_texts){.ca = ca, .roots = ca}, time(NULL), &err);
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
        cr_expect_null(ca_trust_new(&rows[i].texts, time(NULL), &err), "row %zu", i);
        char text[1200];
        cr_expect_not_null(strstr(err_text(&err, text, sizeof text), rows[i].words), "row %zu: %s",
                           i, text);
    }
    free(ca);
    free(key);
}
