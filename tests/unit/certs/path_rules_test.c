// SPDX-License-Identifier: Apache-2.0
//
// The rules of RFC 5280, section 6.1, each by a root, an intermediate and a leaf of which one
// breaks it. tests/certs/test_table.py has more of them, and OpenSSL's and Go's opinion.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/any_cert.h"
#include "tests/unit/certs/fixture.h"

#define UNKNOWN(critical)                                                                          \
    {                                                                                              \
        "1.2.3.4.5", "0500", critical                                                              \
    }
#define EKU(der)                                                                                   \
    {                                                                                              \
        "2.5.29.37", der, false                                                                    \
    }
#define LIMITS(der)                                                                                \
    {                                                                                              \
        "2.5.29.30", der, true                                                                     \
    }
#define NAMED(der)                                                                                 \
    {                                                                                              \
        "2.5.29.32", der, false                                                                    \
    }
#define MAPPED(der)                                                                                \
    {                                                                                              \
        "2.5.29.33", der, true                                                                     \
    }
#define REQUIRED(der)                                                                              \
    {                                                                                              \
        "2.5.29.36", der, true                                                                     \
    }
#define ANY_INHIBITED(der)                                                                         \
    {                                                                                              \
        "2.5.29.54", der, true                                                                     \
    }

// Certificate policies 1.2.3, 1.2.4 and anyPolicy.
#define P3       "3006300406022a03"
#define P4       "3006300406022a04"
#define ANY      "300830060604551d2000"
#define NOW_ON   "3003800100" // requireExplicitPolicy: 0
#define NEXT_ON  "3003800101"
#define LATER_ON "3003800102"

// A subjectAltName of the id, and of one IP address.
#define SAN(len, address)                                                                          \
    {                                                                                              \
        "2.5.29.17",                                                                               \
            "30" len "86247370696666653a2f2f70726f642e6578616d706c652f6e732f73686f702f73612f77656" \
            "2" address,                                                                           \
            false                                                                                  \
    }
#define IPV4(hex) SAN("2c", "8704" hex)
#define IPV6(hex) SAN("38", "8710" hex)

