// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/context.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/tls/alpn.h"
#include "certs/key.h"
#include "certs/tls/own_key.h"

// In the order of preference: what withstands a quantum computer first. TLS 1.3 signs with the PSS
// forms of RSA only, so no other form is listed (RFC 8446, section 4.2.3).
static const uint16_t signature_algorithms[] = {
    SSL_SIGN_ML_DSA_44,
    SSL_SIGN_ML_DSA_65,
    SSL_SIGN_ED25519,
    SSL_SIGN_ECDSA_SECP256R1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384,
    SSL_SIGN_RSA_PSS_RSAE_SHA256,
    SSL_SIGN_RSA_PSS_RSAE_SHA384,
    SSL_SIGN_RSA_PSS_RSAE_SHA512,
};
#define NUM_SIGNATURE_ALGORITHMS (sizeof signature_algorithms / sizeof signature_algorithms[0])

// X25519MLKEM768 withstands a quantum computer and what is known of X25519 alike
// (draft-ietf-tls-ecdhe-mlkem); the others are for peers that don't have it, and alike to a server.
static const uint16_t groups[] = {
    SSL_GROUP_X25519_MLKEM768,
    SSL_GROUP_X25519,
    SSL_GROUP_SECP256R1,
    SSL_GROUP_SECP384R1,
};
static const uint32_t group_flags[] = {0, SSL_GROUP_FLAG_EQUAL_PREFERENCE_WITH_NEXT,
                                       SSL_GROUP_FLAG_EQUAL_PREFERENCE_WITH_NEXT, 0};
#define NUM_GROUPS (sizeof groups / sizeof groups[0])

static bool err_of_library(struct err *err, const char *what)
{
    char text[256];
    ERR_error_string_n(ERR_peek_error(), text, sizeof text);
    ERR_clear_error();
    return err_set(err, "%s: %s", what, text);
}

static int on_mesh_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                        unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    *out = alpn_find(in, in_len, ALPN_MESH, strlen(ALPN_MESH));
    *out_len = (uint8_t)strlen(ALPN_MESH);
    // A client that offers other protocols alone is served without one: its certificate decides.
    return *out != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

bool context_has_mesh_alpn(const SSL_CLIENT_HELLO *hello)
{
    const uint8_t *data;
    size_t len;
    if (!SSL_early_callback_ctx_extension_get(
            hello, TLSEXT_TYPE_application_layer_protocol_negotiation, &data, &len)) {
        return false;
    }
    CBS extension, list;
    CBS_init(&extension, data, len);
    return CBS_get_u16_length_prefixed(&extension, &list) &&
           alpn_find(CBS_data(&list), CBS_len(&list), ALPN_MESH, strlen(ALPN_MESH)) != NULL;
}

// Sets what all contexts have in common. TLS 1.3 has no renegotiation and BoringSSL refuses
// HelloRequest by default. Its TLS 1.3 cipher suites can't be configured and need not be: they are
// AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305.
static bool set_common(SSL_CTX *ctx, const struct context_options *options, struct err *err)
{
    int mode = SSL_VERIFY_PEER;
    if (!options->is_certificate_optional) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set0_buffer_pool(ctx, chain_pool());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    // A server's own order counts: a client that has X25519MLKEM768 is never left with less.
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_early_data_enabled(ctx, 0);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES_MAX);
    SSL_CTX_set_custom_verify(ctx, mode, options->hooks.on_verify);
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) || !SSL_CTX_set_num_tickets(ctx, 0) ||
        !SSL_CTX_set1_group_ids_with_flags(ctx, groups, group_flags,
                                           options->needs_post_quantum ? 1 : NUM_GROUPS) ||
        !SSL_CTX_set_verify_algorithm_prefs(ctx, signature_algorithms, NUM_SIGNATURE_ALGORITHMS)) {
        return err_of_library(err, "a TLS setting was not taken");
    }
    return true;
}

// Sets what a handshake of the mesh has besides: GREASE and our ALPN.
static bool set_mesh(SSL_CTX *ctx, const struct context_options *options, struct err *err)
{
    if (options->role == CONTEXT_SERVER) {
        bool is_default = options->hooks.on_alpn == NULL;
        SSL_CTX_set_alpn_select_cb(ctx, is_default ? on_mesh_alpn : options->hooks.on_alpn, NULL);
        return true;
    }
    // GREASE keeps other implementations tolerant of what we don't know yet (RFC 8701).
    SSL_CTX_set_grease_enabled(ctx, 1);
    // Zero means success here, unlike everywhere else in this library.
    if (SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)ALPN_USUAL, sizeof ALPN_USUAL - 1) != 0) {
        return err_of_library(err, "the ALPN name was not taken");
    }
    return true;
}

