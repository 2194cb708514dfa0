// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/mesh.h"

#include <criterion/criterion.h>
#include <openssl/nid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/agent/proxy/keyring.h"
#include "control/agent/sources/sources.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/control/agent/folder.h"

Test(mesh, a_good_folder_becomes_a_snapshot_and_its_key, .timeout = 20)
{
    struct folder folder;
    folder_init(&folder);
    struct mesh out;
    struct err err = {{0}, {0}};
    cr_assert(mesh_load(&out, folder.mesh, sources_fields, folder.now, &err), "%s", err.text);
    uint8_t id[CONTRACT_KEY_ID_LEN];
    cr_assert(keyring_key_id(id, folder.key));
    cr_expect_eq(out.assembly.snapshot->generation, 0);
    cr_expect_eq(out.assembly.snapshot->identity->n_chain, 2);
    cr_expect_eq(out.assembly.snapshot->identity->key_id.len, sizeof id);
    cr_expect_eq(memcmp(out.assembly.snapshot->identity->key_id.data, id, sizeof id), 0);
    cr_expect_eq(EVP_PKEY_cmp(out.assembly.key, folder.key), 1);
    cr_expect_str_eq(out.assembly.spiffe_id, FOLDER_ID);
    cr_expect_eq(out.assembly.not_after, folder.now + 3600);
    cr_expect_eq(out.assembly.not_before, folder.now - 60);
    cr_expect_eq(out.assembly.drain_seconds, 5);
    cr_expect_eq(out.assembly.inbound_port, 0, "no interception");
    cr_expect_eq(out.assembly.snapshot->n_policies, 1);
    cr_expect_eq(out.assembly.snapshot->n_trust_bundles, 1);
    cr_expect_eq(out.assembly.num_crls, 0);
    mesh_cleanup(&out);
    folder_cleanup(&folder);
}

Test(mesh, the_digest_changes_with_the_content_alone, .timeout = 20)
{
    struct folder folder;
    folder_init(&folder);
    struct mesh first;
    struct mesh second;
    cr_assert(mesh_load(&first, folder.mesh, sources_fields, folder.now, NULL));
    char text[2048];
    snprintf(text, sizeof text, "# a comment\n%s\n", folder_mesh_yaml);
    folder_write(&folder, "mesh.yaml", text);
    cr_assert(mesh_load(&second, folder.mesh, sources_fields, folder.now, NULL));
    cr_expect_eq(memcmp(first.assembly.digest, second.assembly.digest, 32), 0,
                 "a comment is no change");
    mesh_cleanup(&second);
    snprintf(text, sizeof text,
             "%sforwards: [{listen: \"127.0.0.1:7000\", destination: "
             "\"127.0.0.1:9443\"}]\n",
             folder_mesh_yaml);
    folder_write(&folder, "mesh.yaml", text);
    struct err err = {{0}, {0}};
    cr_assert(mesh_load(&second, folder.mesh, sources_fields, folder.now, &err), "%s", err.text);
    cr_expect_neq(memcmp(first.assembly.digest, second.assembly.digest, 32), 0, "a forward is one");
    mesh_cleanup(&second);
    mesh_cleanup(&first);
    folder_cleanup(&folder);
}

Test(mesh, interception_and_crls_are_noted, .timeout = 20)
{
    struct folder folder;
    folder_init(&folder);
    folder_write(&folder, "mesh.yaml",
                 "identity: {certificate: web.pem, key: web.key}\n"
                 "trust_bundles: [{trust_domain: demo.example, roots: roots.pem, crls: crl.pem}]\n"
                 "settings: {interception: {inbound_port: 25006}}\n");
    folder_write_crl(&folder, "crl.pem", &folder.intermediate, folder.now + 500);
    struct mesh out;
    struct err err = {{0}, {0}};
    cr_assert(mesh_load(&out, folder.mesh, sources_fields, folder.now, &err), "%s", err.text);
    cr_expect_eq(out.assembly.outbound_port, 15001);
    cr_expect_eq(out.assembly.inbound_port, 25006);
    cr_expect_eq(out.assembly.num_crls, 1);
    cr_expect_str_eq(out.assembly.crls[0].trust_domain, FOLDER_DOMAIN);
    cr_expect_eq(out.assembly.crls[0].next_update, folder.now + 500);
    cr_expect_eq(out.assembly.crls[0].num_unproved, 0);
    cr_expect_eq(out.assembly.drain_seconds, 25, "the default");
    mesh_cleanup(&out);
    folder_cleanup(&folder);
}

