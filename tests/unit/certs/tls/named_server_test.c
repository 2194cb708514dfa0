// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint.h"
#include "certs/tls/named_server.h"
#include "tests/support/any_cert.h"

#define TURNS_MAX 50

#define SAN_API  "300d820b6170692e6578616d706c65"           // DNS:api.example
#define SAN_WILD "300f820d2a2e6170692e6578616d706c65"       // DNS:*.api.example
#define SAN_V4   "300687040a600001"                         // IP:10.96.0.1
#define SAN_V6   "30128710fd000000000000000000000000000001" // IP:fd00::1
#define SAN_TEXT                                                                                   \
    "300b8209"                                                                                     \
    "31302e39362e302e31" // DNS:10.96.0.1
#define SERVER_AUTH "300a06082b06010505070301"
#define CLIENT_AUTH "300a06082b06010505070302"

// A server's certificate, the name that a client wants it to prove, and what comes of it.
struct named_case {
    char subject[24];
    char san[64];     // "": an id of the mesh and no such name
    char purpose[32]; // extended key usage; "": none
    int ends_in;      // seconds
    bool is_foreign;  // of another CA
    bool is_below;    // the client's root is not self-signed
    char name[24];
    char failure[80]; // "": it is proved
};

static X509 *make(const struct named_case *c, const char *issuer, EVP_PKEY *key, EVP_PKEY *signer)
{
    struct any_cert any = {.subject = c->subject,
                           .issuer = issuer,
                           .key = key,
                           .signer = signer,
                           .spiffe_id = "spiffe://prod.example/server",
                           .not_before = time(NULL) - 7200,
                           .not_after = time(NULL) + c->ends_in};
    size_t num = 0;
    if (c->san[0] != '\0') {
        any.extensions[num++] = (struct any_extension){.oid = "2.5.29.17", .der = c->san};
    }
    if (c->purpose[0] != '\0') {
        any.extensions[num++] = (struct any_extension){.oid = "2.5.29.37", .der = c->purpose};
    }
    return any_cert_new(&any);
}

static EVP_PKEY *new_key(void)
{
    struct err err = {{0}, {0}};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    cr_assert_not_null(key, "%s", err.text);
    return key;
}

// Turns both ends until they are done or one gives up. Says whether the client is content.
static bool shake(SSL_CTX *client_ctx, SSL_CTX *server_ctx)
{
    SSL *client = SSL_new(client_ctx);
    SSL *server = SSL_new(server_ctx);
    BIO *client_bio = NULL;
    BIO *server_bio = NULL;
    cr_assert(BIO_new_bio_pair(&client_bio, 65536, &server_bio, 65536) == 1);
    SSL_set_bio(client, client_bio, client_bio);
    SSL_set_bio(server, server_bio, server_bio);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    int client_ret = 0;
    int server_ret = 0;
    for (int i = 0; i < TURNS_MAX && (client_ret != 1 || server_ret != 1); i++) {
        client_ret = client_ret == 1 ? 1 : SSL_do_handshake(client);
        server_ret = server_ret == 1 ? 1 : SSL_do_handshake(server);
    }
    cr_expect(client_ret != 1 || SSL_version(client) == TLS1_3_VERSION);
    SSL_free(client);
    SSL_free(server);
    ERR_clear_error();
    return client_ret == 1;
}

