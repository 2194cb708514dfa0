// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "certs/tls/context.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

#define SERVER_ID "spiffe://prod.example/ns/payments/sa/api"
#define CLIENT_ID "spiffe://prod.example/ns/shop/sa/web"
#define TURNS_MAX 50

// The hooks have no argument, so they find their test here; every Criterion test is a process of
// its own.
static struct {
    struct mint_ca root;
    struct trust_bundles *bundles;
    EVP_PKEY *server_key;
    EVP_PKEY *client_key;
    struct context_pair server;
    struct context_pair client;
    enum verify_failure server_says; // what verify_peer said at the server
    struct verified_peer client_peer;
    bool has_mesh_alpn;
    uint16_t suites[16];
    size_t num_suites;
    uint16_t groups[16];
    size_t num_groups;
    uint16_t algorithms[16];
    size_t num_algorithms;
} t;

static enum ssl_private_key_result_t on_sign(SSL *ssl, uint8_t *out, size_t *out_len,
                                             size_t max_out, uint16_t algorithm, const uint8_t *in,
                                             size_t in_len)
{
    EVP_PKEY *key = SSL_is_server(ssl) ? t.server_key : t.client_key;
    EVP_MD_CTX ctx;
    EVP_PKEY_CTX *key_ctx;
    EVP_MD_CTX_init(&ctx);
    *out_len = max_out;
    bool ok = EVP_DigestSignInit(&ctx, &key_ctx, SSL_get_signature_algorithm_digest(algorithm),
                                 NULL, key) == 1;
    if (ok && SSL_is_signature_algorithm_rsa_pss(algorithm)) {
        ok = EVP_PKEY_CTX_set_rsa_padding(key_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(key_ctx, -1) == 1;
    }
    ok = ok && EVP_DigestSign(&ctx, out, out_len, in, in_len) == 1;
    EVP_MD_CTX_cleanup(&ctx);
    return ok ? ssl_private_key_success : ssl_private_key_failure;
}

static enum ssl_private_key_result_t on_decrypt(SSL *ssl, uint8_t *out, size_t *out_len,
                                                size_t max_out, const uint8_t *in, size_t in_len)
{
    (void)ssl, (void)out, (void)out_len, (void)max_out, (void)in, (void)in_len;
    return ssl_private_key_failure;
}

static enum ssl_private_key_result_t on_complete(SSL *ssl, uint8_t *out, size_t *out_len,
                                                 size_t max_out)
{
    (void)ssl, (void)out, (void)out_len, (void)max_out;
    return ssl_private_key_failure;
}

static const SSL_PRIVATE_KEY_METHOD key_method = {on_sign, on_decrypt, on_complete};

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct chain chain = chain_lent(SSL_get0_peer_certificates(ssl));
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = verify_peer(&peer, chain.certs, chain.num, t.bundles, NOW, &err);
    if (SSL_is_server(ssl)) {
        t.server_says = failure;
        t.client_peer = peer;
    }
    *out_alert = SSL_AD_CERTIFICATE_UNKNOWN;
    return failure == VERIFY_OK ? ssl_verify_ok : ssl_verify_invalid;
}

static bool is_grease(uint16_t value)
{
    return (value & 0x0f0f) == 0x0a0a && (value >> 8) == (value & 0xff);
}

static size_t read_list(uint16_t out[16], CBS list)
{
    size_t num = 0;
    uint16_t value;
    while (CBS_get_u16(&list, &value)) {
        if (!is_grease(value) && num < 16) {
            out[num++] = value;
        }
    }
    return num;
}

static size_t read_extension(uint16_t out[16], const SSL_CLIENT_HELLO *hello, uint16_t type)
{
    const uint8_t *data;
    size_t len;
    if (!SSL_early_callback_ctx_extension_get(hello, type, &data, &len)) {
        return 0;
    }
    CBS extension, list;
    CBS_init(&extension, data, len);
    return CBS_get_u16_length_prefixed(&extension, &list) ? read_list(out, list) : 0;
}

