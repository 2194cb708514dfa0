// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proxy/snapshots.h"

#include <criterion/criterion.h>
#include <openssl/pool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pb/pb_text.h"
#include "certs/ca/mint.h"
#include "proto/contract.h"

// What was minted, in DER.
static ProtobufCBinaryData root;
static ProtobufCBinaryData leaf;

static void mint(void)
{
    struct err err = {0};
    time_t now = time(NULL);
    struct mint_ca ca = {0};
    const struct mint_leaf fields = {
        .spiffe_id = SNAPSHOTS_ID, .not_before = now - 60, .not_after = now + 3600};
    cr_assert(mint_root_init(&ca, MINT_KEY_P256, SNAPSHOTS_DOMAIN, now - 60, now + 86400, &err),
              "%s", err.text);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    X509 *cert = mint_leaf_new(&ca, key, &fields, &err);
    cr_assert(cert != NULL, "%s", err.text);
    cr_assert(mint_cert_der(&root.data, &root.len, ca.cert));
    cr_assert(mint_cert_der(&leaf.data, &leaf.len, cert));
    X509_free(cert);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&ca);
}

// A list of one, as protobuf-c frees it.
static ProtobufCBinaryData *one_copy(const ProtobufCBinaryData *from)
{
    ProtobufCBinaryData *list = malloc(sizeof *list);
    *list = (ProtobufCBinaryData){.data = malloc(from->len), .len = from->len};
    memcpy(list->data, from->data, from->len);
    return list;
}

static Tabard__V1__Identity *identity_new(void)
{
    Tabard__V1__Identity *identity = malloc(sizeof *identity);
    tabard__v1__identity__init(identity);
    identity->chain = one_copy(&leaf);
    identity->n_chain = 1;
    identity->key_id =
        (ProtobufCBinaryData){.data = calloc(1, CONTRACT_KEY_ID_LEN), .len = CONTRACT_KEY_ID_LEN};
    return identity;
}

static Tabard__V1__TrustBundle **bundles_new(void)
{
    Tabard__V1__TrustBundle **list = malloc(sizeof *list);
    list[0] = malloc(sizeof *list[0]);
    tabard__v1__trust_bundle__init(list[0]);
    list[0]->trust_domain = strdup(SNAPSHOTS_DOMAIN);
    list[0]->roots = one_copy(&root);
    list[0]->n_roots = 1;
    return list;
}

Tabard__V1__Snapshot *snapshot_message(uint64_t generation, const char *yaml, ...)
{
    struct err err = {0};
    char text[4096];
    va_list args;
    va_start(args, yaml);
    int len = vsnprintf(text, sizeof text, yaml, args);
    va_end(args);
    cr_assert(len >= 0 && (size_t)len < sizeof text);
    if (root.data == NULL) {
        mint();
    }
    Tabard__V1__Snapshot *message = (Tabard__V1__Snapshot *)pb_text_parse(
        &tabard__v1__snapshot__descriptor, text, (size_t)len, "test", NULL, &err);
    cr_assert(message != NULL, "%s in %s", err.text, text);
    message->generation = generation;
    message->identity = identity_new();
    message->trust_bundles = bundles_new();
    message->n_trust_bundles = 1;
    return message;
}

Tabard__V1__Snapshot *snapshot_one_forward(uint64_t generation, const char *listen,
                                           uint16_t app_port)
{
    return snapshot_message(
        generation,
        "forwards: [{listen: '%s', destination: '127.0.0.1:%u'}]\n"
        "destinations: [{name: payments, addresses: [127.0.0.1], mode: PLAINTEXT}]\n",
        listen, app_port);
}