static const struct {
    const char *name;
    struct any_extension root[2];
    struct any_extension middle[3];
    struct any_extension leaf[2];
    const char *words; // NULL: accepted
} rows[] = {
    {"nothing", {{0}}, {{0}}, {{0}}, NULL},
    {"an unknown extension everywhere", {UNKNOWN(false)}, {UNKNOWN(false)}, {UNKNOWN(false)}, NULL},
    {"a critical one of the root",
     {UNKNOWN(true)},
     {{0}},
     {{0}},
     "certificate 2 of the chain (/CN=R): it has a critical extension"},
    {"a critical one of the intermediate",
     {{0}},
     {UNKNOWN(true)},
     {{0}},
     "certificate 1 of the chain (/CN=I): it has a critical extension"},
    {"a critical one of the leaf",
     {{0}},
     {{0}},
     {UNKNOWN(true)},
     "the leaf: it has a critical extension"},
    {"an extension twice", {{0}}, {UNKNOWN(false), UNKNOWN(false)}, {{0}}, "an extension twice"},
    {"a root for servers",
     {EKU("300a06082b06010505070301")},
     {{0}},
     {{0}},
     "certificate 2 of the chain (/CN=R): its extendedKeyUsage"},
    {"an intermediate for clients",
     {{0}},
     {EKU("300a06082b06010505070302")},
     {{0}},
     "certificate 1 of the chain (/CN=I): its extendedKeyUsage"},
    {"an intermediate for both",
     {{0}},
     {EKU("301406082b0601050507030106082b06010505070302")},
     {{0}},
     NULL},
    {"an intermediate for any use", {{0}}, {EKU("30060604551d2500")}, {{0}}, NULL},

    {"a policy required and not there",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3)},
     {{0}},
     "requires a certificate policy"},
    {"a policy required and there", {{0}}, {REQUIRED(NOW_ON), NAMED(P3)}, {NAMED(P3)}, NULL},
    {"another policy",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3)},
     {NAMED(P4)},
     "requires a certificate policy"},
    {"any policy of the CA", {{0}}, {REQUIRED(NOW_ON), NAMED(ANY)}, {NAMED(P4)}, NULL},
    {"any policy of the leaf", {{0}}, {REQUIRED(NOW_ON), NAMED(P3)}, {NAMED(ANY)}, NULL},
    {"any policy of the leaf where it is inhibited",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3), ANY_INHIBITED("020100")},
     {NAMED(ANY)},
     "requires a certificate policy"},
    {"any policy inhibited later on",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3), ANY_INHIBITED("020101")},
     {NAMED(ANY)},
     NULL},
    {"a policy required from the next one on",
     {{0}},
     {REQUIRED(NEXT_ON)},
     {{0}},
     "requires a certificate policy"},
    {"a policy required later than the path is long", {{0}}, {REQUIRED(LATER_ON)}, {{0}}, NULL},
    {"a policy required by the leaf itself",
     {{0}},
     {{0}},
     {REQUIRED(NOW_ON)},
     "requires a certificate policy"},
    {"a policy required by the root", {REQUIRED(NOW_ON)}, {{0}}, {{0}}, NULL},
    {"a policy mapped to the leaf's",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3), MAPPED("300a300806022a0306022a04")},
     {NAMED(P4)},
     NULL},
    {"a policy mapped away",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(P3), MAPPED("300a300806022a0306022a04")},
     {NAMED(P3)},
     "requires a certificate policy"},
    {"a policy mapped out of any",
     {{0}},
     {REQUIRED(NOW_ON), NAMED(ANY), MAPPED("300a300806022a0306022a04")},
     {NAMED(P4)},
     NULL},
    {"a mapping of anyPolicy",
     {{0}},
     {NAMED(ANY), MAPPED("300c300a0604551d200006022a04")},
     {{0}},
     "maps anyPolicy"},
    {"a mapping to anyPolicy",
     {{0}},
     {NAMED(P3), MAPPED("300c300a06022a030604551d2000")},
     {{0}},
     "maps anyPolicy"},
    {"a mapping inhibited from here on",
     {{0}},
     {REQUIRED("3006800100810100"), NAMED(P3), MAPPED("300a300806022a0306022a04")},
     {NAMED(P4)},
     NULL},
    {"a policy named twice",
     {{0}},
     {NAMED("300c300406022a03300406022a03")},
     {{0}},
     "one of them twice"},
    {"no policy named", {{0}}, {NAMED("3000")}, {{0}}, "it names no policy"},
    {"policy constraints that say nothing", {{0}}, {REQUIRED("3000")}, {{0}}, "can't be read"},
    {"a negative number of certificates", {{0}}, {REQUIRED("30038001ff")}, {{0}}, "can't be read"},
    {"a number that no path reaches", {{0}}, {REQUIRED("300b8009010000000000000000")}, {{0}}, NULL},

    {"an address in a permitted range",
     {{0}},
     {LIMITS("300ea00c300a87080a000000ff000000")},
     {IPV4("0a010203")},
     NULL},
    {"an address in no permitted range",
     {{0}},
     {LIMITS("300ea00c300a87080a000000ff000000")},
     {IPV4("0b010203")},
     "the leaf: it names the IP address 11.1.2.3, which the IP name constraints of a CA above it "
     "don't permit"},
    {"an address in an excluded range",
     {{0}},
     {LIMITS("300ea10c300a87080a000000ff000000")},
     {IPV4("0a010203")},
     "it names the IP address 10.1.2.3, which the IP name constraints of a CA above it exclude"},
    {"an address in no excluded range",
     {{0}},
     {LIMITS("300ea10c300a87080a000000ff000000")},
     {IPV4("0b010203")},
     NULL},
    {"an address of the other kind",
     {{0}},
     {LIMITS("300ea00c300a87080a000000ff000000")},
     {IPV6("20010db8000000000000000000000001")},
     "2001:db8::1"},
    {"an address in a range of IPv6",
     {{0}},
     {LIMITS("3026a0243022872020010db8000000000000000000000000ffffffff000000000000000000000000")},
     {IPV6("20010db8000000000000000000000001")},
     NULL},
    {"an address in the second of two ranges",
     {{0}},
     {LIMITS("301aa018300a87080a000000ff000000300a87080b000000ff000000")},
     {IPV4("0b010203")},
     NULL},
    {"a range of the root",
     {LIMITS("300ea00c300a87080a000000ff000000")},
     {{0}},
     {IPV4("0b010203")},
     "IP name constraints"},
    {"a range and no address", {{0}}, {LIMITS("300ea00c300a87080a000000ff000000")}, {{0}}, NULL},
    {"an address of five bytes",
     {{0}},
     {LIMITS("300ea00c300a87080a000000ff000000")},
     {SAN("2d", "87050a01020304")},
     "an IP address of 5 bytes"},
    {"a mask with a hole",
     {{0}},
     {LIMITS("300ea00c300a87080a000000ff00ff00")},
     {{0}},
     "IP name constraints is no range"},
    {"a range of six bytes",
     {{0}},
     {LIMITS("300ca00a300887060a00ff00ff00")},
     {{0}},
     "IP name constraints is no range"},
    {"a range with a minimum",
     {{0}},
     {LIMITS("3011a00f300d87080a000000ff000000800101")},
     {{0}},
     "is no range"},
    {"name constraints that say nothing", {{0}}, {LIMITS("3000")}, {{0}}, "empty"},
    {"name constraints that can't be read", {{0}}, {LIMITS("0500")}, {{0}}, "can't be read"},
};