static enum ssl_select_cert_result_t on_client_hello(const SSL_CLIENT_HELLO *hello)
{
    t.has_mesh_alpn = context_has_mesh_alpn(hello);
    CBS suites;
    CBS_init(&suites, hello->cipher_suites, hello->cipher_suites_len);
    t.num_suites = read_list(t.suites, suites);
    t.num_groups = read_extension(t.groups, hello, TLSEXT_TYPE_supported_groups);
    t.num_algorithms = read_extension(t.algorithms, hello, TLSEXT_TYPE_signature_algorithms);
    return ssl_select_cert_success;
}

static const struct context_hooks hooks = {
    .key_method = &key_method, .on_verify = on_verify, .on_client_hello = on_client_hello};

static struct chain chain_of(X509 *leaf)
{
    ProtobufCBinaryData der;
    struct chain chain;
    struct err err = {0};
    cr_assert(mint_cert_der(&der.data, &der.len, leaf));
    cr_assert(chain_init(&chain, &der, 1, &err), "%s", err.text);
    free(der.data);
    return chain;
}

static void pair_init(struct context_pair *out, X509 *leaf)
{
    struct chain chain = chain_of(leaf);
    struct err err = {0};
    const struct context_options options = {.chain = &chain, .hooks = hooks};
    cr_assert(context_pair_init(out, &options, &err), "%s: %s", err.where, err.text);
    chain_cleanup(&chain);
}

static void set_up(void)
{
    fixture_root(&t.root, DOMAIN);
    t.bundles = fixture_trust(t.root.cert, NULL, NULL, NULL);
    X509 *server = fixture_leaf(&t.root, SERVER_ID, &t.server_key);
    X509 *client = fixture_leaf(&t.root, CLIENT_ID, &t.client_key);
    pair_init(&t.server, server);
    pair_init(&t.client, client);
    X509_free(server);
    X509_free(client);
}

static void tear_down(void)
{
    context_pair_cleanup(&t.server);
    context_pair_cleanup(&t.client);
    EVP_PKEY_free(t.server_key);
    EVP_PKEY_free(t.client_key);
    trust_bundles_free(t.bundles);
    mint_ca_cleanup(&t.root);
}

TestSuite(context, .init = set_up, .fini = tear_down, .timeout = 30);

// Two ends joined in memory.
struct talk {
    SSL *client;
    SSL *server;
    int client_error; // of SSL_get_error, once a handshake failed
    int server_error;
    uint32_t server_reason; // of the library, once a handshake failed
};

static void talk_init(struct talk *talk, SSL_CTX *client, SSL_CTX *server)
{
    *talk = (struct talk){.client = SSL_new(client), .server = SSL_new(server)};
    BIO *a, *b;
    cr_assert(BIO_new_bio_pair(&a, 1 << 17, &b, 1 << 17));
    SSL_set_bio(talk->client, a, a);
    SSL_set_bio(talk->server, b, b);
    SSL_set_connect_state(talk->client);
    SSL_set_accept_state(talk->server);
}

// Steps both ends until both are done or one has failed. true: both are done.
static bool talk_shake(struct talk *talk)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        ERR_clear_error();
        int c = SSL_do_handshake(talk->client);
        talk->client_error = SSL_get_error(talk->client, c);
        ERR_clear_error();
        int s = SSL_do_handshake(talk->server);
        talk->server_error = SSL_get_error(talk->server, s);
        if (talk->server_error == SSL_ERROR_SSL) {
            talk->server_reason = (uint32_t)ERR_GET_REASON(ERR_peek_last_error());
            return false;
        }
        if (c == 1 && s == 1) {
            return true;
        }
        if (talk->client_error == SSL_ERROR_SSL) {
            return false;
        }
    }
    return false;
}

static bool talk_start(struct talk *talk, SSL_CTX *client, SSL_CTX *server)
{
    talk_init(talk, client, server);
    return talk_shake(talk);
}

