// SPDX-License-Identifier: Apache-2.0
//
// Name constraints on URIs, which speak of trust domains (RFC 5280, section 4.2.1.10): a root, an
// intermediate and a leaf of any trust domain, through verify_peer. tests/certs/test_table.py has
// OpenSSL's and Go's opinion about such chains.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/any_cert.h"
#include "tests/unit/certs/fixture.h"

#define HOSTS_MAX 3
#define HEX_MAX   4096

// The name constraints of a CA, as hosts; or as the extension's bytes.
struct limits {
    const char *permitted[HOSTS_MAX];
    const char *excluded[HOSTS_MAX];
    const char *der; // hexadecimal
};

#define PERMITS(...)                                                                               \
    {                                                                                              \
        .permitted = { __VA_ARGS__ }                                                               \
    }
#define EXCLUDES(...)                                                                              \
    {                                                                                              \
        .excluded = { __VA_ARGS__ }                                                                \
    }
#define NONE                                                                                       \
    {                                                                                              \
        .der = NULL                                                                                \
    }

#define NO_HOST  "has no host that can be compared"
#define NO_LIMIT "one of its URI name constraints, "

static const struct row {
    const char *name;
    struct limits root;
    struct limits middle;
    const char *domain;     // of the leaf
    const char *middle_uri; // a URI that the intermediate has; NULL: none
    const char *words;      // NULL: accepted
} rows[] = {
    // What a trust domain may be called, and a host of the DNS may not.
    {"an underscore, permitted", NONE, PERMITS("prod_eu"), "prod_eu", NULL, NULL},
    {"an underscore, not permitted", NONE, PERMITS("prod_us"), "prod_eu", NULL, "above it permit"},
    {"an underscore, excluded", NONE, EXCLUDES("prod_eu"), "prod_eu", NULL, "above it exclude"},
    {"an underscore where another is excluded", NONE, EXCLUDES("other.example"), "prod_eu", NULL,
     NULL},
    {"an underscore of somebody else excluded", NONE, EXCLUDES("bad_td"), "prod.example", NULL,
     NULL},
    {"four numbers, permitted", NONE, PERMITS("10.0.0.1"), "10.0.0.1", NULL, NULL},
    {"four numbers, not permitted", NONE, PERMITS("10.0.0.2"), "10.0.0.1", NULL, "above it permit"},
    {"four numbers, excluded", NONE, EXCLUDES("10.0.0.1"), "10.0.0.1", NULL, "above it exclude"},
    {"four numbers of somebody else excluded", NONE, EXCLUDES("10.0.0.1"), "prod.example", NULL,
     NULL},
    {"a digit, permitted", NONE, PERMITS("1"), "1", NULL, NULL},
    {"a digit, excluded", NONE, EXCLUDES("1"), "1", NULL, "above it exclude"},
    {"a digit where another is excluded", NONE, EXCLUDES("2"), "1", NULL, NULL},
    {"labels that begin and end with a hyphen", NONE, PERMITS("-a-.b-"), "-a-.b-", NULL, NULL},
    {"one label", NONE, PERMITS("prod"), "prod", NULL, NULL},

    // A host is that host alone; a domain is all below it.
    {"the host", NONE, PERMITS("prod.example"), "prod.example", NULL, NULL},
    {"a host below it", NONE, PERMITS("prod.example"), "a.prod.example", NULL, "above it permit"},
    {"a host below an excluded one", NONE, EXCLUDES("prod.example"), "a.prod.example", NULL, NULL},
    {"a host that ends alike", NONE, PERMITS("prod.example"), "badprod.example", NULL,
     "above it permit"},
    {"a host that begins alike", NONE, PERMITS("prod.example"), "prod.example.a", NULL,
     "above it permit"},
    {"a host of which the constraint is longer", NONE, PERMITS("a.prod.example"), "prod.example",
     NULL, "above it permit"},
    {"all below a domain", NONE, PERMITS(".example"), "prod.example", NULL, NULL},
    {"far below a domain", NONE, PERMITS(".example"), "a.b.prod.example", NULL, NULL},
    {"all below a domain excluded", NONE, EXCLUDES(".example"), "prod.example", NULL,
     "above it exclude"},
    {"a domain doesn't hold itself", NONE, PERMITS(".prod.example"), "prod.example", NULL,
     "above it permit"},
    {"nor is it excluded with what is below", NONE, EXCLUDES(".prod.example"), "prod.example", NULL,
     NULL},
    {"what ends in a domain's letters alone", NONE, PERMITS(".prod.example"), "badprod.example",
     NULL, "above it permit"},
    {"upper case in the constraint, permitted", NONE, PERMITS("Prod.EXAMPLE"), "prod.example", NULL,
     NULL},
    {"upper case in the constraint, excluded", NONE, EXCLUDES(".EXAMPLE"), "prod.example", NULL,
     "above it exclude"},
    {"bytes that differ by what letters' cases do", NONE, EXCLUDES("prod-eu"), "prod_eu", NULL,
     NULL},

    // Several constraints, several CAs.
    {"the second of two permitted", NONE, PERMITS("other.example", "prod.example"), "prod.example",
     NULL, NULL},
    {"the second of two excluded", NONE, EXCLUDES("other.example", "prod.example"), "prod.example",
     NULL, "above it exclude"},
    {"permitted and excluded",
     NONE,
     {.permitted = {".example"}, .excluded = {"prod.example"}},
     "prod.example",
     NULL,
     "above it exclude"},
    {"permitted, and another excluded",
     NONE,
     {.permitted = {".example"}, .excluded = {"bad_td.example"}},
     "prod.example",
     NULL,
     NULL},
    {"neither permitted nor excluded",
     NONE,
     {.permitted = {"other.example"}, .excluded = {"bad_td"}},
     "prod.example",
     NULL,
     "above it permit"},
    {"two CAs that permit it", PERMITS(".example"), PERMITS("prod.example"), "prod.example", NULL,
     NULL},
    {"a root that doesn't", PERMITS("other.example"), PERMITS("prod.example"), "prod.example", NULL,
     "above it permit"},
    {"an intermediate that doesn't", PERMITS("prod.example"), PERMITS("other.example"),
     "prod.example", NULL, "above it permit"},
    {"an intermediate that permits what the root excludes", EXCLUDES(".example"),
     PERMITS("prod.example"), "prod.example", NULL, "above it exclude"},

    // Trust domains that name no host, whatever the constraint says.
    {"a dot at the end, permitted without", NONE, PERMITS("prod.example"), "prod.example.", NULL,
     NO_HOST},
    {"a dot at the end, excluded without", NONE, EXCLUDES("prod.example"), "prod.example.", NULL,
     NO_HOST},
    {"a dot at the end, another excluded", NONE, EXCLUDES("other.example"), "prod.example.", NULL,
     NO_HOST},
    {"a dot at the end and no constraint", NONE, NONE, "prod.example.", NULL, NULL},
    {"a dot at the start", NONE, EXCLUDES(".example"), ".example", NULL, NO_HOST},
    {"two dots", NONE, PERMITS(".example"), "a..example", NULL, NO_HOST},
    {"nothing but a dot", NONE, EXCLUDES("prod.example"), ".", NULL, NO_HOST},

    // URIs of an intermediate below a constrained root: of another scheme, or not to be compared.
    {"another scheme, permitted", PERMITS("prod.example"), NONE, "prod.example",
     "https://prod.example/x?y#z", NULL},
    {"another scheme and case, permitted", PERMITS("prod.example"), NONE, "prod.example",
     "hTTPs://Prod.Example", NULL},
    {"another scheme, not permitted", PERMITS("prod.example"), NONE, "prod.example",
     "https://other.example/x", "host other.example of its URI is none"},
    {"another scheme, excluded", EXCLUDES("other.example"), NONE, "prod.example",
     "https://Other.example", "host Other.example of its URI is one"},
    {"a host that ends at a question mark", EXCLUDES("other.example"), NONE, "prod.example",
     "https://other.example?/prod.example", "host other.example of its URI is one"},
    {"an address in another scheme", EXCLUDES("10.0.0.1"), NONE, "prod.example",
     "https://10.0.0.2/", NO_HOST},
    {"an address spelt in another way", EXCLUDES("10.0.0.1"), NONE, "prod.example",
     "https://0x0A000001/", NO_HOST},
    {"a number in another scheme", PERMITS("prod.example", "1"), NONE, "prod.example", "https://1/",
     NO_HOST},
    {"an address of IPv6", EXCLUDES("other.example"), NONE, "prod.example", "https://[::1]/",
     NO_HOST},
    {"a port", PERMITS("prod.example"), NONE, "prod.example", "https://prod.example:443/", NO_HOST},
    {"a user", PERMITS("prod.example"), NONE, "prod.example", "https://a@prod.example/", NO_HOST},
    {"a percent sign", EXCLUDES("other.example"), NONE, "prod.example", "https://%6fther.example/",
     NO_HOST},
    {"a backslash", EXCLUDES("other.example"), NONE, "prod.example",
     "https://other.example\\a.example", NO_HOST},
    {"a letter that is no ASCII", EXCLUDES("other.example"), NONE, "prod.example",
     "https://\303\266ther.example", NO_HOST},
    {"a URI without a host", EXCLUDES("other.example"), NONE, "prod.example", "urn:a:b", NO_HOST},
    {"an empty host", EXCLUDES("other.example"), NONE, "prod.example", "https:///x", NO_HOST},
    {"one slash", EXCLUDES("other.example"), NONE, "prod.example", "https:/other.example", NO_HOST},
    {"no scheme", EXCLUDES("other.example"), NONE, "prod.example", "//other.example", NO_HOST},
    {"a scheme that is none", EXCLUDES("other.example"), NONE, "prod.example", "1s://a.example/x",
     NO_HOST},
    {"an empty URI", EXCLUDES("other.example"), NONE, "prod.example", "", NO_HOST},
    {"a URI that can't be read, and no constraint", NONE, NONE, "prod.example", "urn:a:b", NULL},

    // Constraints that are no host and no domain: nothing is good below them.
    {"an empty one, permitted", NONE, PERMITS(""), "prod.example", NULL, NO_LIMIT},
    {"an empty one, excluded", NONE, EXCLUDES(""), "prod.example", NULL, NO_LIMIT},
    {"a dot, permitted", NONE, PERMITS("."), "prod.example", NULL, NO_LIMIT},
    {"a dot, excluded", NONE, EXCLUDES("."), "prod.example", NULL, NO_LIMIT},
    {"two dots at the start", NONE, EXCLUDES("..example"), "prod.example", NULL, NO_LIMIT},
    {"a dot at its end", NONE, PERMITS("prod.example."), "prod.example", NULL, NO_LIMIT},
    {"a dot at the end of an excluded one", NONE, EXCLUDES("prod.example."), "prod.example", NULL,
     NO_LIMIT},
    {"a whole URI", NONE, PERMITS("spiffe://prod.example"), "prod.example", NULL,
     "\"spiffe://prod.example\""},
    {"a star", NONE, EXCLUDES("*.example"), "prod.example", NULL, NO_LIMIT},
    {"a port in it", NONE, PERMITS("prod.example:443"), "prod.example", NULL, NO_LIMIT},
    {"one that isn't, behind a good one", NONE, PERMITS("prod.example", "a b"), "prod.example",
     NULL, NO_LIMIT},
    {"one that isn't, of the root", PERMITS(""), NONE, "prod.example", NULL,
     "certificate 2 of the chain (/CN=R): one of its URI name constraints"},

    // DER: "3012a110300e860c" and prod.example are the usual bytes of an exclusion.
    {"lengths longer than they need be",
     NONE,
     {.der = "308114a110300e860c70726f642e6578616d706c65"},
     "prod.example",
     NULL,
     ""},
    {"a NUL in the middle",
     NONE,
     {.der = "3013a111300f860d70726f642e6578616d706c6500"},
     "prod.example",
     NULL,
     NO_LIMIT},
    {"a NUL before the rest",
     NONE,
     {.der = "3010a00e300c860a70726f642e6578612e00"},
     "prod.exa",
     NULL,
     NO_LIMIT},
    {"a byte that is no ASCII",
     NONE,
     {.der = "3012a110300e860c70726f642e6578616d706ce5"},
     "prod.example",
     NULL,
     NO_LIMIT},
    {"a string in parts",
     NONE,
     {.der = "3014a1123010a60e160c70726f642e6578616d706c65"},
     "prod.example",
     NULL,
     "can't be read"},
    {"a minimum of zero, written out",
     NONE,
     {.der = "3015a1133011860c70726f642e6578616d706c65800100"},
     "other.example",
     NULL,
     "minimum or a maximum"},
    {"a maximum",
     NONE,
     {.der = "3015a0133011860c70726f642e6578616d706c65810105"},
     "prod.example",
     NULL,
     "minimum or a maximum"},
    {"bytes behind it",
     NONE,
     {.der = "3012a110300e860c70726f642e6578616d706c650500"},
     "other.example",
     NULL,
     "can't be read"},
    {"an empty list beside a full one",
     NONE,
     {.der = "3014a000a110300e860c70726f642e6578616d706c65"},
     "other.example",
     NULL,
     "is empty"},
    {"an empty list alone", NONE, {.der = "3002a000"}, "prod.example", NULL, "is empty"},
    {"the excluded list twice",
     NONE,
     {.der = "3024a110300e860c70726f642e6578616d706c65a110300e860c70726f642e6578616d706c65"},
     "other.example",
     NULL,
     "can't be read"},
};