static X509 *make(const struct any_extension *extensions, size_t num, EVP_PKEY *key,
                  EVP_PKEY *signer, const char *subject, const char *issuer)
{
    struct any_cert any = {.subject = subject,
                           .issuer = issuer,
                           .key = key,
                           .signer = signer,
                           .spiffe_id = strcmp(subject, "web") == 0 ? ID : NULL,
                           .has_key_ids = true,
                           .not_before = NOW - DAY,
                           .not_after = NOW + DAY};
    memcpy(any.extensions, extensions, num * sizeof *extensions);
    return any_cert_new(&any);
}

Test(path_rules, each_rule_is_kept_by_root_intermediate_and_leaf, .timeout = 60)
{
    struct err err = {0};
    EVP_PKEY *root_key = mint_key_new(MINT_KEY_P256, &err);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        X509 *root = make(rows[i].root, 2, root_key, root_key, "R", "R");
        X509 *middle = make(rows[i].middle, 3, key, root_key, "I", "R");
        X509 *leaf = make(rows[i].leaf, 2, key, key, "web", "I");
        struct trust_bundles *bundles = fixture_trust(root, NULL, NULL, NULL);
        struct verified_peer peer;
        enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, middle, NULL);
        cr_expect_eq(failure == VERIFY_OK, rows[i].words == NULL, "%s: %s: %s", rows[i].name,
                     verify_failure_text(failure), err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL,
                  "%s: \"%s\" lacks \"%s\"", rows[i].name, err.text, rows[i].words);
        trust_bundles_free(bundles);
        X509_free(root);
        X509_free(middle);
        X509_free(leaf);
    }
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
}

// What holds further down: up to three CAs below the root, of which the second may have the first
// one's name (a renewed key, which doesn't count).
static const struct {
    const char *name;
    struct any_extension cas[3][3];
    size_t num_cas;
    bool is_self_issued; // the second
    struct any_extension leaf;
    const char *words;
} long_rows[] = {
    {"a mapping that the CA above inhibits",
     {{REQUIRED("3006800100810100"), NAMED(P3)}, {NAMED(P3), MAPPED("300a300806022a0306022a04")}},
     2,
     false,
     NAMED(P4),
     "requires a certificate policy"},
    {"a mapping that is inhibited from the next CA on",
     {{REQUIRED("3006800100810101"), NAMED(P3)}, {NAMED(P3), MAPPED("300a300806022a0306022a04")}},
     2,
     false,
     NAMED(P4),
     NULL},
    {"a mapping that is inhibited by then",
     {{REQUIRED("3006800100810101"), NAMED(P3)},
      {NAMED(P3)},
      {NAMED(P3), MAPPED("300a300806022a0306022a04")}},
     3,
     false,
     NAMED(P4),
     "requires a certificate policy"},
    {"a mapping that would be inhibited by then, below a renewed key",
     {{REQUIRED("3006800100810101"), NAMED(P3)},
      {NAMED(P3)},
      {NAMED(P3), MAPPED("300a300806022a0306022a04")}},
     3,
     true,
     NAMED(P4),
     NULL},
    {"any policy of a CA where it is inhibited",
     {{REQUIRED(NOW_ON), NAMED(P3), ANY_INHIBITED("020100")}, {NAMED(ANY)}},
     2,
     false,
     NAMED(P3),
     "requires a certificate policy"},
    {"any policy of a renewed key where it is inhibited",
     {{REQUIRED(NOW_ON), NAMED(P3), ANY_INHIBITED("020100")}, {NAMED(ANY)}},
     2,
     true,
     NAMED(P3),
     NULL},
    {"any policy below a CA that has one alone",
     {{REQUIRED(NOW_ON), NAMED(P3)}, {NAMED(ANY)}},
     2,
     false,
     NAMED(P4),
     "requires a certificate policy"},
    {"a name of a CA that is not permitted",
     {{LIMITS("3016a0143012a410300e310c300a06035504030c03776562")}},
     2,
     false,
     UNKNOWN(false),
     "don't permit"},
    {"a name of a renewed key that would not be permitted",
     {{LIMITS("3016a0143012a410300e310c300a06035504030c03776562")}},
     2,
     true,
     UNKNOWN(false),
     NULL},
    {"a policy required two certificates below",
     {{REQUIRED(LATER_ON)}},
     2,
     false,
     UNKNOWN(false),
     "requires a certificate policy"},
    {"a policy required two certificates below, one of them a renewed key",
     {{REQUIRED(LATER_ON)}},
     2,
     true,
     UNKNOWN(false),
     NULL},
};