// Both ends send a few bytes, so that whatever follows the handshake (tickets) has been read.
static void talk_exchange(struct talk *talk)
{
    char buf[16];
    cr_expect_eq(SSL_write(talk->server, "pong", 4), 4);
    cr_expect_eq(SSL_read(talk->client, buf, sizeof buf), 4);
    cr_expect_eq(SSL_write(talk->client, "ping", 4), 4);
    cr_expect_eq(SSL_read(talk->server, buf, sizeof buf), 4);
    cr_expect_eq(memcmp(buf, "ping", 4), 0);
}

static void talk_end(struct talk *talk)
{
    SSL_free(talk->client);
    SSL_free(talk->server);
}

static bool has_alpn(const SSL *ssl, const char *name)
{
    const uint8_t *data;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &data, &len);
    return len == strlen(name) && (len == 0 || memcmp(data, name, len) == 0);
}

// A client that is not ours, with our client's certificate or with none.
static SSL_CTX *foreign_client(bool has_cert)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    if (has_cert) {
        X509 *leaf = fixture_leaf(&t.root, CLIENT_ID, NULL);
        EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
        X509_free(leaf);
        const struct mint_leaf spec = {
            .spiffe_id = CLIENT_ID, .not_before = NOW - 60, .not_after = NOW + HOUR};
        leaf = mint_leaf_new(&t.root, key, &spec, NULL);
        cr_assert(SSL_CTX_use_certificate(ctx, leaf) == 1);
        cr_assert(SSL_CTX_use_PrivateKey(ctx, key) == 1);
        X509_free(leaf);
        EVP_PKEY_free(key);
    }
    return ctx;
}

Test(context, two_sidecars_speak_tls_1_3_with_both_identities)
{
    struct talk talk;
    cr_assert(talk_start(&talk, t.client.client, t.server.server), "client %d server %d",
              talk.client_error, talk.server_error);
    cr_expect_eq(SSL_version(talk.client), TLS1_3_VERSION);
    cr_expect_str_eq(t.client_peer.id, CLIENT_ID);
    cr_expect(has_alpn(talk.client, "tabard/1"));
    cr_expect(has_alpn(talk.server, "tabard/1"));
    cr_expect(t.has_mesh_alpn);
    uint16_t suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(talk.client));
    cr_expect(suite >= 0x1301 && suite <= 0x1303, "suite %04x", suite);
    talk_exchange(&talk);
    talk_end(&talk);
}

Test(context, what_is_offered_is_three_aeads_our_groups_and_our_signatures)
{
    struct talk talk;
    cr_assert(talk_start(&talk, t.client.client, t.server.server));
    bool seen[3] = {false};
    cr_expect_eq(t.num_suites, 3);
    for (size_t i = 0; i < t.num_suites; i++) {
        cr_assert(t.suites[i] >= 0x1301 && t.suites[i] <= 0x1303, "suite %04x", t.suites[i]);
        seen[t.suites[i] - 0x1301] = true;
    }
    cr_expect(seen[0] && seen[1] && seen[2]);
    static const uint16_t groups[] = {0x11ec, 0x001d, 0x0017, 0x0018};
    cr_expect_eq(t.num_groups, sizeof groups / sizeof groups[0]);
    cr_expect_eq(memcmp(t.groups, groups, sizeof groups), 0);
    static const uint16_t algorithms[] = {0x0904, 0x0905, 0x0807, 0x0403,
                                          0x0503, 0x0804, 0x0805, 0x0806};
    cr_expect_eq(t.num_algorithms, sizeof algorithms / sizeof algorithms[0]);
    cr_expect_eq(memcmp(t.algorithms, algorithms, sizeof algorithms), 0);
    talk_end(&talk);
}

#define MLKEM768 0x11ec
#define X25519   0x001d
#define P256     0x0017
#define P384     0x0018

