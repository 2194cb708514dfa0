// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/base64.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/ca/ca_store.h"
#include "certs/cert.h"
#include "control/policyd/kubernetes/ca_keeper.h"
#include "control/policyd/kubernetes/ca_secret.h"
#include "tests/unit/control/kube/api/fake_store.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS      20000
#define NUM_REPLICAS 2

// One replica of policyd, as far as the CA goes.
struct replica {
    char dir[TEMP_PATH_BYTES];
    struct kube_client *client;
    struct ca_keeper *keeper;
    struct ca_trust *trust;
    unsigned num_trusts;
    unsigned num_listed; // calls of on_listed
    bool was_there;      // what the last one said
    char failure[900];
};

// Two replicas and an API server.
static struct {
    uv_loop_t loop;
    struct fake_store store;
    struct replica replicas[NUM_REPLICAS];
} stage;

static const struct ca_trust *in_force(void *ctx)
{
    return ((struct replica *)ctx)->trust;
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    struct replica *replica = ctx;
    (void)began_ns;
    ca_trust_free(replica->trust);
    replica->trust = trust;
    replica->num_trusts++;
}

static void on_listed(void *ctx, bool is_there)
{
    struct replica *replica = ctx;
    replica->num_listed++;
    replica->was_there = is_there;
}

static void on_failed(void *ctx, const char *text)
{
    struct replica *replica = ctx;
    snprintf(replica->failure, sizeof replica->failure, "%s", text);
}

#define SECRETS "/api/v1/namespaces/mesh/secrets"

// The Secret of this name in our namespace.
static json_t *secret_of(const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "mesh/%s", name);
    return fake_store_get(&stage.store, SECRETS, path);
}

static size_t num_secrets(void)
{
    return json_object_size(json_object_get(stage.store.collections, "/api/v1/secrets"));
}

static void set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&stage, 0, sizeof stage);
    temp_set_up();
    uv_loop_init(&stage.loop);
    fake_store_start(&stage.store, &stage.loop, temp_folder);
}

static struct replica *start(unsigned number)
{
    struct replica *replica = &stage.replicas[number];
    struct err err = {{0}, {0}};
    temp_make(replica->dir);
    replica->client = kube_client_new(&stage.loop, &stage.store.api.config, &err);
    cr_assert_not_null(replica->client, "%s", err.text);
    replica->keeper = ca_keeper_new(&(struct ca_keeper_config){.client = replica->client,
                                                               .dir = replica->dir,
                                                               .namespace = "mesh",
                                                               .ctx = replica,
                                                               .in_force = in_force,
                                                               .on_trust = on_trust,
                                                               .on_listed = on_listed,
                                                               .on_failed = on_failed});
    return replica;
}

static void stop(struct replica *replica)
{
    if (replica->keeper != NULL) {
        ca_keeper_close(replica->keeper);
        kube_client_close(replica->client);
        ca_trust_free(replica->trust);
        temp_remove(replica->dir);
        *replica = (struct replica){.keeper = NULL};
    }
}

static void tear_down(void)
{
    for (unsigned i = 0; i < NUM_REPLICAS; i++) {
        stop(&stage.replicas[i]);
    }
    fake_store_stop(&stage.store);
    loop_end(&stage.loop);
    temp_tear_down();
}

TestSuite(ca_keeper, .init = set_up, .fini = tear_down, .timeout = 120);

#define wait_for(cond) cr_assert(run_until(&stage, (cond), WAIT_MS), "%s", #cond)

static struct replica *started(unsigned number)
{
    struct replica *replica = start(number);
    ca_keeper_set_domain(replica->keeper, "prod.example");
    wait_for(replica->trust != NULL);
    return replica;
}

// A value of the Secret's data, decoded.
static char *value_of(const char *name, const char *key)
{
    static char text[65536];
    const char *value =
        json_string_value(json_object_get(json_object_get(secret_of(name), "data"), key));
    size_t len = 0;
    text[0] = '\0';
    if (value != NULL) {
        cr_assert(EVP_DecodeBase64((uint8_t *)text, &len, sizeof text - 1, (const uint8_t *)value,
                                   strlen(value)) == 1);
        text[len] = '\0';
    }
    return text;
}

static void ask_to_revoke(const char *serial)
{
    char key[80];
    json_t *secret = secret_of(CA_SECRET_NAME);
    snprintf(key, sizeof key, "revoked.%s", serial);
    json_object_set_new(json_object_get(secret, "data"), key, json_string(""));
    fake_store_touch(&stage.store, SECRETS, secret);
}

// The CRL that lies in a replica's folder, or NULL.
static X509_CRL *crl_of(const struct replica *replica)
{
    struct ca_store store;
    struct err err = {{0}, {0}};
    char path[200];
    snprintf(path, sizeof path, "%s/ca", replica->dir);
    cr_assert(ca_store_open(&store, path, &err), "%s", err.text);
    snprintf(path, sizeof path, "%s/ca/crl.pem", replica->dir);
    X509_CRL *crl = ca_store_own_crl(&store, path, &err);
    ca_store_close(&store);
    return crl;
}

