// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/der_list.h"
#include "tests/unit/certs/fixture.h"

static char *cert_pem;
static char *crl_pem;

static void set_up(void)
{
    struct mint_ca root;
    fixture_root(&root, "prod.example");
    cert_pem = mint_cert_pem(root.cert);
    X509_CRL *crl = fixture_crl(&root, NULL, 0, NOW - HOUR, NOW + HOUR);
    crl_pem = mint_crl_pem(crl);
    X509_CRL_free(crl);
    mint_ca_cleanup(&root);
}

static void tear_down(void)
{
    free(cert_pem);
    free(crl_pem);
}

TestSuite(der_list, .init = set_up, .fini = tear_down, .timeout = 10);

static bool read_certs(const char *text, size_t num_max, size_t *out_num, struct err *err)
{
    struct der_list list;
    // A copy without a NUL after it, so that a sanitizer sees a byte too many.
    size_t len = strlen(text);
    char *exact = malloc(len == 0 ? 1 : len);
    memcpy(exact, text, len);
    bool ok = der_list_from_pem(&list, "CERTIFICATE", exact, len, num_max, "roots.pem", err);
    *out_num = list.num;
    der_list_cleanup(&list);
    free(exact);
    return ok;
}

static char *joined(const char *a, const char *b, const char *c)
{
    char *out = NULL;
    size_t len = strlen(a) + strlen(b) + strlen(c) + 1;
    out = malloc(len);
    snprintf(out, len, "%s%s%s", a, b, c);
    return out;
}

static char *replaced(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    cr_assert_not_null(at);
    size_t len = strlen(text) + strlen(new) + 1;
    char *out = malloc(len);
    snprintf(out, len, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    return out;
}

Test(der_list, every_block_is_read_whatever_stands_between)
{
    struct err err = {0};
    size_t num;
    char *texts[] = {
        joined(cert_pem, "", ""),
        joined("# our root\n\n", cert_pem, "\nsome words\n"),
        joined(cert_pem, cert_pem, cert_pem),
        replaced(cert_pem, "-----END", "\r\n-----END"),
        replaced(cert_pem, "-----BEGIN CERTIFICATE-----", "  -----BEGIN CERTIFICATE-----\t "),
    };
    static const size_t nums[] = {1, 1, 3, 1, 1};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cr_expect(read_certs(texts[i], 3, &num, &err), "text %zu: %s", i, err.text);
        cr_expect_eq(num, nums[i], "text %zu", i);
        free(texts[i]);
    }
    struct der_list list;
    cr_expect(der_list_from_pem(&list, "X509 CRL", crl_pem, strlen(crl_pem), 1, "crl.pem", &err),
              "%s", err.text);
    cr_expect_eq(list.num, 1);
    der_list_cleanup(&list);
    // No newline at the end of the file.
    cert_pem[strlen(cert_pem) - 1] = '\0';
    cr_expect(read_certs(cert_pem, 1, &num, &err), "%s", err.text);
}

Test(der_list, what_is_damaged_is_named_with_its_line)
{
    const struct {
        const char *name;
        char *text;
        const char *words;
    } rows[] = {
        {"empty", joined("", "", ""), "roots.pem: no \"-----BEGIN CERTIFICATE-----\""},
        {"words", joined("hello\n", "", ""), "roots.pem: no \"-----BEGIN CERTIFICATE-----\""},
        {"a key", joined("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", ""),
         "roots.pem:1: a block of \"PRIVATE KEY\""},
        {"a CRL", joined(crl_pem, "", ""), "roots.pem:1: a block of \"X509 CRL\""},
        {"a second block of another kind", joined(cert_pem, crl_pem, ""), "X509 CRL"},
        {"four dashes", replaced(cert_pem, "-----BEGIN", "----BEGIN"), "roots.pem:1: a damaged"},
        {"four dashes after", replaced(cert_pem, "CERTIFICATE-----\n", "CERTIFICATE----\n"),
         "roots.pem:1: a damaged"},
        {"six dashes", replaced(cert_pem, "-----BEGIN", "------BEGIN"), "roots.pem:1: a damaged"},
        {"one line", replaced(cert_pem, "CERTIFICATE-----\n", "CERTIFICATE-----"), "damaged"},
        {"no end", replaced(cert_pem, "-----END CERTIFICATE-----\n", ""),
         "roots.pem:1: the CERTIFICATE has no \"-----END"},
        {"another end", replaced(cert_pem, "END CERTIFICATE", "END X509 CRL"),
         "ends as \"X509 CRL\""},
        {"an end alone", joined("-----END CERTIFICATE-----\n", "", ""), "roots.pem:1: a damaged"},
        {"begin in begin", joined("-----BEGIN CERTIFICATE-----\n", cert_pem, ""),
         "roots.pem:2: not base64, inside the CERTIFICATE that begins on line 1"},
        {"not base64", replaced(cert_pem, "\nMII", "\nM!I"), "roots.pem:1: the CERTIFICATE is not"},
        {"a word before it", joined("x ", cert_pem, ""), "roots.pem:1: a damaged"},
        {"a header without a hyphen", replaced(cert_pem, "\nMII", "\nComment: x\nMII"),
         "roots.pem:2: not base64"},
        {"a header", replaced(cert_pem, "\nMII", "\nProc-Type: 4,ENCRYPTED\nMII"), "roots.pem:2"},
        {"no body", joined("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "", ""),
         "not valid base64"},
        {"not DER",
         joined("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", ""),
         "roots.pem:1: the block is valid base64 but not a DER CERTIFICATE"},
        {"one too many", joined(cert_pem, cert_pem, cert_pem), "more than 2 blocks"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        size_t num;
        cr_expect_not(read_certs(rows[i].text, 2, &num, &err), "%s", rows[i].name);
        cr_expect_eq(num, 0, "%s: something is left in the list", rows[i].name);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].name, err.text);
        free(rows[i].text);
    }
}

Test(der_list, a_file_that_is_cut_anywhere_is_never_taken_for_less)
{
    char *two = joined(cert_pem, cert_pem, "");
    size_t whole = strlen(two);
    size_t half = strlen(cert_pem);
    for (size_t len = 0; len < whole; len++) {
        struct der_list list;
        struct err err = {0};
        bool ok = der_list_from_pem(&list, "CERTIFICATE", two, len, 2, "cut.pem", &err);
        // Cut within the blank end of the first block, or so late that only a newline is missing.
        bool is_fair = len == half - 1 || len == half || len == whole - 1;
        cr_expect_eq(ok, is_fair, "%zu of %zu bytes (%s)", len, whole, err.text);
        der_list_cleanup(&list);
    }
    free(two);
}