// Sets up ends that take X25519MLKEM768 alone.
static void post_quantum_pair_init(struct context_pair *out, EVP_PKEY *key)
{
    const struct mint_leaf spec = {
        .spiffe_id = SERVER_ID, .not_before = NOW - 60, .not_after = NOW + HOUR};
    struct err err = {0};
    X509 *leaf = mint_leaf_new(&t.root, key, &spec, &err);
    struct chain chain = chain_of(leaf);
    const struct context_options options = {
        .needs_post_quantum = true, .chain = &chain, .hooks = hooks};
    cr_assert(context_pair_init(out, &options, &err), "%s: %s", err.where, err.text);
    chain_cleanup(&chain);
    X509_free(leaf);
}

Test(context, the_best_group_that_both_have_is_taken_whatever_the_client_prefers)
{
    const struct {
        const char *name;
        uint16_t offered[4], shares[2];
        size_t num_offered, num_shares;
        uint16_t taken;       // 0: refused
        uint16_t taken_if_pq; // where X25519MLKEM768 is demanded
        bool is_retried;      // by a HelloRetryRequest
    } rows[] = {
        {"it first", {MLKEM768, X25519}, {MLKEM768}, 2, 1, MLKEM768, MLKEM768, false},
        {"it last", {X25519, MLKEM768}, {X25519, MLKEM768}, 2, 2, MLKEM768, MLKEM768, false},
        {"it last and without a share",
         {X25519, MLKEM768},
         {X25519},
         2,
         1,
         MLKEM768,
         MLKEM768,
         true},
        {"no share at all", {X25519, MLKEM768}, {0}, 2, 0, MLKEM768, MLKEM768, true},
        {"X25519 alone", {X25519}, {X25519}, 1, 1, X25519, 0, false},
        {"P-256 before X25519", {P256, X25519}, {P256}, 2, 1, P256, 0, false},
        {"P-384 and no share", {P384}, {0}, 1, 0, P384, 0, true},
        {"P-521 alone", {0x0019}, {0x0019}, 1, 1, 0, 0, false},
        {"MLKEM1024 alone", {0x0202}, {0x0202}, 1, 1, 0, 0, false},
    };
    struct context_pair demanding;
    post_quantum_pair_init(&demanding, t.server_key);
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof rows[0]); i++) {
        bool is_demanded = i % 2 == 1;
        const char *name = rows[i / 2].name;
        uint16_t taken = is_demanded ? rows[i / 2].taken_if_pq : rows[i / 2].taken;
        SSL_CTX *client = foreign_client(true);
        cr_assert(SSL_CTX_set1_group_ids(client, rows[i / 2].offered, rows[i / 2].num_offered));
        struct talk talk;
        talk_init(&talk, client, is_demanded ? demanding.server : t.server.server);
        cr_assert(
            SSL_set1_client_key_shares(talk.client, rows[i / 2].shares, rows[i / 2].num_shares));
        bool ok = talk_shake(&talk);
        cr_expect_eq(ok, taken != 0, "%s, demanded %d", name, is_demanded);
        if (ok) {
            cr_expect_eq(SSL_get_group_id(talk.server), taken, "%s, demanded %d: %04x", name,
                         is_demanded, SSL_get_group_id(talk.server));
            cr_expect_eq(SSL_used_hello_retry_request(talk.server), rows[i / 2].is_retried, "%s",
                         name);
        } else {
            cr_expect_eq(talk.server_reason, SSL_R_NO_SHARED_GROUP, "%s, demanded %d", name,
                         is_demanded);
        }
        talk_end(&talk);
        SSL_CTX_free(client);
    }
    context_pair_cleanup(&demanding);
}

Test(context, a_client_that_demands_post_quantum_offers_nothing_else)
{
    struct context_pair demanding;
    post_quantum_pair_init(&demanding, t.client_key);
    struct talk talk;
    cr_assert(talk_start(&talk, demanding.client, t.server.server));
    cr_expect_eq(t.num_groups, 1);
    cr_expect_eq(t.groups[0], MLKEM768);
    cr_expect_eq(SSL_get_group_id(talk.client), MLKEM768);
    talk_end(&talk);
    SSL_CTX *old = foreign_client(true);
    static const uint16_t classical[] = {X25519, P256};
    SSL_CTX_set1_group_ids(old, classical, 2);
    cr_expect_not(talk_start(&talk, demanding.client, old));
    cr_expect_eq(talk.server_reason, SSL_R_NO_SHARED_GROUP);
    talk_end(&talk);
    SSL_CTX_free(old);
    context_pair_cleanup(&demanding);
}