// What is spoilt in a good folder, and what the refusal says. `find` in mesh.yaml becomes `put`, or
// spoil changes a file.
struct row {
    const char *name;
    const char *find;
    const char *put;
    void (*spoil)(struct folder *folder);
    const char *words[3];
};

static void write_bad_leaf(struct folder *folder, const struct bad_leaf *bad)
{
    X509 *leaf = bad_leaf_new(&folder->intermediate, folder->key, FOLDER_ID, folder->now, bad);
    folder_write_chain(folder, "web.pem", leaf, folder->intermediate.cert);
    X509_free(leaf);
}

static void spoil_expired(struct folder *folder)
{
    write_bad_leaf(folder, &(struct bad_leaf){.has_times = true,
                                              .not_before = folder->now - 7200,
                                              .not_after = folder->now - 60});
}
static void spoil_not_yet_valid(struct folder *folder)
{
    write_bad_leaf(folder, &(struct bad_leaf){.has_times = true,
                                              .not_before = folder->now + 60,
                                              .not_after = folder->now + 7200});
}
static void spoil_no_uri(struct folder *folder)
{
    write_bad_leaf(folder, &(struct bad_leaf){.no_san = true});
}
static void spoil_two_uris(struct folder *folder)
{
    static const char *const uris[] = {FOLDER_ID, "spiffe://demo.example/other"};
    write_bad_leaf(folder, &(struct bad_leaf){.has_uris = true, .uris = uris, .num_uris = 2});
}
static void spoil_ca_leaf(struct folder *folder)
{
    write_bad_leaf(folder, &(struct bad_leaf){.is_ca = true});
}
static void spoil_other_domain(struct folder *folder)
{
    static const char *const uris[] = {"spiffe://other.example/web"};
    write_bad_leaf(folder, &(struct bad_leaf){.has_uris = true, .uris = uris, .num_uris = 1});
}
static void spoil_no_intermediate(struct folder *folder)
{
    X509 *leaf = folder_leaf(folder, folder->key);
    folder_write_chain(folder, "web.pem", leaf, NULL);
    X509_free(leaf);
}
static void spoil_intermediate_first(struct folder *folder)
{
    X509 *leaf = folder_leaf(folder, folder->key);
    folder_write_chain(folder, "web.pem", folder->intermediate.cert, leaf);
    X509_free(leaf);
}
static void write_root_of(struct folder *folder, const char *domain)
{
    struct mint_ca other = {0};
    cr_assert(mint_root_init(&other, MINT_KEY_ED25519, domain, folder->now - 60, folder->now + 3600,
                             NULL));
    folder_write_chain(folder, "roots.pem", other.cert, NULL);
    mint_ca_cleanup(&other);
}
static void spoil_bundle_of_another_ca(struct folder *folder)
{
    write_root_of(folder, FOLDER_DOMAIN);
}
static void spoil_bundle_of_another_domain(struct folder *folder)
{
    write_root_of(folder, "other.example");
}
static void spoil_other_key(struct folder *folder)
{
    EVP_PKEY *key = folder_key(MINT_KEY_ED25519);
    folder_write_key(folder, "web.key", key);
    EVP_PKEY_free(key);
}
static void spoil_other_kind_of_key(struct folder *folder)
{
    EVP_PKEY *key = folder_key(MINT_KEY_P256);
    folder_write_key(folder, "web.key", key);
    EVP_PKEY_free(key);
}
static void spoil_weak_key(struct folder *folder)
{
    EVP_PKEY *key = bad_key_rsa(1024);
    folder_write_key(folder, "web.key", key);
    EVP_PKEY_free(key);
}
static void spoil_garbage_key(struct folder *folder)
{
    folder_write(folder, "web.key",
                 "-----BEGIN PRIVATE KEY-----\n@@@\n-----END PRIVATE KEY-----\n");
}
static void spoil_encrypted_key(struct folder *folder)
{
    folder_write(
        folder, "web.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
        "AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END RSA PRIVATE KEY-----\n");
}
static void spoil_certificate_as_key(struct folder *folder)
{
    X509 *leaf = folder_leaf(folder, folder->key);
    folder_write_chain(folder, "web.key", leaf, NULL);
    X509_free(leaf);
}
static void spoil_empty_key(struct folder *folder)
{
    folder_write(folder, "web.key", "");
}
static void spoil_garbage_roots(struct folder *folder)
{
    folder_write(folder, "roots.pem",
                 "-----BEGIN CERTIFICATE-----\n@@\n-----END CERTIFICATE-----\n");
}
static void spoil_random_roots(struct folder *folder)
{
    folder_write_bytes(folder, "roots.pem", "\x00\xff\x17\x00pem?", 8);
}
static void spoil_leaf_as_root(struct folder *folder)
{
    X509 *leaf = folder_leaf(folder, folder->key);
    folder_write_chain(folder, "roots.pem", leaf, NULL);
    X509_free(leaf);
}
static void spoil_missing_certificate(struct folder *folder)
{
    folder_remove(folder, "web.pem");
}
static void spoil_missing_key(struct folder *folder)
{
    folder_remove(folder, "web.key");
}
static void spoil_missing_mesh(struct folder *folder)
{
    folder_remove(folder, "mesh.yaml");
}
static void spoil_folder_for_key(struct folder *folder)
{
    char path[512];
    folder_remove(folder, "web.key");
    snprintf(path, sizeof path, "%s/web.key", folder->path);
    cr_assert_eq(mkdir(path, 0700), 0);
}
static void spoil_fifo_for_roots(struct folder *folder)
{
    char path[512];
    folder_remove(folder, "roots.pem");
    snprintf(path, sizeof path, "%s/roots.pem", folder->path);
    cr_assert_eq(mkfifo(path, 0600), 0);
}
static void spoil_link_to_itself(struct folder *folder)
{
    char path[512];
    folder_remove(folder, "web.pem");
    snprintf(path, sizeof path, "%s/web.pem", folder->path);
    cr_assert_eq(symlink("web.pem", path), 0);
}
static void write_large(struct folder *folder, const char *name, const char *begin)
{
    size_t len = 10u << 20;
    char *text = malloc(len);
    cr_assert_not_null(text);
    memset(text, 'x', len);
    memcpy(text, begin, strlen(begin));
    text[len - 1] = '\n';
    folder_write_bytes(folder, name, text, len);
    free(text);
}
static void spoil_large_mesh(struct folder *folder)
{
    write_large(folder, "mesh.yaml", "# ");
}
static void spoil_large_roots(struct folder *folder)
{
    write_large(folder, "roots.pem", "# ");
}
static void spoil_empty_mesh(struct folder *folder)
{
    folder_write(folder, "mesh.yaml", "");
}
static void spoil_stale_crl(struct folder *folder)
{
    folder_write_crl(folder, "crl.pem", &folder->root, folder->now - 60);
}
// Our own CA's certificate with another key: its CRL has the right name and key identifier.
static void spoil_forged_crl(struct folder *folder)
{
    struct mint_ca twin = {.cert = X509_dup(folder->intermediate.cert),
                           .key = mint_key_new(MINT_KEY_P256, NULL)};
    folder_write_crl(folder, "crl.pem", &twin, folder->now + 60);
    mint_ca_cleanup(&twin);
}
static void spoil_certificate_as_crl(struct folder *folder)
{
    folder_write_chain(folder, "crl.pem", folder->root.cert, NULL);
}