ParameterizedTestParameters(named_server, a_server_is_proved_by_its_name_alone)
{
    static struct named_case cases[] = {
        {"api", SAN_API, "", 3600, false, false, "api.example", ""},
        {"api", SAN_API, SERVER_AUTH, 3600, false, false, "api.example", ""},
        {"api", SAN_API, "", 3600, false, true, "API.example", ""},
        {"api", SAN_WILD, "", 3600, false, false, "a.api.example", ""},
        {"api", SAN_V4, "", 3600, false, false, "10.96.0.1", ""},
        {"api", SAN_V6, "", 3600, false, false, "fd00::1", ""},
        {"api", SAN_API, "", 3600, false, false, "apj.example", "apj.example: Hostname mismatch"},
        {"api", SAN_WILD, "", 3600, false, false, "a.b.api.example", "Hostname mismatch"},
        {"api", SAN_WILD, "", 3600, false, false, "api.example", "Hostname mismatch"},
        {"api.example", "", "", 3600, false, false, "api.example", "Hostname mismatch"},
        {"api", SAN_TEXT, "", 3600, false, false, "10.96.0.1", "IP address mismatch"},
        {"api", SAN_V4, "", 3600, false, false, "10.96.0.2", "IP address mismatch"},
        {"api", SAN_V4, "", 3600, false, false, "fd00::1", "IP address mismatch"},
        {"api", SAN_API, "", -60, false, false, "api.example", "certificate has expired"},
        {"api", SAN_API, CLIENT_AUTH, 3600, false, false, "api.example",
         "unsupported certificate purpose"},
        {"api", SAN_API, "", 3600, true, false, "api.example",
         "unable to get local issuer certificate"},
    };
    return cr_make_param_array(struct named_case, cases, sizeof cases / sizeof *cases);
}

ParameterizedTest(struct named_case *c, named_server, a_server_is_proved_by_its_name_alone,
                  .timeout = 30)
{
    struct err err = {{0}, {0}};
    struct der_list roots = {0};
    EVP_PKEY *top = new_key(), *ca_key = new_key(), *key = new_key(), *other = new_key();
    const struct any_cert ca = {.subject = "ca",
                                .issuer = c->is_below ? "top" : "ca",
                                .key = ca_key,
                                .signer = c->is_below ? top : ca_key,
                                .not_before = time(NULL) - 7200,
                                .not_after = time(NULL) + 7200};
    X509 *ca_cert = any_cert_new(&ca);
    X509 *cert = make(c, c->is_foreign ? "another" : "ca", key, c->is_foreign ? other : ca_key);
    char *pem = mint_cert_pem(ca_cert);
    cr_assert(der_list_from_pem(&roots, "CERTIFICATE", pem, strlen(pem), 4, "ca", &err));
    SSL_CTX *client = named_server_context(&roots, c->name, &err);
    cr_assert_not_null(client, "%s", err.text);
    SSL_CTX *server = SSL_CTX_new(TLS_method());
    cr_assert(SSL_CTX_use_certificate(server, cert) == 1 &&
              SSL_CTX_use_PrivateKey(server, key) == 1);
    cr_expect_eq(shake(client, server), c->failure[0] == '\0');
    cr_expect(strstr(named_server_failure(client), c->failure) != NULL &&
                  (c->failure[0] != '\0' || named_server_failure(client)[0] == '\0'),
              "%s %s: %s", c->name, c->san, named_server_failure(client));
    named_server_forget(client);
    cr_expect_str_eq(named_server_failure(client), "");
    SSL_CTX_free(client);
    SSL_CTX_free(server);
    der_list_cleanup(&roots);
    free(pem);
    X509_free(cert);
    X509_free(ca_cert);
    EVP_PKEY_free(top);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

Test(named_server, what_is_no_name_and_no_root_is_refused, .timeout = 30)
{
    struct err err = {{0}, {0}};
    uint8_t junk[] = {0x30, 0x00};
    uint8_t *items[] = {junk};
    size_t lens[] = {sizeof junk};
    const struct der_list none = {0};
    const struct der_list bad = {.items = items, .lens = lens, .num = 1};
    cr_expect_null(named_server_context(&none, "api.example", &err));
    cr_expect_str_eq(err.text, "there is no root to prove the peer by");
    cr_expect_null(named_server_context(&bad, "api.example", &err));
    cr_expect_str_eq(err.text, "root 0 is not a certificate that can be used");
    cr_expect_null(named_server_context(&none, "api example", &err));
    cr_expect_str_eq(err.text, "api example is neither a DNS name nor an IP address");
    cr_expect_null(named_server_context(&none, "", &err));
}

Test(named_server, an_address_is_not_named_in_the_hello, .timeout = 30)
{
    cr_expect_null(named_server_sni("10.96.0.1"));
    cr_expect_null(named_server_sni("fd00::1"));
    cr_expect_str_eq(named_server_sni("api.example"), "api.example");
}