Test(context, every_kind_of_mesh_key_signs_a_handshake)
{
    EVP_PKEY *keys[] = {mint_key_new(MINT_KEY_ED25519, NULL),
                        mint_key_new(MINT_KEY_P256, NULL),
                        bad_key_ec(NID_secp384r1),
                        bad_key_rsa(2048),
                        mint_key_new(MINT_KEY_ML_DSA_44, NULL),
                        mint_key_new(MINT_KEY_ML_DSA_65, NULL)};
    static const uint16_t algorithms[] = {0x0807, 0x0403, 0x0503, 0x0804, 0x0904, 0x0905};
    EVP_PKEY *saved = t.server_key;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        X509 *leaf = bad_leaf_new(&t.root, keys[i], SERVER_ID, NOW, &(struct bad_leaf){0});
        struct context_pair pair;
        pair_init(&pair, leaf);
        t.server_key = keys[i];
        struct talk talk;
        cr_expect(talk_start(&talk, t.client.client, pair.server), "key %zu", i);
        cr_expect_eq(SSL_get_peer_signature_algorithm(talk.client), algorithms[i], "key %zu", i);
        talk_end(&talk);
        context_pair_cleanup(&pair);
        X509_free(leaf);
        EVP_PKEY_free(keys[i]);
    }
    t.server_key = saved;
}

Test(context, a_client_of_tls_1_2_is_refused)
{
    SSL_CTX *old = foreign_client(true);
    SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
    struct talk talk;
    cr_expect_not(talk_start(&talk, old, t.server.server));
    cr_expect_eq(talk.server_reason, SSL_R_UNSUPPORTED_PROTOCOL);
    talk_end(&talk);
    SSL_CTX_free(old);
}

Test(context, a_client_without_a_certificate_is_refused)
{
    SSL_CTX *bare = foreign_client(false);
    struct talk talk;
    cr_expect_not(talk_start(&talk, bare, t.server.server));
    cr_expect_eq(talk.server_reason, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    talk_end(&talk);
    SSL_CTX_free(bare);
}

Test(context, a_client_of_an_unknown_trust_domain_is_refused_in_the_handshake)
{
    struct mint_ca other;
    fixture_root(&other, "other.example");
    EVP_PKEY *key;
    X509 *leaf = fixture_leaf(&other, "spiffe://other.example/x", &key);
    struct context_pair pair;
    pair_init(&pair, leaf);
    EVP_PKEY *saved = t.client_key;
    t.client_key = key;
    struct talk talk;
    cr_expect_not(talk_start(&talk, pair.client, t.server.server));
    cr_expect_eq(t.server_says, VERIFY_UNKNOWN_TRUST_DOMAIN);
    cr_expect_eq(talk.server_reason, SSL_R_CERTIFICATE_VERIFY_FAILED);
    t.client_key = saved;
    talk_end(&talk);
    context_pair_cleanup(&pair);
    X509_free(leaf);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&other);
}

Test(context, a_client_that_lies_about_its_key_is_refused)
{
    EVP_PKEY *saved = t.client_key;
    t.client_key = mint_key_new(MINT_KEY_P256, NULL);
    struct talk talk;
    cr_expect_not(talk_start(&talk, t.client.client, t.server.server));
    cr_expect_eq(talk.server_reason, SSL_R_BAD_SIGNATURE);
    EVP_PKEY_free(t.client_key);
    t.client_key = saved;
    talk_end(&talk);
}