#define WITH_CRLS "roots: roots.pem}", "roots: roots.pem, crls: crl.pem}"

static const struct row rows[] = {
    {"mesh.yaml vanished",
     NULL,
     NULL,
     spoil_missing_mesh,
     {"mesh.yaml: No such file or directory"}},
    {"an empty file", NULL, NULL, spoil_empty_mesh, {"mesh.yaml"}},
    {"10 MB of mesh.yaml", NULL, NULL, spoil_large_mesh, {"mesh.yaml", "8 MiB"}},
    {"broken YAML", "[{trust_domain", "[[{trust_domain", NULL, {"mesh.yaml:"}},
    {"unknown field", "policies:", "polices:", NULL, {"mesh.yaml:4:1", "polices", "policies"}},
    {"wrong enum",
     "action: ALLOW",
     "action: PERMIT",
     NULL,
     {"mesh.yaml:6:11: policies[0].action", "PERMIT", "ALLOW"}},
    {"no action", "  action: ALLOW\n", "", NULL, {"mesh.yaml:5:3: policies[0].action"}},
    {"port 70000", "[8080]", "[70000]", NULL, {"mesh.yaml:8:11: policies[0].ports[0]", "70000"}},
    {"IPv6 zone",
     "principals: [\"spiffe://demo.example/ns/shop/sa/web\"]",
     "source_ips: [\"fe80::1%eth0\"]",
     NULL,
     {"mesh.yaml:9:", "policies[0].rules[0].source_ips[0]", "fe80::1%eth0"}},
    {"host bits",
     "principals: [\"spiffe://demo.example/ns/shop/sa/web\"]",
     "source_ips: [\"10.1.2.3/16\"]",
     NULL,
     {"mesh.yaml:9:", "policies[0].rules[0].source_ips[0]", "10.1.0.0/16"}},
    {"no rules in an ALLOW",
     "rules: [{principals: [\"spiffe://demo.example/ns/shop/sa/web\"]}]",
     "rules: []",
     NULL,
     {"mesh.yaml:", "policies[0].rules"}},
    {"a policy with ports that are written and none",
     "[8080]",
     "[]",
     NULL,
     {"mesh.yaml:8:10: policies[0].ports: the list is empty", "at least one"}},
    {"CRLs that are written and none",
     "roots: roots.pem}",
     "roots: roots.pem, crls: ''}",
     NULL,
     {"mesh.yaml:2:", "trust_bundles[0].crls: the text is empty"}},
    {"a port twice",
     "listen: \"127.0.0.1:0\"}",
     "listen: \"127.0.0.1:0\"}, {port: 8080, mode: MTLS}",
     NULL,
     {"mesh.yaml:3:", "inbound_ports[1]", "8080"}},
    {"no identity",
     "identity: {certificate: web.pem, key: web.key}\n",
     "",
     NULL,
     {"mesh.yaml:", "identity: missing"}},
    {"no key named", ", key: web.key", "", NULL, {"mesh.yaml:1:1: identity.key: missing"}},
    {"no bundles",
     "trust_bundles: [{trust_domain: demo.example, roots: roots.pem}]\n",
     "",
     NULL,
     {"mesh.yaml:", "trust_bundles: missing"}},
    {"no roots named", ", roots: roots.pem", "", NULL, {"mesh.yaml:2:", "trust_bundles[0].roots"}},
    {"a bundle twice",
     "roots: roots.pem}",
     "roots: roots.pem}, {trust_domain: demo.example, roots: roots.pem}",
     NULL,
     {"mesh.yaml:2:", "trust_bundles[1].trust_domain", "demo.example"}},
    {"a file that isn't there",
     NULL,
     NULL,
     spoil_missing_certificate,
     {"mesh.yaml:1:25: identity.certificate: web.pem: No such file or directory", "looked for"}},
    {"no key file",
     NULL,
     NULL,
     spoil_missing_key,
     {"mesh.yaml:1:39: identity.key: web.key: No such file or directory"}},
    {"a folder for a file",
     NULL,
     NULL,
     spoil_folder_for_key,
     {"identity.key: web.key: is a directory"}},
    {"a FIFO for a file",
     NULL,
     NULL,
     spoil_fifo_for_roots,
     {"mesh.yaml:2:53: trust_bundles[0].roots: roots.pem: is a FIFO"}},
    {"a device for a file",
     "roots: roots.pem",
     "roots: /dev/zero",
     NULL,
     {"trust_bundles[0].roots: /dev/zero: is a device"}},
    {"a link to itself",
     NULL,
     NULL,
     spoil_link_to_itself,
     {"identity.certificate: web.pem: Too many levels of symbolic links"}},
    {"10 MB of roots",
     NULL,
     NULL,
     spoil_large_roots,
     {"trust_bundles[0].roots: roots.pem", "8 MiB"}},
    {"key of another certificate",
     NULL,
     NULL,
     spoil_other_key,
     {"mesh.yaml:1:39: identity.key: web.key does not belong to web.pem"}},
    {"key of another kind",
     NULL,
     NULL,
     spoil_other_kind_of_key,
     {"identity.key: web.key does not belong to web.pem"}},
    {"weak key", NULL, NULL, spoil_weak_key, {"identity.key: web.key", "1024"}},
    {"garbage key", NULL, NULL, spoil_garbage_key, {"identity.key: web.key: no private key"}},
    {"encrypted key",
     NULL,
     NULL,
     spoil_encrypted_key,
     {"identity.key: web.key: the key is encrypted"}},
    {"certificate as key",
     NULL,
     NULL,
     spoil_certificate_as_key,
     {"identity.key: web.key: no private key"}},
    {"empty key", NULL, NULL, spoil_empty_key, {"identity.key: web.key: is empty"}},
    {"expired leaf",
     NULL,
     NULL,
     spoil_expired,
     {"mesh.yaml:1:25: identity.certificate: web.pem", "expired", "valid now"}},
    {"leaf not yet valid",
     NULL,
     NULL,
     spoil_not_yet_valid,
     {"identity.certificate: web.pem", "valid", "valid now"}},
    {"leaf without URI",
     NULL,
     NULL,
     spoil_no_uri,
     {"identity.certificate: web.pem", "exactly one URI SAN"}},
    {"leaf with two URIs",
     NULL,
     NULL,
     spoil_two_uris,
     {"identity.certificate: web.pem", "exactly one URI SAN"}},
    {"CA as leaf", NULL, NULL, spoil_ca_leaf, {"identity.certificate: web.pem", "CA"}},
    {"leaf of another domain",
     NULL,
     NULL,
     spoil_other_domain,
     {"identity.certificate: web.pem", "other.example", "trust_bundles"}},
    {"no intermediate",
     NULL,
     NULL,
     spoil_no_intermediate,
     {"identity.certificate: web.pem", "every intermediate"}},
    {"intermediate before leaf", NULL, NULL, spoil_intermediate_first, {"identity.", "web.pem"}},
    {"bundle of another CA",
     NULL,
     NULL,
     spoil_bundle_of_another_ca,
     {"identity.certificate: web.pem", "trust_bundles"}},
    {"bundle of another domain",
     NULL,
     NULL,
     spoil_bundle_of_another_domain,
     {"mesh.yaml:2:53: trust_bundles[0].roots[0]: roots.pem", "other.example"}},
    {"garbage roots", NULL, NULL, spoil_garbage_roots, {"trust_bundles[0].roots: roots.pem:1: "}},
    {"random bytes for roots",
     NULL,
     NULL,
     spoil_random_roots,
     {"trust_bundles[0].roots: roots.pem"}},
    {"leaf as root",
     NULL,
     NULL,
     spoil_leaf_as_root,
     {"trust_bundles[0].roots[0]: roots.pem", "CA"}},
    {"stale CRL", WITH_CRLS, spoil_stale_crl, {"trust_bundles[0].crls[0]: crl.pem"}},
    {"forged CRL", WITH_CRLS, spoil_forged_crl, {"trust_bundles[0].crls[0]: crl.pem"}},
    {"certificate as CRL", WITH_CRLS, spoil_certificate_as_crl, {"trust_bundles[0].crls: crl.pem"}},
    {"no CRL file", WITH_CRLS, NULL, {"trust_bundles[0].crls: crl.pem: No such file or directory"}},
};