Test(path_rules, what_a_ca_demands_holds_for_all_below_it, .timeout = 60)
{
    struct err err = {0};
    EVP_PKEY *keys[4];
    for (size_t i = 0; i < 4; i++) {
        keys[i] = mint_key_new(MINT_KEY_P256, &err);
    }
    for (size_t i = 0; i < sizeof long_rows / sizeof long_rows[0]; i++) {
        const char *names[] = {"R", "I", long_rows[i].is_self_issued ? "I" : "J", "K"};
        size_t num = long_rows[i].num_cas;
        X509 *certs[4];
        CRYPTO_BUFFER *chain[4];
        X509 *root = make(&(struct any_extension){0}, 1, keys[0], keys[0], "R", "R");
        certs[0] = make(&long_rows[i].leaf, 1, keys[0], keys[num], "web", names[num]);
        for (size_t k = 0; k < num; k++) {
            certs[k + 1] =
                make(long_rows[i].cas[k], 3, keys[k + 1], keys[k], names[k + 1], names[k]);
        }
        for (size_t k = 0; k <= num; k++) {
            uint8_t *der;
            size_t len;
            cr_assert(mint_cert_der(&der, &len, certs[k]));
            chain[k] = CRYPTO_BUFFER_new(der, len, NULL);
            free(der);
            X509_free(certs[k]);
        }
        struct trust_bundles *bundles = fixture_trust(root, NULL, NULL, NULL);
        struct verified_peer peer;
        enum verify_failure failure = verify_peer(&peer, chain, num + 1, bundles, NOW, &err);
        cr_expect_eq(failure == VERIFY_OK, long_rows[i].words == NULL, "%s: %s: %s",
                     long_rows[i].name, verify_failure_text(failure), err.text);
        cr_expect(long_rows[i].words == NULL || strstr(err.text, long_rows[i].words) != NULL,
                  "%s: %s", long_rows[i].name, err.text);
        for (size_t k = 0; k <= num; k++) {
            CRYPTO_BUFFER_free(chain[k]);
        }
        trust_bundles_free(bundles);
        X509_free(root);
    }
    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY_free(keys[i]);
    }
}

// 300 constraints on DNS names, and a leaf of 300 DNS names.
Test(path_rules, comparisons_of_names_have_a_limit, .timeout = 20)
{
    enum { NUM = 300 };
    struct err err = {0};
    static const char id[] =
        "86247370696666653a2f2f70726f642e6578616d706c652f6e732f73686f702f73612f776562";
    char names[32 + sizeof id + NUM * 8];
    char limits[32 + NUM * 12];
    snprintf(names, sizeof names, "3082%04x%s", 38 + NUM * 4, id);
    snprintf(limits, sizeof limits, "3082%04xa182%04x", 4 + NUM * 6, NUM * 6);
    for (int i = 0; i < NUM; i++) {
        strcat(names, "82026161");
        strcat(limits, "300482026262");
    }
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    X509 *root = make(&(struct any_extension)LIMITS(limits), 1, key, key, "R", "R");
    X509 *leaf = make(&(struct any_extension){"2.5.29.17", names, false}, 1, key, key, "web", "R");
    struct trust_bundles *bundles = fixture_trust(root, NULL, NULL, NULL);
    struct verified_peer peer;
    enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_TOO_MUCH_WORK, failure, err, "comparisons of names", "300 by 300");
    trust_bundles_free(bundles);
    X509_free(root);
    X509_free(leaf);
    EVP_PKEY_free(key);
}