Test(context, other_alpn_lists_are_served_without_a_protocol)
{
    static const struct {
        const char *name;
        const char *wire;
        bool is_mesh;
    } rows[] = {
        {"none", "", false},
        {"a browser's", "\x02h2\x08http/1.1", false},
        {"ours last", "\x02h2\x08tabard/1", true},
        {"ours cut", "\x02h2\x07tabard/", false},
        {"ours longer", "\x09tabard/10", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SSL_CTX *ctx = foreign_client(true);
        SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)rows[i].wire, strlen(rows[i].wire));
        struct talk talk;
        cr_expect(talk_start(&talk, ctx, t.server.server), "%s", rows[i].name);
        cr_expect(has_alpn(talk.client, rows[i].is_mesh ? "tabard/1" : ""), "%s", rows[i].name);
        cr_expect_eq(t.has_mesh_alpn, rows[i].is_mesh, "%s", rows[i].name);
        talk_end(&talk);
        SSL_CTX_free(ctx);
    }
}

static int num_sessions;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl, (void)session;
    num_sessions++;
    return 0;
}

Test(context, no_ticket_is_sent_and_no_session_comes_back)
{
    SSL_CTX *ctx = foreign_client(true);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    struct talk talk;
    cr_assert(talk_start(&talk, ctx, t.server.server));
    talk_exchange(&talk);
    cr_expect_eq(num_sessions, 0, "%d tickets", num_sessions);
    cr_expect_not(SSL_session_reused(talk.server));
    talk_end(&talk);
    SSL_CTX_free(ctx);
}

// Chains that can't be an identity, each with the certificate that is named.
Test(context, a_bad_chain_is_refused_by_its_certificate)
{
    struct err err = {0};
    EVP_PKEY *weak = bad_key_rsa(1024);
    X509 *weak_leaf = bad_leaf_new(&t.root, weak, SERVER_ID, NOW, &(struct bad_leaf){0});
    X509 *leaf = fixture_leaf(&t.root, SERVER_ID, NULL);
    uint8_t *der, *weak_der;
    size_t len, weak_len;
    cr_assert(mint_cert_der(&der, &len, leaf));
    cr_assert(mint_cert_der(&weak_der, &weak_len, weak_leaf));
    ProtobufCBinaryData good = {.data = der, .len = len};
    ProtobufCBinaryData cut = {.data = der, .len = len - 1};
    ProtobufCBinaryData frail = {.data = weak_der, .len = weak_len};
    uint8_t *longer = calloc(1, len + 1);
    memcpy(longer, der, len);
    ProtobufCBinaryData trailing = {.data = longer, .len = len + 1};
    ProtobufCBinaryData empty = {.data = NULL, .len = 0};
    const struct {
        const char *name;
        size_t num;
        ProtobufCBinaryData first, second;
        const char *where, *words;
    } rows[] = {
        {"empty", 1, empty, empty, "chain[0]", "not one DER certificate"},
        {"cut", 1, cut, empty, "chain[0]", "not one DER certificate"},
        {"a byte after it", 1, trailing, empty, "chain[0]", "not one DER certificate"},
        {"cut second", 2, good, cut, "chain[1]", "not one DER certificate"},
        {"weak", 1, frail, empty, "chain[0]", "RSA 1024"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ProtobufCBinaryData ders[2] = {rows[i].first, rows[i].second};
        struct chain chain;
        struct context_pair pair;
        cr_assert(chain_init(&chain, ders, rows[i].num, &err), "%s", err.text);
        const struct context_options options = {.chain = &chain, .hooks = hooks};
        cr_expect_not(context_pair_init(&pair, &options, &err), "%s", rows[i].name);
        chain_cleanup(&chain);
        cr_expect_null(pair.server);
        cr_expect_null(pair.client);
        cr_expect_str_eq(err.where, rows[i].where, "%s: %s", rows[i].name, err.text);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].name, err.text);
    }
    free(der);
    free(weak_der);
    free(longer);
    X509_free(leaf);
    X509_free(weak_leaf);
    EVP_PKEY_free(weak);
}

