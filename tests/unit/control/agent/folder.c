// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/agent/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret/secret.h"

#define must(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, why.text);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static struct err why;

const char folder_mesh_yaml[] =
    "identity: {certificate: web.pem, key: web.key}\n"
    "trust_bundles: [{trust_domain: demo.example, roots: roots.pem}]\n"
    "inbound_ports: [{port: 8080, mode: MTLS, listen: \"127.0.0.1:0\"}]\n"
    "policies:\n"
    "- name: shop-may-pay\n"
    "  action: ALLOW\n"
    "  mode: ENFORCE\n"
    "  ports: [8080]\n"
    "  rules: [{principals: [\"spiffe://demo.example/ns/shop/sa/web\"]}]\n"
    "settings: {drain_seconds: 5}\n";

void folder_write_bytes(const struct folder *folder, const char *name, const void *bytes,
                        size_t len)
{
    temp_write(folder->path, name, bytes, len);
}

void folder_write(const struct folder *folder, const char *name, const char *text)
{
    folder_write_bytes(folder, name, text, strlen(text));
}

void folder_remove(const struct folder *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    must(unlink(path) == 0);
}

EVP_PKEY *folder_key(enum mint_key_kind kind)
{
    EVP_PKEY *key = mint_key_new(kind, &why);
    must(key != NULL);
    return key;
}

X509 *folder_leaf(const struct folder *folder, EVP_PKEY *key)
{
    X509 *leaf = mint_leaf_new(&folder->intermediate, key,
                               &(struct mint_leaf){.spiffe_id = FOLDER_ID,
                                                   .not_before = folder->now - 60,
                                                   .not_after = folder->now + 3600},
                               &why);
    must(leaf != NULL);
    return leaf;
}

void folder_write_chain(const struct folder *folder, const char *name, X509 *leaf, X509 *second)
{
    char *first_pem = mint_cert_pem(leaf);
    char *second_pem = second != NULL ? mint_cert_pem(second) : strdup("");
    must(first_pem != NULL && second_pem != NULL);
    size_t len = strlen(first_pem) + strlen(second_pem) + 1;
    char *both = malloc(len);
    must(both != NULL);
    snprintf(both, len, "%s%s", first_pem, second_pem);
    folder_write(folder, name, both);
    free(first_pem);
    free(second_pem);
    free(both);
}

void folder_write_key(const struct folder *folder, const char *name, EVP_PKEY *key)
{
    char *pem = mint_key_pem(key);
    must(pem != NULL);
    folder_write(folder, name, pem);
    secret_free(pem);
}

void folder_write_crl(const struct folder *folder, const char *name, const struct mint_ca *ca,
                      time_t next_update)
{
    X509_CRL *crl = mint_crl_new(ca, NULL, 0, 1, folder->now - 7200, next_update, &why);
    must(crl != NULL);
    char *pem = mint_crl_pem(crl);
    must(pem != NULL);
    folder_write(folder, name, pem);
    free(pem);
    X509_CRL_free(crl);
}

void folder_init(struct folder *folder)
{
    *folder = (struct folder){.now = time(NULL)};
    temp_make(folder->path);
    snprintf(folder->mesh, sizeof folder->mesh, "%s/mesh.yaml", folder->path);
    must(mint_root_init(&folder->root, MINT_KEY_P256, FOLDER_DOMAIN, folder->now - 86400,
                        folder->now + 86400, &why));
    must(mint_intermediate_init(&folder->intermediate, &folder->root, MINT_KEY_P256,
                                folder->now - 86400, folder->now + 86000, &why));
    folder->key = folder_key(MINT_KEY_ED25519);
    X509 *leaf = folder_leaf(folder, folder->key);
    folder_write_chain(folder, "web.pem", leaf, folder->intermediate.cert);
    X509_free(leaf);
    folder_write_key(folder, "web.key", folder->key);
    folder_write_chain(folder, "roots.pem", folder->root.cert, NULL);
    folder_write(folder, "mesh.yaml", folder_mesh_yaml);
}

void folder_cleanup(struct folder *folder)
{
    temp_remove(folder->path);
    mint_ca_cleanup(&folder->root);
    mint_ca_cleanup(&folder->intermediate);
    EVP_PKEY_free(folder->key);
}