// Appends a value of DER to hexadecimal text, all of it shorter than 128 bytes.
static void append(char *hex, unsigned tag, const char *content_hex)
{
    size_t len = strlen(hex);
    cr_assert_lt(strlen(content_hex) / 2, 128);
    snprintf(hex + len, HEX_MAX - len, "%02x%02zx%s", tag, strlen(content_hex) / 2, content_hex);
}

static void append_text(char *hex, unsigned tag, const char *text)
{
    char content[HEX_MAX] = "";
    for (size_t i = 0; text[i] != '\0'; i++) {
        snprintf(content + 2 * i, 3, "%02x", (unsigned char)text[i]);
    }
    append(hex, tag, content);
}

static void append_list(char *hex, unsigned tag, const char *const *hosts)
{
    char list[HEX_MAX] = "";
    for (size_t i = 0; i < HOSTS_MAX && hosts[i] != NULL; i++) {
        char name[HEX_MAX] = "";
        append_text(name, 0x86, hosts[i]);
        append(list, 0x30, name);
    }
    if (list[0] != '\0') {
        append(hex, tag, list);
    }
}

// Writes the extension of some limits; false: there is none.
static bool write_limits(char *hex, const struct limits *limits)
{
    char lists[HEX_MAX] = "";
    hex[0] = '\0';
    if (limits->der != NULL) {
        snprintf(hex, HEX_MAX, "%s", limits->der);
        return true;
    }
    append_list(lists, 0xa0, limits->permitted);
    append_list(lists, 0xa1, limits->excluded);
    append(hex, 0x30, lists);
    return lists[0] != '\0';
}

