// SPDX-License-Identifier: Apache-2.0
#include "certs/cert.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

TestSuite(cert, .timeout = 10);

Test(cert, times_are_seconds_since_1970_and_what_is_none_changes_nothing)
{
    static const struct {
        const char *text;
        bool is_time;
        time_t seconds;
    } rows[] = {
        {"700101000000Z", true, 0},  {"20300317174640Z", true, 1900000000},
        {"691231235959Z", true, -1}, {"20301301000000Z", false, 0},
        {"now", false, 0},
    };
    time_t out = 7;
    cr_expect_not(cert_time_read(&out, NULL));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_long = strlen(rows[i].text) > 13;
        ASN1_TIME *time = ASN1_STRING_type_new(is_long ? V_ASN1_GENERALIZEDTIME : V_ASN1_UTCTIME);
        ASN1_STRING_set(time, rows[i].text, (int)strlen(rows[i].text));
        out = 7;
        cr_expect_eq(cert_time_read(&out, time), rows[i].is_time, "%s", rows[i].text);
        cr_expect_eq(out, rows[i].is_time ? rows[i].seconds : 7, "%s", rows[i].text);
        ASN1_STRING_free(time);
    }
}

Test(cert, a_serial_number_has_at_most_twenty_bytes_and_a_sign)
{
    uint8_t bytes[CERT_SERIAL_LEN_MAX + 1];
    memset(bytes, 0x41, sizeof bytes);
    static const struct {
        int type;
        int len;
        bool is_read;
    } rows[] = {
        {V_ASN1_INTEGER, 1, true},
        {V_ASN1_INTEGER, CERT_SERIAL_LEN_MAX, true},
        {V_ASN1_INTEGER, CERT_SERIAL_LEN_MAX + 1, false},
        {V_ASN1_NEG_INTEGER, 2, true},
        {V_ASN1_INTEGER, 0, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ASN1_INTEGER *number = ASN1_STRING_type_new(rows[i].type);
        struct cert_serial serial = {.len = 9};
        ASN1_STRING_set(number, bytes, rows[i].len);
        cr_expect_eq(cert_serial_read(&serial, number), rows[i].is_read, "row %zu", i);
        cr_expect_eq(serial.len, rows[i].is_read ? rows[i].len : 0, "row %zu", i);
        cr_expect_eq(serial.is_negative, rows[i].type == V_ASN1_NEG_INTEGER, "row %zu", i);
        cr_expect_arr_eq(serial.bytes, bytes, serial.len, "row %zu", i);
        ASN1_STRING_free(number);
    }
}

Test(cert, its_uris_come_in_their_order_and_other_names_are_passed_over)
{
    const char *const uris[] = {"spiffe://prod.example/a", "https://example.com/", ""};
    struct mint_ca root;
    fixture_root(&root, DOMAIN);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    const struct bad_leaf spec = {.has_uris = true, .uris = uris, .num_uris = 3};
    X509 *leaf = bad_leaf_new(&root, key, ID, NOW, &spec);
    struct cert_uris out;
    cr_assert(cert_uris_read(&out, leaf));
    cr_assert_eq(out.num, 3);
    for (size_t i = 0; i < 3; i++) {
        size_t len = 99;
        const char *text = cert_uri(&out, i, &len);
        cr_expect_eq(len, strlen(uris[i]));
        cr_expect_arr_eq(text, uris[i], len);
    }
    cert_uris_cleanup(&out);
    X509_free(leaf);
    const char *const dns[] = {"web.example", "api.example"};
    const struct mint_leaf named = {.spiffe_id = ID,
                                    .dns_names = dns,
                                    .num_dns_names = 2,
                                    .not_before = NOW,
                                    .not_after = NOW + HOUR};
    leaf = mint_leaf_new(&root, key, &named, NULL);
    cr_assert(cert_uris_read(&out, leaf));
    size_t len = 0;
    cr_expect_eq(out.num, 1);
    cr_expect_arr_eq(cert_uri(&out, 0, &len), ID, strlen(ID));
    cert_uris_cleanup(&out);
    X509_free(leaf);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&root);
}

Test(cert, none_and_an_unreadable_subject_alt_name_are_told_apart)
{
    X509 *cert = X509_new();
    struct cert_uris out;
    cr_expect(cert_uris_read(&out, cert), "there is none");
    cr_expect_eq(out.num, 0);
    ASN1_OCTET_STRING *garbage = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(garbage, (const uint8_t *)"\x01\x02", 2);
    X509_EXTENSION *extension =
        X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, garbage);
    X509_add_ext(cert, extension, -1);
    cr_expect_not(cert_uris_read(&out, cert));
    cr_expect_eq(out.num, 0);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(garbage);
    X509_free(cert);
}