static SSL_CTX *control_context(enum context_role role, const struct chain *chain, EVP_PKEY *key)
{
    struct err err = {0};
    const struct context_options options = {.role = role,
                                            .is_certificate_optional = role == CONTEXT_SERVER,
                                            .chain = chain,
                                            .key = key,
                                            .hooks = {.on_verify = on_verify}};
    SSL_CTX *ctx = context_new(&options, &err);
    cr_assert_not_null(ctx, "%s: %s", err.where, err.text);
    return ctx;
}

// How a sidecar and its policy agent speak: a client that has no certificate yet shows none.
Test(context, a_server_may_leave_the_client_its_choice_and_both_may_sign_with_a_key)
{
    EVP_PKEY *keys[2];
    X509 *leaves[2] = {fixture_leaf(&t.root, SERVER_ID, &keys[0]),
                       fixture_leaf(&t.root, CLIENT_ID, &keys[1])};
    struct chain chains[2] = {chain_of(leaves[0]), chain_of(leaves[1])};
    SSL_CTX *server = control_context(CONTEXT_SERVER, &chains[0], keys[0]);
    SSL_CTX *with = control_context(CONTEXT_CLIENT, &chains[1], keys[1]);
    SSL_CTX *without = control_context(CONTEXT_CLIENT, NULL, NULL);
    struct talk talk;
    cr_expect(talk_start(&talk, with, server));
    cr_expect_eq(t.server_says, VERIFY_OK);
    cr_expect_str_eq(t.client_peer.id, CLIENT_ID);
    cr_expect(has_alpn(talk.client, ""), "it is not the mesh's");
    talk_end(&talk);
    cr_expect(talk_start(&talk, without, server));
    cr_expect_null(SSL_get0_peer_certificates(talk.server));
    talk_end(&talk);
    cr_expect_not(talk_start(&talk, without, t.server.server), "the mesh demands one");
    cr_expect_eq(talk.server_reason, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
    talk_end(&talk);
    SSL_CTX *const all[] = {server, with, without};
    for (size_t i = 0; i < 3; i++) {
        SSL_CTX_free(all[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        chain_cleanup(&chains[i]);
        X509_free(leaves[i]);
        EVP_PKEY_free(keys[i]);
    }
}

// The intermediate's key is of no kind that signs handshakes here: only the leaf's does.
Test(context, what_stands_above_the_leaf_is_sent_along_whatever_its_key_is)
{
    struct err err = {0};
    EVP_PKEY *weak = bad_key_rsa(1024);
    X509 *certs[] = {
        fixture_leaf(&t.root, SERVER_ID, NULL),
        bad_leaf_new(&t.root, weak, SERVER_ID, NOW, &(struct bad_leaf){.is_ca = true})};
    ProtobufCBinaryData ders[2];
    for (size_t i = 0; i < 2; i++) {
        cr_assert(mint_cert_der(&ders[i].data, &ders[i].len, certs[i]));
    }
    struct chain chain;
    struct context_pair pair;
    cr_assert(chain_init(&chain, ders, 2, &err), "%s", err.text);
    const struct context_options options = {.chain = &chain, .hooks = hooks};
    cr_expect(context_pair_init(&pair, &options, &err), "%s: %s", err.where, err.text);
    context_pair_cleanup(&pair);
    chain_cleanup(&chain);
    for (size_t i = 0; i < 2; i++) {
        free(ders[i].data);
        X509_free(certs[i]);
    }
    EVP_PKEY_free(weak);
}

Test(context, a_key_that_is_not_the_leafs_is_refused)
{
    struct err err = {0};
    X509 *leaf = fixture_leaf(&t.root, SERVER_ID, NULL);
    struct chain chain = chain_of(leaf);
    const struct context_options options = {.role = CONTEXT_SERVER,
                                            .chain = &chain,
                                            .key = t.client_key,
                                            .hooks = {.on_verify = on_verify}};
    cr_expect_null(context_new(&options, &err));
    cr_expect_str_eq(err.where, "chain[0]", "%s", err.text);
    cr_expect(strstr(err.text, "another key") != NULL, "%s", err.text);
    chain_cleanup(&chain);
    X509_free(leaf);
}