static X509 *make_ca(const struct limits *limits, const char *uri, EVP_PKEY *key, EVP_PKEY *signer,
                     const char *subject)
{
    char limits_hex[HEX_MAX], names[HEX_MAX] = "", names_hex[HEX_MAX] = "";
    size_t num = 0;
    struct any_cert any = {.subject = subject,
                           .issuer = "R",
                           .key = key,
                           .signer = signer,
                           .has_key_ids = true,
                           .not_before = NOW - DAY,
                           .not_after = NOW + DAY};
    if (uri != NULL) {
        append_text(names, 0x86, uri);
        append(names_hex, 0x30, names);
        any.extensions[num++] = (struct any_extension){"2.5.29.17", names_hex, false};
    }
    if (write_limits(limits_hex, limits)) {
        any.extensions[num++] = (struct any_extension){"2.5.29.30", limits_hex, true};
    }
    return any_cert_new(&any);
}

static struct trust_bundles *bundles_of(const char *domain, X509 *root)
{
    Tabard__V1__TrustBundle *message = fixture_bundle(domain);
    fixture_add_root(message, root);
    struct trust_bundles *bundles = fixture_bundles(message);
    fixture_bundle_free(message);
    return bundles;
}

static void try_row(const struct row *row, EVP_PKEY *root_key, EVP_PKEY *key)
{
    char id[300];
    snprintf(id, sizeof id, "spiffe://%s/ns/shop/sa/web", row->domain);
    X509 *root = make_ca(&row->root, NULL, root_key, root_key, "R");
    X509 *middle = make_ca(&row->middle, row->middle_uri, key, root_key, "I");
    X509 *leaf = any_cert_new(&(struct any_cert){.subject = "web",
                                                 .issuer = "I",
                                                 .key = key,
                                                 .signer = key,
                                                 .spiffe_id = id,
                                                 .has_key_ids = true,
                                                 .not_before = NOW - DAY,
                                                 .not_after = NOW + DAY});
    struct trust_bundles *bundles = bundles_of(row->domain, root);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, middle, NULL);
    cr_expect_eq(failure == VERIFY_OK, row->words == NULL, "%s: %s: %s", row->name,
                 verify_failure_text(failure), err.text);
    cr_expect(row->words == NULL || strstr(err.text, row->words) != NULL, "%s: \"%s\" lacks \"%s\"",
              row->name, err.text, row->words);
    trust_bundles_free(bundles);
    X509_free(root);
    X509_free(middle);
    X509_free(leaf);
}

Test(path_uris, a_trust_domain_is_compared_with_the_constraints_of_each_ca_above, .timeout = 60)
{
    struct err err = {0};
    EVP_PKEY *root_key = mint_key_new(MINT_KEY_P256, &err);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        try_row(&rows[i], root_key, key);
    }
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
}