// Only the leaf's key signs handshakes; those above it are the verifier's matter.
static bool check_leaf(X509 *leaf, const EVP_PKEY *own_key, struct err *err)
{
    EVP_PKEY *key = X509_get_pubkey(leaf);
    bool ok = key_check(key, err) && (own_key == NULL || EVP_PKEY_cmp(key, own_key) == 1 ||
                                      err_set(err, "the leaf was issued for another key"));
    EVP_PKEY_free(key);
    return ok;
}

static bool check_cert(const CRYPTO_BUFFER *buffer, bool is_leaf, const EVP_PKEY *own_key,
                       struct err *err)
{
    const uint8_t *der = CRYPTO_BUFFER_data(buffer);
    size_t len = CRYPTO_BUFFER_len(buffer);
    const uint8_t *end = der;
    X509 *cert = len == 0 || len > CHAIN_BYTES_MAX ? NULL : d2i_X509(NULL, &end, (long)len);
    bool ok = true;
    if (cert == NULL || end != der + len) {
        ok = err_set(err, "not one DER certificate of at most %u bytes", CHAIN_BYTES_MAX);
    } else if (is_leaf) {
        ok = check_leaf(cert, own_key, err);
    }
    X509_free(cert);
    ERR_clear_error();
    return ok;
}

static pthread_once_t fallback_once = PTHREAD_ONCE_INIT;
static int fallback_index; // of the mark of a fallback

static void make_fallback_index(void)
{
    fallback_index = SSL_CREDENTIAL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    invariant(fallback_index >= 0);
}

bool context_shows_fallback(const SSL *ssl)
{
    const SSL_CREDENTIAL *shown = SSL_get0_selected_credential(ssl);
    return shown != NULL && SSL_CREDENTIAL_get_ex_data(shown, fallback_index) != NULL;
}

// Of several chains a handshake shows the first one that was added and that the peer can take.
static bool add_chain(SSL_CTX *ctx, const struct context_options *options,
                      const struct chain *chain, struct err *err)
{
    static uint8_t mark;
    for (size_t i = 0; i < chain->num; i++) {
        if (!check_cert(chain->certs[i], i == 0, options->key, err)) {
            return err_prefix_where(err, "chain[%zu]", i);
        }
    }
    const SSL_PRIVATE_KEY_METHOD *method =
        options->key == NULL ? options->hooks.key_method : own_key_set(ctx, options->key);
    SSL_CREDENTIAL *shown = must_have(SSL_CREDENTIAL_new_x509());
    bool ok = SSL_CREDENTIAL_set1_cert_chain(shown, chain->certs, chain->num) &&
              SSL_CREDENTIAL_set_private_key_method(shown, method) &&
              SSL_CREDENTIAL_set1_signing_algorithm_prefs(shown, signature_algorithms,
                                                          NUM_SIGNATURE_ALGORITHMS) &&
              SSL_CREDENTIAL_set_ex_data(shown, fallback_index,
                                         chain == options->fallback ? &mark : NULL) &&
              SSL_CTX_add1_credential(ctx, shown);
    SSL_CREDENTIAL_free(shown);
    if (!ok) {
        err_of_library(err, "the certificate chain was not taken");
        return err_prefix_where(err, "chain");
    }
    return true;
}

static bool set_identity(SSL_CTX *ctx, const struct context_options *options, struct err *err)
{
    invariant(options->key == NULL || options->fallback == NULL);
    pthread_once(&fallback_once, make_fallback_index);
    return add_chain(ctx, options, options->chain, err) &&
           (options->fallback == NULL || add_chain(ctx, options, options->fallback, err) ||
            err_prefix_where(err, "fallback"));
}

SSL_CTX *context_new(const struct context_options *options, struct err *err)
{
    SSL_CTX *ctx = must_have(SSL_CTX_new(TLS_with_buffers_method()));
    bool ok = set_common(ctx, options, err) && (!options->is_mesh || set_mesh(ctx, options, err)) &&
              (options->chain == NULL || set_identity(ctx, options, err));
    if (!ok) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (options->hooks.on_client_hello != NULL) {
        SSL_CTX_set_select_certificate_cb(ctx, options->hooks.on_client_hello);
    }
    return ctx;
}

bool context_pair_init(struct context_pair *out, const struct context_options *options,
                       struct err *err)
{
    struct context_options own = *options;
    own.is_mesh = true;
    own.role = CONTEXT_SERVER;
    *out = (struct context_pair){.server = context_new(&own, err)};
    own.role = CONTEXT_CLIENT;
    out->client = out->server == NULL ? NULL : context_new(&own, err);
    if (out->client == NULL) {
        context_pair_cleanup(out);
        return false;
    }
    return true;
}

void context_pair_cleanup(struct context_pair *pair)
{
    SSL_CTX_free(pair->server);
    SSL_CTX_free(pair->client);
    *pair = (struct context_pair){0};
}
