// SPDX-License-Identifier: Apache-2.0
//
// Which path of several is found, in whatever order the certificates come (RFC 4158; RFC 8446,
// section 4.4.2). Every row goes through verify_peer, in the order given and in the reverse one.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/any_cert.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

enum key { LEAF_KEY, OLD, NEW, I, J, K, STRANGER, NUM_KEYS };
static EVP_PKEY *keys[NUM_KEYS];

enum ids { WITH_IDS, NO_IDS, WRONG_IDS };

// A certificate of a row. Times are hours from NOW; 0: from a day before to a day after.
struct made {
    const char *subject; // NULL: the leaf
    const char *issuer;
    enum key key;
    enum key signer;
    enum ids ids;
    int end;
    int begin;
    int path_len; // plus one
    struct any_extension extension;
};

struct row {
    const char *name;
    struct made roots[3];
    struct made chain[CHAIN_CERTS_MAX - 1]; // between the leaf and the roots
    struct made leaf;
    enum verify_failure failure;
    const char *words;
};

#define ROOT(name, key)                                                                            \
    {                                                                                              \
        name, name, key, key, WITH_IDS, 0, 0, 0,                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define CA(name, key, issuer, by)                                                                  \
    {                                                                                              \
        name, issuer, key, by, WITH_IDS, 0, 0, 0,                                                  \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define BARE(name, key, issuer, by)                                                                \
    {                                                                                              \
        name, issuer, key, by, NO_IDS, 0, 0, 0,                                                    \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define ENDED(name, key, issuer, by)                                                               \
    {                                                                                              \
        name, issuer, key, by, WITH_IDS, -1, 0, 0,                                                 \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define LEAF(issuer, by)                                                                           \
    {                                                                                              \
        NULL, issuer, LEAF_KEY, by, WITH_IDS, 2, 0, 0,                                             \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define BARE_LEAF(issuer, by)                                                                      \
    {                                                                                              \
        NULL, issuer, LEAF_KEY, by, NO_IDS, 2, 0, 0,                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

// nameConstraints: the URI host prod.example is excluded; the host other.example alone is
// permitted.
#define EXCLUDES_US                                                                                \
    {                                                                                              \
        "2.5.29.30", "3012a110300e860c70726f642e6578616d706c65", true                              \
    }
#define PERMITS_THEM                                                                               \
    {                                                                                              \
        "2.5.29.30", "3013a011300f860d6f746865722e6578616d706c65", true                            \
    }

static const struct row rows[] = {
    {"one intermediate", {ROOT("Old", OLD)}, {CA("I", I, "Old", OLD)}, LEAF("I", I), VERIFY_OK, ""},
    {"two cross-certificates, of which the bundle has the newer root",
     {ROOT("New", NEW)},
     {CA("I", I, "Old", OLD), CA("I", I, "New", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"two cross-certificates, of which the bundle has the older root",
     {ROOT("Old", OLD)},
     {CA("I", I, "Old", OLD), CA("I", I, "New", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"two cross-certificates, one expired, and both roots",
     {ROOT("Old", OLD), ROOT("New", NEW)},
     {ENDED("I", I, "New", NEW), CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"an expired and a renewed copy of one intermediate",
     {ROOT("Old", OLD)},
     {ENDED("I", I, "Old", OLD), CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"a copy that is not yet valid beside a good one",
     {ROOT("Old", OLD)},
     {{"I", "Old", I, OLD, WITH_IDS, 48, 24, 0, {0}}, CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"an expired root beside its renewal of the same key",
     {ENDED("Old", OLD, "Old", OLD), ROOT("Old", OLD)},
     {CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"roots of one name without key identifiers",
     {BARE("R", OLD, "R", OLD), BARE("R", NEW, "R", NEW), BARE("R", K, "R", K)},
     {BARE("I", I, "R", NEW)},
     BARE_LEAF("I", I),
     VERIFY_OK,
     ""},
    {"intermediates of one name without key identifiers",
     {BARE("R", OLD, "R", OLD)},
     {BARE("I", J, "R", OLD), BARE("I", I, "R", OLD), BARE("I", K, "R", OLD)},
     BARE_LEAF("I", I),
     VERIFY_OK,
     ""},
    {"an issuer of its own name, of another key and without key identifiers",
     {BARE("R", OLD, "R", OLD)},
     {BARE("R", NEW, "R", OLD)},
     BARE_LEAF("R", NEW),
     VERIFY_OK,
     ""},
    {"the same with key identifiers",
     {ROOT("R", OLD)},
     {CA("R", NEW, "R", OLD)},
     LEAF("R", NEW),
     VERIFY_OK,
     ""},
    {"key identifiers that name nobody",
     {ROOT("Old", OLD)},
     {{"I", "Old", I, OLD, WRONG_IDS, 0, 0, 0, {0}}},
     {NULL, "I", LEAF_KEY, I, WRONG_IDS, 2, 0, 0, {0}},
     VERIFY_OK,
     ""},
    {"a circle of cross-certificates, and a way out",
     {ROOT("Old", OLD)},
     {CA("I", I, "J", J), CA("J", J, "I", I), CA("J", J, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"a circle without a way out",
     {ROOT("Old", OLD)},
     {CA("I", I, "J", J), CA("J", J, "I", I)},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "no root"},
    {"the root sent along, and every certificate twice",
     {ROOT("Old", OLD)},
     {ROOT("Old", OLD), CA("I", I, "Old", OLD), CA("I", I, "Old", OLD), ROOT("Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"four intermediates in no order",
     {ROOT("Old", OLD)},
     {CA("J", J, "K", K), CA("New", NEW, "Old", OLD), CA("I", I, "J", J), CA("K", K, "New", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"certificates that have nothing to do with it, one of them expired",
     {ROOT("Old", OLD)},
     {CA("J", J, "New", NEW), ROOT("New", NEW), ENDED("K", K, "J", J), CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"a stranger's CA of the same name",
     {ROOT("Old", OLD)},
     {BARE("I", STRANGER, "Old", STRANGER), CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"a stranger's CA alone",
     {ROOT("Old", OLD)},
     {BARE("I", STRANGER, "Old", STRANGER)},
     LEAF("I", STRANGER),
     VERIFY_UNTRUSTED_CHAIN,
     "its signature was not made by the key of its issuer (/CN=Old)"},
    {"a leaf that another CA of the name signed",
     {ROOT("Old", OLD)},
     {CA("I", I, "Old", OLD)},
     LEAF("I", J),
     VERIFY_UNTRUSTED_CHAIN,
     "the leaf: its signature"},
    {"both copies expired",
     {ROOT("Old", OLD)},
     {ENDED("I", I, "Old", OLD), {"I", "Old", I, OLD, WITH_IDS, -2, 0, 0, {0}}},
     LEAF("I", I),
     VERIFY_EXPIRED,
     "certificate 1 of the chain (/CN=I)"},
    {"an expired root that signed it",
     {ENDED("Old", OLD, "Old", OLD)},
     {CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_EXPIRED,
     "certificate 2 of the chain (/CN=Old)"},
    {"an expired root of the name that did not sign it",
     {ENDED("Old", OLD, "Old", OLD)},
     {BARE("I", I, "Old", NEW)},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "its signature"},
    {"a path length of the root that allows no intermediate",
     {{"Old", "Old", OLD, OLD, WITH_IDS, 0, 0, 1, {0}}},
     {CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "path length"},
    {"a path length that one path keeps and the other one doesn't",
     {ROOT("Old", OLD), ROOT("New", NEW)},
     {CA("I", I, "J", J), {"J", "Old", J, OLD, WITH_IDS, 0, 0, 1, {0}}, CA("J", J, "New", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"a path length that allows one intermediate, and two of them",
     {{"Old", "Old", OLD, OLD, WITH_IDS, 0, 0, 2, {0}}},
     {CA("I", I, "J", J), CA("J", J, "Old", OLD)},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "certificate 1 of the chain (/CN=I): the path length"},
    {"a path length of none, and a CA that its own name issued",
     {{"R", "R", OLD, OLD, WITH_IDS, 0, 0, 1, {0}}},
     {CA("R", NEW, "R", OLD)},
     LEAF("R", NEW),
     VERIFY_OK,
     ""},
    {"a path length does not count a CA that its own name issued",
     {{"R", "R", OLD, OLD, WITH_IDS, 0, 0, 2, {0}}},
     {CA("R", NEW, "R", OLD), CA("I", I, "R", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"name constraints that one path keeps and the other one doesn't",
     {ROOT("Old", OLD), ROOT("New", NEW)},
     {{"I", "Old", I, OLD, WITH_IDS, 0, 0, 0, EXCLUDES_US}, CA("I", I, "New", NEW)},
     LEAF("I", I),
     VERIFY_OK,
     ""},
    {"name constraints that exclude the trust domain",
     {ROOT("Old", OLD)},
     {{"I", "Old", I, OLD, WITH_IDS, 0, 0, 0, EXCLUDES_US}},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "the leaf: the host prod.example of its URI is one that the URI name constraints of a CA "
     "above it exclude"},
    {"name constraints of the root that permit another trust domain",
     {{"Old", "Old", OLD, OLD, WITH_IDS, 0, 0, 0, PERMITS_THEM}},
     {CA("I", I, "Old", OLD)},
     LEAF("I", I),
     VERIFY_UNTRUSTED_CHAIN,
     "is none that the URI name constraints of a CA above it permit"},
};

static void make_keys(void)
{
    struct err err = {0};
    for (int i = 0; i < NUM_KEYS; i++) {
        keys[i] = mint_key_new(MINT_KEY_P256, &err);
    }
}

static X509 *make(const struct made *made)
{
    struct any_cert any = {
        .subject = made->subject,
        .issuer = made->issuer,
        .key = keys[made->key],
        .signer = keys[made->signer],
        .spiffe_id = made->subject == NULL ? ID : NULL,
        .has_key_ids = made->ids != NO_IDS,
        .wrong_signer = made->ids == WRONG_IDS ? keys[STRANGER] : NULL,
        .path_len = made->path_len,
        .not_before = NOW + (made->begin == 0 ? -DAY : made->begin * HOUR),
        .not_after = NOW + (made->end == 0 ? DAY : made->end * HOUR),
        // Equal certificates of a row are one certificate.
        .serial = 1 + (unsigned long)made->key * 1000 + (unsigned long)made->signer * 100 +
                  (unsigned long)(made->end + 50),
        .extensions = {made->extension},
    };
    return any_cert_new(&any);
}

static CRYPTO_BUFFER *buffer_of(X509 *cert)
{
    uint8_t *der;
    size_t len;
    cr_assert(mint_cert_der(&der, &len, cert));
    CRYPTO_BUFFER *buffer = CRYPTO_BUFFER_new(der, len, NULL);
    free(der);
    return buffer;
}

// What verify_peer is asked with: a leaf, other certificates, and a bundle of roots and CRLs.
struct case_of {
    CRYPTO_BUFFER *chain[CHAIN_CERTS_MAX];
    size_t num;
    Tabard__V1__TrustBundle *message;
    struct trust_bundles *bundles;
};

static void add_cert(struct case_of *c, const struct made *made)
{
    X509 *cert = make(made);
    c->chain[c->num++] = buffer_of(cert);
    X509_free(cert);
}

static void add_root(struct case_of *c, const struct made *made)
{
    X509 *cert = make(made);
    if (c->message == NULL) {
        c->message = fixture_bundle(DOMAIN);
    }
    fixture_add_root(c->message, cert);
    X509_free(cert);
}

static enum verify_failure ask(struct case_of *c, struct verified_peer *peer, struct err *err)
{
    if (c->bundles == NULL) {
        c->bundles = fixture_bundles(c->message);
    }
    return verify_peer(peer, c->chain, c->num, c->bundles, NOW, err);
}

static void reverse(struct case_of *c)
{
    for (size_t i = 1, j = c->num - 1; i < j; i++, j--) {
        CRYPTO_BUFFER *other = c->chain[i];
        c->chain[i] = c->chain[j];
        c->chain[j] = other;
    }
}

static void cleanup(struct case_of *c)
{
    for (size_t i = 0; i < c->num; i++) {
        CRYPTO_BUFFER_free(c->chain[i]);
    }
    trust_bundles_free(c->bundles);
    fixture_bundle_free(c->message);
}

Test(path, a_good_path_is_found_among_all_that_the_peer_sent, .init = make_keys, .timeout = 60)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct case_of c = {0};
        add_cert(&c, &row->leaf);
        for (size_t j = 0; j < CHAIN_CERTS_MAX - 1 && row->chain[j].subject != NULL; j++) {
            add_cert(&c, &row->chain[j]);
        }
        for (size_t j = 0; j < 3 && row->roots[j].subject != NULL; j++) {
            add_root(&c, &row->roots[j]);
        }
        for (int is_reversed = 0; is_reversed <= 1; is_reversed++) {
            struct verified_peer peer;
            struct err err = {0};
            enum verify_failure failure = ask(&c, &peer, &err);
            expect_failure(row->failure, failure, err, row->words, row->name);
            if (failure == VERIFY_OK) {
                cr_expect_eq(peer.not_after, NOW + 2 * HOUR, "%s", row->name);
            }
            reverse(&c);
        }
        cleanup(&c);
    }
}

Test(path, of_several_paths_the_one_that_lasts_longest_counts, .init = make_keys, .timeout = 20)
{
    for (int is_reversed = 0; is_reversed <= 1; is_reversed++) {
        struct case_of c = {0};
        add_cert(&c, &(struct made)LEAF("I", I));
        // Of two steps each: the one ends in an hour whatever CA is chosen above.
        add_cert(&c, &(struct made){"I", "J", I, J, WITH_IDS, 1, 0, 0, {0}});
        add_cert(&c, &(struct made)CA("J", J, "Old", OLD));
        add_cert(&c, &(struct made){"I", "New", I, NEW, WITH_IDS, 3, 0, 0, {0}});
        add_root(&c, &(struct made)ROOT("Old", OLD));
        add_root(&c, &(struct made){"New", "New", NEW, NEW, WITH_IDS, 5, 0, 0, {0}});
        if (is_reversed) {
            reverse(&c);
        }
        struct verified_peer peer;
        struct err err = {0};
        enum verify_failure failure = ask(&c, &peer, &err);
        expect_failure(VERIFY_OK, failure, err, "", "two paths");
        cr_expect_eq(peer.not_after, NOW + 2 * HOUR, "until %lld",
                     (long long)(peer.not_after - NOW));
        cleanup(&c);
    }
}

static void add_crl(struct case_of *c, const struct made *issuer, const struct made *revoked)
{
    struct mint_ca ca = {.cert = make(issuer), .key = keys[issuer->key]};
    X509 *cert = make(revoked);
    X509_CRL *crl = fixture_crl(&ca, &cert, 1, NOW - HOUR, NOW + DAY);
    fixture_add_crl(c->message, crl);
    X509_CRL_free(crl);
    X509_free(cert);
    X509_free(ca.cert);
}

// An intermediate of two issuers is revoked where its issuer says so; a leaf has but one.
Test(path, a_revoked_certificate_is_on_no_path_and_the_others_stay, .init = make_keys,
     .timeout = 20)
{
    static const struct made old = ROOT("Old", OLD), new = ROOT("New", NEW);
    static const struct made by_old = CA("I", I, "Old", OLD), by_new = CA("I", I, "New", NEW);
    static const struct made leaf = LEAF("I", I), direct = LEAF("Old", OLD);
    const struct {
        const char *name;
        const struct made *revoker, *revoked, *other_revoked, *leaf;
        enum verify_failure failure;
        const char *words;
    } cases[] = {
        {"one certificate of the intermediate", &old, &by_old, NULL, &leaf, VERIFY_OK, ""},
        {"both certificates of the intermediate", &old, &by_old, &by_new, &leaf, VERIFY_REVOKED,
         "certificate 1 of the chain (/CN=I)"},
        {"the leaf", &old, &direct, NULL, &direct, VERIFY_REVOKED, "the leaf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct case_of c = {0};
        add_cert(&c, cases[i].leaf);
        add_cert(&c, &by_old);
        add_cert(&c, &by_new);
        add_root(&c, &old);
        add_root(&c, &new);
        add_crl(&c, cases[i].revoker, cases[i].revoked);
        if (cases[i].other_revoked != NULL) {
            add_crl(&c, &new, cases[i].other_revoked);
        }
        for (int is_reversed = 0; is_reversed <= 1; is_reversed++) {
            struct verified_peer peer;
            struct err err = {0};
            enum verify_failure failure = ask(&c, &peer, &err);
            expect_failure(cases[i].failure, failure, err, cases[i].words, cases[i].name);
            reverse(&c);
        }
        cleanup(&c);
    }
}

// Ten certificates of one name, and many roots of that name: all could have signed all.
Test(path, a_hostile_chain_costs_a_bounded_number_of_signatures, .init = make_keys, .timeout = 60)
{
    for (int num_roots = 1; num_roots <= 64; num_roots += 63) {
        struct case_of c = {0};
        struct err err = {0};
        add_cert(&c, &(struct made)BARE_LEAF("R", STRANGER));
        for (int i = 1; i < CHAIN_CERTS_MAX; i++) {
            add_cert(&c, &(struct made){"R", "R", STRANGER, STRANGER, NO_IDS, 20 + i, 0, 0, {0}});
        }
        for (int i = 0; i < num_roots; i++) {
            EVP_PKEY_free(keys[OLD]);
            keys[OLD] = mint_key_new(MINT_KEY_P256, &err);
            add_root(&c, &(struct made)BARE("R", OLD, "R", OLD));
        }
        struct verified_peer peer;
        cr_assert_neq(ask(&c, &peer, &err), VERIFY_OK); // reads the bundle, whose time isn't meant
        clock_t start = clock();
        enum verify_failure failure = ask(&c, &peer, &err);
        double ms = 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC;
        if (num_roots == 1) {
            expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "its signature", "one root");
        } else {
            expect_failure(VERIFY_TOO_MUCH_WORK, failure, err, "more than 100 checks of signatures",
                           "64 roots");
        }
        // On an idle core the two take 1 ms and 10 ms; a sanitizer and a busy machine make it more.
        cr_expect_lt(ms, 500, "%g ms for %d roots", ms, num_roots);
        cleanup(&c);
    }
}

// The last of 64 roots of one name is the right one. Key identifiers find it at once; without them
// each is tried, but not for the copy of it that is sent along.
Test(path, many_roots_of_one_name_are_not_too_much_work, .init = make_keys, .timeout = 60)
{
    for (enum ids ids = WITH_IDS; ids <= NO_IDS; ids++) {
        struct case_of c = {0};
        struct err err = {0};
        EVP_PKEY *right = keys[OLD];
        struct made root = {"R", "R", OLD, OLD, ids, 50, 0, 0, {0}};
        add_cert(&c, &(struct made){NULL, "I", LEAF_KEY, I, ids, 2, 0, 0, {0}});
        add_cert(&c, &(struct made){"I", "R", I, OLD, ids, 5, 0, 0, {0}});
        for (int i = 0; ids == WITH_IDS && i < 3; i++) {
            add_cert(&c, &(struct made){"I", "R", I, OLD, ids, 6 + i, 0, 0, {0}});
        }
        for (int i = 0; i < 63; i++) {
            keys[OLD] = mint_key_new(MINT_KEY_P256, &err);
            add_root(&c, &root);
            EVP_PKEY_free(keys[OLD]);
        }
        keys[OLD] = right;
        root.end = 10; // the roots that last longer are tried first
        X509 *last = make(&root);
        fixture_add_root(c.message, last);
        c.chain[c.num++] = buffer_of(last);
        X509_free(last);
        struct verified_peer peer;
        enum verify_failure failure = ask(&c, &peer, &err);
        expect_failure(VERIFY_OK, failure, err, "", ids == WITH_IDS ? "with ids" : "without");
        cleanup(&c);
    }
}

// Three copies of each of three CAs below many copies of a root, and a leaf that none of them may
// sign for: 27 paths for each root.
Test(path, a_search_of_many_paths_ends_at_a_number_of_steps, .init = make_keys, .timeout = 60)
{
    static const struct made levels[] = {CA("I", I, "R", OLD), CA("J", J, "I", I),
                                         CA("K", K, "J", J)};
    struct case_of c = {0};
    add_cert(&c, &(struct made)LEAF("K", K));
    for (int i = 0; i < 9; i++) {
        struct made made = levels[i / 3];
        made.end = 10 + i % 3;
        add_cert(&c, &made);
    }
    for (int i = 0; i < 20; i++) {
        add_root(&c, &(struct made){"R", "R", OLD, OLD, WITH_IDS, 10 + i, 0, 0, EXCLUDES_US});
    }
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = ask(&c, &peer, &err);
    expect_failure(VERIFY_TOO_MUCH_WORK, failure, err, "more than 500 steps", "27 paths by 20");
    cleanup(&c);
}

static void expect_refused_soon(const struct any_extension *extension, const char *row)
{
    struct world w;
    world_init(&w);
    struct any_cert any = {.subject = "web",
                           .issuer = "R",
                           .key = keys[LEAF_KEY],
                           .signer = keys[STRANGER],
                           .spiffe_id = ID,
                           .not_before = NOW - DAY,
                           .not_after = NOW + DAY,
                           .extensions = {*extension}};
    X509 *leaf = any_cert_new(&any);
    CRYPTO_BUFFER *buffer = buffer_of(leaf);
    struct verified_peer peer;
    struct err err = {0};
    clock_t start = clock();
    enum verify_failure failure = verify_peer(&peer, &buffer, 1, w.bundles, NOW, &err);
    double ms = 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC;
    expect_failure(VERIFY_TOO_MUCH_WORK, failure, err, "more than 2000 elements", row);
    // Some 0.01 ms; a sanitizer and a busy machine make it more.
    cr_expect_lt(ms, 2, "%s: %g ms", row, ms);
    CRYPTO_BUFFER_free(buffer);
    X509_free(leaf);
    world_cleanup(&w);
}

// 28 KB of distribution points of two bytes each, which BoringSSL would decode. The second time the
// list's length takes more bytes than DER allows, and BoringSSL reads it all the same.
Test(path, what_takes_long_to_decode_is_refused_before_it_is, .init = make_keys, .timeout = 60)
{
    static const char *const headers[] = {"30826d60", "308400006d60"};
    static const char *const names[] = {"a long list", "a long list that is no DER"};
    for (size_t i = 0; i < 2; i++) {
        size_t header_len = strlen(headers[i]);
        char *der = malloc(header_len + 4 * 14000 + 1);
        strcpy(der, headers[i]);
        for (size_t j = 0; j < 14000; j++) {
            memcpy(der + header_len + 4 * j, "3000", 5);
        }
        expect_refused_soon(&(struct any_extension){"2.5.29.31", der, false}, names[i]);
        free(der);
    }
}

Test(path, a_leaf_of_many_names_is_still_decoded, .init = make_keys, .timeout = 60)
{
    struct world w;
    world_init(&w);
    static const char *uris[1500];
    for (size_t i = 0; i < 1500; i++) {
        uris[i] = "";
    }
    const struct bad_leaf bad = {.has_uris = true, .uris = uris, .num_uris = 1500};
    X509 *leaf = bad_leaf_new(&w.root, keys[LEAF_KEY], ID, NOW, &bad);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_MANY_URI_SANS, failure, err, "1500 URI", "1,500 names");
    X509_free(leaf);
    world_cleanup(&w);
}
