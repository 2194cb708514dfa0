// SPDX-License-Identifier: Apache-2.0
//
// A folder with a good mesh.yaml and the files it names, minted on the spot, for tests that spoil
// one of them. Owned by the test; one thread; in the test's temporary folder, removed by
// folder_cleanup. A step that can't fail in a sound test aborts. It starts nothing.
#ifndef TABARD_TESTS_UNIT_CONTROL_AGENT_FOLDER_H
#define TABARD_TESTS_UNIT_CONTROL_AGENT_FOLDER_H

#include <openssl/x509.h>
#include <time.h>

#include "certs/ca/mint.h"
#include "tests/unit/support/temp.h"

#define FOLDER_DOMAIN "demo.example"
#define FOLDER_ID     "spiffe://demo.example/ns/shop/sa/web"

struct folder {
    char path[TEMP_PATH_BYTES];
    char mesh[160]; // the path of mesh.yaml
    time_t now;
    struct mint_ca root;
    struct mint_ca intermediate;
    EVP_PKEY *key; // of web.pem
};

// folder_init writes mesh.yaml (folder_mesh_yaml), web.pem (the leaf and its intermediate), web.key
// and roots.pem.
void folder_init(struct folder *folder);
void folder_cleanup(struct folder *folder);

extern const char folder_mesh_yaml[];

// folder_write writes a file of the folder; folder_remove removes it.
void folder_write(const struct folder *folder, const char *name, const char *text);
void folder_write_bytes(const struct folder *folder, const char *name, const void *bytes,
                        size_t len);
void folder_remove(const struct folder *folder, const char *name);

// folder_leaf makes a good leaf for a key, signed by the intermediate.
X509 *folder_leaf(const struct folder *folder, EVP_PKEY *key);

// folder_write_chain writes a PEM file of one or two certificates (second may be NULL).
void folder_write_chain(const struct folder *folder, const char *name, X509 *leaf, X509 *second);
void folder_write_key(const struct folder *folder, const char *name, EVP_PKEY *key);

// folder_key makes a key of a kind.
EVP_PKEY *folder_key(enum mint_key_kind kind);

// folder_write_crl writes a CRL of the root that ends at next_update.
void folder_write_crl(const struct folder *folder, const char *name, const struct mint_ca *ca,
                      time_t next_update);

#endif
