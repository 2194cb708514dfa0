// SPDX-License-Identifier: Apache-2.0
//
// How long lives what is signed while the wall clock is behind the date that is believed.
#include "control/policyd/ca/sign.h"

#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/now.h"
#include "certs/ca/csr.h"
#include "tests/unit/support/temp.h"

#define ID   "spiffe://demo.example/a"
#define LIFE 3600
#define DAY  86400

enum { SLACK = 5 }; // seconds that a test may take

static struct ca_store store;
static char ca_dir[TEMP_PATH_BYTES + 8];
static uint8_t *csr;
static size_t csr_len;
static time_t wall;
static struct err err;

static void set_up(void)
{
    EVP_PKEY *key = NULL;
    temp_set_up();
    snprintf(ca_dir, sizeof ca_dir, "%s/ca", temp_folder);
    wall = (time_t)(now_unix_ms() / 1000);
    cr_assert(ca_store_create(ca_dir, NULL, MINT_KEY_P256, "demo.example", wall, 90 * DAY, &err));
    cr_assert(ca_store_open(&store, ca_dir, &err));
    cr_assert(csr_new(&key, &csr, &csr_len, MINT_KEY_P256, ID, &err));
    EVP_PKEY_free(key);
}

static void tear_down(void)
{
    ca_store_close(&store);
    free(csr);
    temp_tear_down();
}

TestSuite(sign, .timeout = 20, .init = set_up, .fini = tear_down);

// Signs while the date that is believed is `ahead` seconds ahead of the wall clock.
static bool sign(struct signed_chain *out, time_t ahead)
{
    struct bytes notes = {0};
    const struct issue_request asked = {
        .csr = csr, .csr_len = csr_len, .spiffe_id = ID, .seconds = LIFE};
    err = (struct err){{0}, {0}};
    bool ok = sign_request(out, &store, &asked, wall + ahead, &notes, &err);
    bytes_cleanup(&notes);
    return ok;
}

Test(sign, no_certificate_lives_longer_by_either_clock_than_was_asked_for)
{
    static const time_t aheads[] = {0, 60, LIFE / 2, LIFE - 2 * SLACK};
    for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++) {
        struct signed_chain chain;
        cr_assert(sign(&chain, aheads[i]), "%lld: %s", (long long)aheads[i], err.text);
        cr_expect_leq(chain.not_after, wall + LIFE + SLACK, "%lld s ahead", (long long)aheads[i]);
        cr_expect_geq(chain.not_after, wall + LIFE, "%lld s ahead", (long long)aheads[i]);
        signed_chain_cleanup(&chain);
    }
}

Test(sign, no_certificate_is_made_that_is_over_by_one_of_the_clocks)
{
    struct signed_chain chain;
    cr_expect_not(sign(&chain, LIFE + SLACK));
    cr_expect_not_null(strstr(err.text, "the policy agent's wall clock was set back by"), "%s",
                       err.text);
    cr_expect_not(sign(&chain, 300 * DAY));
}

static X509_CRL *read_crl(const char *path)
{
    struct err why = {{0}, {0}};
    X509_CRL *crl = ca_store_own_crl(&store, path, &why);
    cr_assert_not_null(crl, "%s", why.text);
    return crl;
}

static void expect_crl(const char *path)
{
    time_t from = 0;
    time_t end = 0;
    X509_CRL *crl = read_crl(path);
    cr_assert(cert_time_read(&from, X509_CRL_get0_lastUpdate(crl)));
    cr_assert(cert_time_read(&end, X509_CRL_get0_nextUpdate(crl)));
    cr_expect(from <= wall + SLACK, "from %lld s ahead", (long long)(from - wall));
    cr_expect(end <= wall + ISSUE_CRL_SECONDS + SLACK, "to %lld", (long long)(end - wall));
    X509_CRL_free(crl);
}

Test(sign, no_crl_is_fresh_longer_by_either_clock_than_it_should_be)
{
    char path[TEMP_PATH_BYTES + 32];
    size_t num = 0;
    bool did = false;
    snprintf(path, sizeof path, "%s/crl.pem", ca_dir);
    // Half of its life is over by the date, not by the wall clock.
    cr_assert(ca_store_write_crl(&store, path, wall - DAY / 2, DAY, &num, &err), "%s", err.text);
    cr_expect(sign_crl(&store, wall + DAY / 4, &did, &err), "%s", err.text);
    cr_expect(did);
    expect_crl(path);
    cr_expect_not(sign_crl(&store, wall + 2 * DAY, &did, &err), "stale by one of the clocks");
    cr_expect_not(did);
    // One that was made while the clock was ahead.
    err = (struct err){{0}, {0}};
    cr_assert(ca_store_write_crl(&store, path, wall + 9 * DAY, DAY, &num, &err), "%s", err.text);
    cr_expect(sign_crl(&store, wall, &did, &err), "%s", err.text);
    cr_expect(did);
    expect_crl(path);
    cr_expect(sign_crl(&store, wall, &did, &err), "%s", err.text);
    cr_expect_not(did, "it is good");
}