static void replace(struct folder *folder, const struct row *row)
{
    char text[4096];
    const char *at = strstr(folder_mesh_yaml, row->find);
    cr_assert_not_null(at, "%s: mesh.yaml has no \"%s\"", row->name, row->find);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - folder_mesh_yaml), folder_mesh_yaml,
             row->put, at + strlen(row->find));
    folder_write(folder, "mesh.yaml", text);
}

Test(mesh, what_is_bad_is_refused_by_file_line_and_field, .timeout = 60)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct folder folder;
        folder_init(&folder);
        if (rows[i].find != NULL) {
            replace(&folder, &rows[i]);
        }
        if (rows[i].spoil != NULL) {
            rows[i].spoil(&folder);
        }
        struct mesh out;
        struct err err = {{0}, {0}};
        cr_expect(!mesh_load(&out, folder.mesh, sources_fields, folder.now, &err), "%s",
                  rows[i].name);
        for (size_t j = 0; j < 3 && rows[i].words[j] != NULL; j++) {
            cr_expect(strstr(err.text, rows[i].words[j]) != NULL, "%s: \"%s\" lacks \"%s\"",
                      rows[i].name, err.text, rows[i].words[j]);
        }
        cr_expect(strchr(err.text, '\n') == NULL, "%s: more than one line", rows[i].name);
        cr_expect_null(out.assembly.snapshot, "%s", rows[i].name);
        cr_expect_null(out.assembly.key, "%s", rows[i].name);
        folder_cleanup(&folder);
    }
}

Test(mesh, an_unreadable_file_is_named_with_the_reason, .timeout = 20)
{
    if (geteuid() == 0) {
        cr_skip_test("root reads everything: run as another user to test an unreadable file");
    }
    struct folder folder;
    folder_init(&folder);
    char path[512];
    snprintf(path, sizeof path, "%s/web.key", folder.path);
    cr_assert_eq(chmod(path, 0), 0);
    struct mesh out;
    struct err err = {{0}, {0}};
    cr_expect(!mesh_load(&out, folder.mesh, sources_fields, folder.now, &err));
    cr_expect(strstr(err.text, "identity.key: web.key: Permission denied") != NULL, "%s", err.text);
    folder_cleanup(&folder);
}