static bool has_revoked(const struct replica *replica, const char *serial)
{
    X509_CRL *crl = crl_of(replica);
    X509_REVOKED *entry = NULL;
    ASN1_INTEGER *number = mint_serial_parse(serial, NULL);
    bool has = crl != NULL && X509_CRL_get0_by_serial(crl, &entry, number) == 1;
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return has;
}

Test(ca_keeper, makes_a_ca_where_there_is_none_once_it_knows_the_trust_domain)
{
    struct replica *replica = start(0);
    wait_for(fake_last(&stage.store.api, "watch=1") != NULL);
    cr_expect_eq(num_secrets(), 0, "nobody has named the trust domain");
    ca_keeper_set_domain(replica->keeper, "prod.example");
    wait_for(replica->trust != NULL && num_secrets() == 2);
    cr_expect_str_eq(replica->trust->domain, "prod.example");
    cr_expect_eq(ca_keeper_stats(replica->keeper)->num_made, 1);
    // An intermediate signs, and the root's key is nowhere but in a Secret of its own.
    char *root = must_strdup(value_of(CA_SECRET_ROOT_NAME, "ca.pem"));
    char *root_key = must_strdup(value_of(CA_SECRET_ROOT_NAME, "ca.key"));
    cr_expect_str_eq(value_of(CA_SECRET_NAME, "roots.pem"), root);
    cr_expect_not_null(strstr(value_of(CA_SECRET_NAME, "ca.pem"), root));
    cr_expect_str_neq(value_of(CA_SECRET_NAME, "ca.pem"), root);
    cr_expect_str_neq(value_of(CA_SECRET_NAME, "ca.key"), root_key);
    cr_expect_null(strstr(value_of(CA_SECRET_NAME, "ca.key"), root_key));
    free(root);
    free(root_key);
    // The folder works for the code that signs, and nothing is left of the making.
    struct ca_store store;
    struct err err = {{0}, {0}};
    char path[200], scratch[10];
    snprintf(path, sizeof path, "%s/ca", replica->dir);
    cr_expect(ca_store_open(&store, path, &err), "%s", err.text);
    cr_expect_eq(store.num_above, 1, "a leaf is sent with the intermediate, and no root");
    ca_store_close(&store);
    temp_read(replica->dir, "scratch/root/ca.key", scratch, sizeof scratch);
    cr_expect_str_eq(scratch, "");
}

Test(ca_keeper, says_once_whether_the_first_list_holds_a_secret)
{
    struct replica *one = start(0);
    wait_for(one->num_listed == 1);
    cr_expect_not(one->was_there);
    ca_keeper_set_domain(one->keeper, "prod.example");
    wait_for(one->trust != NULL);
    cr_expect_eq(one->num_listed, 1);
    // One that nobody can use is there all the same.
    json_object_clear(json_object_get(secret_of(CA_SECRET_NAME), "data"));
    struct replica *two = start(1);
    wait_for(two->num_listed == 1);
    cr_expect(two->was_there);
}

Test(ca_keeper, two_replicas_that_start_at_once_make_one_ca)
{
    struct replica *one = start(0);
    struct replica *two = start(1);
    ca_keeper_set_domain(one->keeper, "prod.example");
    ca_keeper_set_domain(two->keeper, "prod.example");
    wait_for(one->trust != NULL && two->trust != NULL && num_secrets() == 2);
    cr_expect_eq(ca_keeper_stats(one->keeper)->num_made + ca_keeper_stats(two->keeper)->num_made,
                 1);
    cr_expect_eq(memcmp(trust_bundle_digest(one->trust->bundle),
                        trust_bundle_digest(two->trust->bundle), 32),
                 0);
}

Test(ca_keeper, the_loser_of_the_race_takes_the_other_ones_ca)
{
    struct replica *two = start(1);
    wait_for(fake_last(&stage.store.api, "watch=1") != NULL);
    // The watches lag: two doesn't know of the Secret that one has made.
    stage.store.is_quiet = true;
    struct replica *one = start(0);
    ca_keeper_set_domain(one->keeper, "prod.example");
    wait_for(ca_keeper_stats(one->keeper)->num_made == 1);
    ca_keeper_set_domain(two->keeper, "prod.example");
    wait_for(ca_keeper_stats(two->keeper)->num_outraced == 1);
    cr_expect_null(two->trust);
    stage.store.is_quiet = false;
    fake_store_tell(&stage.store, SECRETS, "ADDED", secret_of(CA_SECRET_NAME));
    wait_for(one->trust != NULL && two->trust != NULL && num_secrets() == 2);
    cr_expect_eq(memcmp(trust_bundle_digest(one->trust->bundle),
                        trust_bundle_digest(two->trust->bundle), 32),
                 0);
}

Test(ca_keeper, the_root_of_an_earlier_mesh_is_left_alone)
{
    fake_store_put(&stage.store, SECRETS,
                   "{\"metadata\": {\"namespace\": \"mesh\", \"name\": \"tabard-root\"}}");
    struct replica *replica = started(0);
    wait_for(num_secrets() == 3);
    cr_expect_not_null(replica->trust);
    const char *key;
    json_t *value;
    unsigned num_named = 0;
    json_object_foreach(json_object_get(stage.store.collections, "/api/v1/secrets"), key, value)
    {
        num_named += strncmp(key, "mesh/" CA_SECRET_ROOT_NAME "-", 17) == 0;
    }
    cr_expect_eq(num_named, 1);
}

Test(ca_keeper, a_serial_that_is_asked_for_is_in_the_crl_of_both_replicas_and_written_once)
{
    struct replica *one = started(0);
    struct replica *two = started(1);
    cr_expect_null(crl_of(one), "nothing was revoked yet");
    ask_to_revoke("0a1b2c");
    wait_for(has_revoked(one, "0a1b2c") && has_revoked(two, "0a1b2c"));
    ask_to_revoke("77");
    wait_for(has_revoked(one, "77") && has_revoked(two, "77"));
    cr_expect(has_revoked(one, "0a1b2c"), "what was revoked stays revoked");
    cr_expect_str_eq(value_of(CA_SECRET_NAME, "crl-number"), "2\n");
    cr_expect_eq(ca_keeper_stats(one->keeper)->num_crls + ca_keeper_stats(two->keeper)->num_crls,
                 2);
    cr_expect_eq(one->trust->crls.num, 1);
    cr_expect_str_eq(one->failure, "");
}

Test(ca_keeper, a_serial_that_is_none_is_named_and_holds_up_no_other)
{
    struct replica *one = started(0);
    ask_to_revoke("not-a-number");
    ask_to_revoke("77");
    wait_for(has_revoked(one, "77"));
    cr_expect_not_null(strstr(one->failure, "revoked.not-a-number: no certificate has such"), "%s",
                       one->failure);
}

Test(ca_keeper, a_secret_that_was_deleted_is_put_back_by_one)
{
    struct replica *one = started(0);
    struct replica *two = started(1);
    char *key = must_strdup(value_of(CA_SECRET_NAME, "ca.key"));
    fake_store_delete(&stage.store, SECRETS, "mesh/" CA_SECRET_NAME);
    wait_for(secret_of(CA_SECRET_NAME) != NULL);
    cr_expect_str_eq(value_of(CA_SECRET_NAME, "ca.key"), key);
    cr_expect_not_null(strstr(one->failure, "was deleted; its CA stays in force"));
    wait_for(stage.store.num_conflicts >= 1 || ca_keeper_stats(one->keeper)->num_put_back +
                                                       ca_keeper_stats(two->keeper)->num_put_back ==
                                                   1);
    free(key);
}

// What somebody writes into the Secret.
static void write_secret(const char *key, const char *text)
{
    json_t *secret = secret_of(CA_SECRET_NAME);
    uint8_t encoded[1000];
    EVP_EncodeBlock(encoded, (const uint8_t *)text, strlen(text));
    json_object_set_new(json_object_get(secret, "data"), key, json_string((char *)encoded));
    fake_store_touch(&stage.store, SECRETS, secret);
}

Test(ca_keeper, a_secret_that_cannot_be_used_is_named_and_changes_nothing)
{
    struct replica *one = started(0);
    unsigned num = one->num_trusts;
    write_secret("ca.pem", "nonsense");
    wait_for(strstr(one->failure, "the Secret tabard-ca: ca/ca.pem") != NULL);
    write_secret("roots.pem", "");
    cr_expect_eq(one->num_trusts, num);
    struct ca_store store;
    struct err err = {{0}, {0}};
    char path[200];
    snprintf(path, sizeof path, "%s/ca", one->dir);
    cr_expect(ca_store_open(&store, path, &err), "the good one still lies there: %s", err.text);
    ca_store_close(&store);
}

Test(ca_keeper, what_was_in_force_is_put_back_where_the_secret_was_spoiled_before_it_was_deleted)
{
    const struct replica *one = started(0);
    char *pem = must_strdup(value_of(CA_SECRET_NAME, "ca.pem"));
    write_secret("ca.pem", "nonsense");
    wait_for(strstr(one->failure, "the Secret tabard-ca: ca/ca.pem") != NULL);
    fake_store_delete(&stage.store, SECRETS, "mesh/" CA_SECRET_NAME);
    wait_for(secret_of(CA_SECRET_NAME) != NULL);
    cr_expect_str_eq(value_of(CA_SECRET_NAME, "ca.pem"), pem);
    free(pem);
}

Test(ca_keeper, the_ca_of_another_trust_domain_is_refused)
{
    stop(started(0));
    struct replica *two = start(1);
    ca_keeper_set_domain(two->keeper, "other.example");
    wait_for(two->failure[0] != '\0');
    cr_expect_not_null(strstr(two->failure, "its CA is one of the trust domain prod.example, and "
                                            "MeshSettings says other.example"),
                       "%s", two->failure);
    cr_expect_null(two->trust);
}
