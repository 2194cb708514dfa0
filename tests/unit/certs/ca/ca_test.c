// SPDX-License-Identifier: Apache-2.0
//
// tabard-ca as a program, and what OpenSSL makes of its files.
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

#define OUTPUT_MAX 65536

static char output[OUTPUT_MAX]; // of the last command, standard error included

// Runs a shell command in the test's folder, with $CA for the program; returns its exit code.
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
    char command[4096];
    va_list args;
    int len = snprintf(command, sizeof command, "cd %s && { ", temp_folder);
    va_start(args, format);
    len += vsnprintf(command + len, sizeof command - (size_t)len, format, args);
    va_end(args);
    snprintf(command + len, sizeof command - (size_t)len, "; } 2>&1");
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    size_t num = fread(output, 1, sizeof output - 1, pipe);
    output[num] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool says(const char *words)
{
    return strstr(output, words) != NULL;
}

static mode_t mode_of(const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0;
}

static void set_up(void)
{
    char *program = realpath(getenv("TABARD_CA"), NULL);
    cr_assert_not_null(program, "TABARD_CA names no program");
    setenv("CA", program, 1);
    free(program);
    temp_set_up();
    cr_assert_eq(run("$CA init --dir ca --trust-domain demo.example"), 0, "%s", output);
}

TestSuite(ca, .init = set_up, .fini = temp_tear_down, .timeout = 60);

#define ISSUE "$CA issue --dir ca --id spiffe://demo.example/ns/shop/sa/web "

Test(ca, a_leaf_is_issued_and_openssl_agrees)
{
    cr_assert_eq(run(ISSUE "--dns web.local --out-cert web.pem --out-key web.key"), 0, "%s",
                 output);
    cr_expect_eq(mode_of("web.key"), 0600);
    cr_expect_eq(mode_of("ca/ca.key"), 0600);
    cr_expect_eq(run("openssl verify -x509_strict -purpose sslserver -CAfile ca/ca.pem web.pem"), 0,
                 "%s", output);
    cr_expect_eq(run("openssl verify -x509_strict -purpose sslclient -CAfile ca/ca.pem web.pem"), 0,
                 "%s", output);
    cr_expect_eq(run("openssl x509 -in web.pem -noout -text"), 0, "%s", output);
    cr_expect(says("URI:spiffe://demo.example/ns/shop/sa/web, DNS:web.local"), "%s", output);
    cr_expect(says("X509v3 Subject Alternative Name: critical"), "%s", output);
    cr_expect(says("CA:FALSE"), "%s", output);
    cr_expect_eq(run("test \"$(openssl pkey -in web.key -pubout)\" = "
                     "\"$(openssl x509 -in web.pem -noout -pubkey)\""),
                 0, "key and certificate differ");
    cr_expect_eq(run("$CA show web.pem"), 0, "%s", output);
    cr_expect(says("spiffe id: spiffe://demo.example/ns/shop/sa/web\n"), "%s", output);
    cr_expect(says("remaining "), "%s", output);
    cr_expect(says("is ca: no\n"), "%s", output);
    cr_expect(says("key: ECDSA P-256\n"), "%s", output);
}

Test(ca, ed25519_serves_for_ca_and_leaf)
{
    cr_assert_eq(run("$CA init --dir ed --trust-domain demo.example --key ed25519 --days 2"), 0);
    cr_assert_eq(run("$CA issue --dir ed --id spiffe://demo.example/a --key ed25519 --out-cert "
                     "a.pem --out-key a.key"),
                 0, "%s", output);
    cr_expect_eq(run("openssl verify -x509_strict -CAfile ed/ca.pem a.pem"), 0, "%s", output);
    cr_expect_eq(run("$CA show a.pem"), 0);
    cr_expect(says("key: Ed25519\nsignature: ED25519\n"), "%s", output);
    cr_expect_eq(run("$CA revoke --dir ed --cert a.pem"), 0, "%s", output);
    cr_expect_eq(run("openssl crl -in ed/crl.pem -noout -CAfile ed/ca.pem"), 0, "%s", output);
    cr_expect(says("verify OK"), "%s", output);
}

Test(ca, ml_dsa_serves_for_ca_and_leaf_and_beside_other_kinds)
{
    cr_assert_eq(run("$CA init --dir pq --trust-domain demo.example --key ml-dsa-65"), 0);
    cr_assert_eq(run("$CA init --dir low --parent pq --key ml-dsa-44"), 0, "%s", output);
    cr_assert_eq(run("$CA issue --dir low --id spiffe://demo.example/a --key ml-dsa-44 --out-cert "
                     "pq.pem --out-key pq.key"),
                 0, "%s", output);
    cr_expect_eq(run("$CA show pq.pem"), 0);
    cr_expect(says("key: ML-DSA-44\nsignature: id-ml-dsa-44\n"), "%s", output);
    cr_expect(says("key: ML-DSA-44\nsignature: id-ml-dsa-65\n"), "%s", output);
    cr_expect_eq(run("$CA revoke --dir low --cert pq.pem && $CA show low/crl.pem"), 0, "%s",
                 output);
    cr_expect(says("signature: id-ml-dsa-44\n"), "%s", output);
    cr_assert_eq(run("$CA issue --dir low --id spiffe://demo.example/a --out-cert mixed.pem "
                     "--out-key mixed.key"),
                 0, "%s", output);
    cr_expect_eq(run("$CA show mixed.pem"), 0);
    cr_expect(says("key: ECDSA P-256\nsignature: id-ml-dsa-44\n"), "%s", output);
    cr_assert_eq(run("$CA issue --dir ca --id spiffe://demo.example/a --key ml-dsa-65 --out-cert "
                     "other.pem --out-key other.key"),
                 0, "%s", output);
    cr_expect_eq(run("$CA show other.pem"), 0);
    cr_expect(says("key: ML-DSA-65\nsignature: ecdsa-with-SHA256\n"), "%s", output);
}

Test(ca, nothing_is_overwritten_but_by_force)
{
    cr_expect_eq(run("$CA init --dir ca --trust-domain demo.example"), 1);
    cr_expect(says("ca/ca.pem: is there already"), "%s", output);
    cr_assert_eq(run(ISSUE "--out-cert web.pem --out-key web.key"), 0);
    cr_assert_eq(run("cp web.pem old.pem; cp web.key old.key"), 0);
    cr_expect_eq(run(ISSUE "--out-cert web.pem --out-key web.key"), 1);
    cr_expect(says("web.pem: is there already"), "%s", output);
    cr_expect_eq(run(ISSUE "--out-cert new.pem --out-key web.key"), 1);
    cr_expect(says("web.key: is there already"), "%s", output);
    cr_expect_eq(run("cmp web.pem old.pem && cmp web.key old.key && test ! -e new.pem"), 0);
    cr_expect_eq(run("chmod 644 web.key; " ISSUE "--out-cert web.pem --out-key web.key --force"), 0,
                 "%s", output);
    cr_expect_neq(run("cmp -s web.pem old.pem"), 0);
    cr_expect_neq(run("cmp -s web.key old.key"), 0);
    cr_expect_eq(mode_of("web.key"), 0600);
}

Test(ca, a_disk_that_is_full_leaves_nothing_half_written)
{
    cr_assert_eq(run(ISSUE "--out-cert web.pem --out-key web.key"), 0);
    cr_assert_eq(run("$CA revoke --dir ca --refresh"), 0);
    cr_assert_eq(run("mkdir .was; cat web.pem web.key ca/* > .was/bytes; ls . ca > .was/names"), 0);
    // Not a byte can be written to any file. The pipe that carries the message is none.
    cr_expect_eq(
        run("(trap '' XFSZ; ulimit -f 0; " ISSUE "--out-cert web.pem --out-key web.key --force)"),
        1, "%s", output);
    cr_expect(says("web.key: can't be written: File too large"), "%s", output);
    cr_expect_eq(run("(trap '' XFSZ; ulimit -f 0; $CA revoke --dir ca --serial 1234)"), 1);
    cr_expect(says("ca/revoked: can't be written"), "%s", output);
    cr_expect_eq(run("(trap '' XFSZ; ulimit -f 0; $CA init --dir ca2 --trust-domain a.example)"),
                 1);
    cr_expect_eq(run("rmdir ca2"), 0, "ca2 holds something: %s", output);
    cr_expect_eq(run("test -s ca/revoked"), 1, "half a line is in ca/revoked");
    cr_expect_eq(run("rm -f ca/revoked; ls . ca | diff - .was/names && "
                     "cat web.pem web.key ca/* | cmp - .was/bytes"),
                 0, "%s", output);
}

Test(ca, revocation_makes_a_crl_that_openssl_obeys)
{
    cr_assert_eq(run(ISSUE "--out-cert a.pem --out-key a.key"), 0);
    cr_assert_eq(run(ISSUE "--out-cert b.pem --out-key b.key"), 0);
    cr_assert_eq(run("$CA revoke --dir ca --refresh --crl empty.pem"), 0, "%s", output);
    cr_expect_eq(run("openssl verify -crl_check -CAfile ca/ca.pem -CRLfile empty.pem a.pem"), 0,
                 "%s", output);
    cr_assert_eq(run("$CA revoke --dir ca --cert a.pem --crl-hours 2"), 0, "%s", output);
    cr_expect(says("ca/crl.pem: 1 revoked"), "%s", output);
    cr_expect_neq(run("openssl verify -crl_check -CAfile ca/ca.pem -CRLfile ca/crl.pem a.pem"), 0);
    cr_expect(says("certificate revoked"), "%s", output);
    cr_expect_eq(run("openssl verify -crl_check -CAfile ca/ca.pem -CRLfile ca/crl.pem b.pem"), 0,
                 "%s", output);
    cr_expect_eq(run("$CA revoke --dir ca --cert a.pem"), 0);
    cr_expect(says("1 revoked (that one was already)"), "%s", output);
    cr_expect_eq(run("$CA revoke --dir ca --serial $(openssl x509 -in b.pem -noout -serial | "
                     "cut -d= -f2)"),
                 0, "%s", output);
    cr_expect(says("2 revoked"), "%s", output);
    cr_expect_neq(run("openssl verify -crl_check -CAfile ca/ca.pem -CRLfile ca/crl.pem b.pem"), 0);
    cr_expect_eq(run("$CA show ca/crl.pem"), 0);
    cr_expect(says("crl number: 0x04\n"), "%s", output);
    cr_expect(says("revoked: 2\n"), "%s", output);
    // A certificate of another CA can't be revoked here.
    cr_assert_eq(run("$CA init --dir other --trust-domain demo.example"), 0);
    cr_expect_eq(run("$CA revoke --dir other --cert a.pem"), 1);
    cr_expect(says("was not signed by the CA in other"), "%s", output);
}

Test(ca, a_fresh_crl_keeps_those_of_other_issuers_in_its_file)
{
    cr_assert_eq(run(ISSUE "--out-cert a.pem --out-key a.key"), 0);
    cr_assert_eq(run("$CA revoke --dir ca --cert a.pem --crl all.pem"), 0, "%s", output);
    cr_assert_eq(run("$CA init --dir new --trust-domain demo.example"), 0, "%s", output);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(run("$CA revoke --dir new --refresh --crl all.pem"), 0, "%s", output);
        cr_expect_eq(run("test $(grep -c BEGIN all.pem) = 2"), 0, "%s", output);
        cr_expect_neq(run("openssl verify -crl_check -CAfile ca/ca.pem -CRLfile all.pem a.pem"), 0);
        cr_expect(says("certificate revoked"), "%s", output);
    }
    cr_expect_eq(run("openssl crl -in all.pem -noout -CAfile new/ca.pem"), 0, "its own is first");
    // What might hold others is not written over.
    cr_assert_eq(run("echo garbage > broken.pem"), 0);
    cr_expect_eq(run("$CA revoke --dir new --refresh --crl broken.pem"), 1);
    cr_expect(says("isn't overwritten"), "%s", output);
    cr_expect_eq(run("grep -q garbage broken.pem"), 0);
}

Test(ca, an_intermediate_signs_and_its_leaf_comes_with_it)
{
    cr_assert_eq(run("$CA init --dir mid --parent ca"), 0, "%s", output);
    cr_assert_eq(run("$CA issue --dir mid --id spiffe://demo.example/a --out-cert a.pem --out-key "
                     "a.key"),
                 0, "%s", output);
    cr_expect_eq(run("test $(grep -c BEGIN a.pem) = 2"), 0, "leaf and intermediate");
    cr_expect_eq(run("openssl verify -x509_strict -CAfile ca/ca.pem -untrusted a.pem a.pem"), 0,
                 "%s", output);
    cr_expect_eq(run("$CA init --dir mid2 --parent ca --trust-domain other.example"), 1);
    cr_expect(says("is a CA of the trust domain demo.example"), "%s", output);
}

Test(ca, a_request_of_openssl_is_signed_with_the_granted_names_only)
{
    cr_assert_eq(run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
                     "r.key -out r.csr -subj /CN=x -addext "
                     "subjectAltName=URI:spiffe://demo.example/r,DNS:r.local"),
                 0, "%s", output);
    cr_expect_eq(run("$CA show r.csr"), 0, "%s", output);
    cr_expect(says("proof of possession: good"), "%s", output);
    cr_expect_eq(run("$CA sign-csr --dir ca --csr r.csr --id spiffe://demo.example/r --out-cert "
                     "r.pem"),
                 1);
    cr_expect(says("r.csr: the signing request: it asks for a name that it is not granted"), "%s",
              output);
    cr_expect_eq(run("$CA sign-csr --dir ca --csr r.csr --id spiffe://demo.example/r --dns r.local "
                     "--out-cert r.pem"),
                 0, "%s", output);
    cr_expect_eq(run("openssl verify -x509_strict -CAfile ca/ca.pem r.pem"), 0, "%s", output);
    cr_expect_eq(run("openssl x509 -in r.pem -noout -subject"), 0);
    cr_expect(!says("CN"), "the request's subject was taken: %s", output);
}

Test(ca, two_at_once_lose_no_line)
{
    cr_assert_eq(run("for i in 1 2 3 4 5 6 7 8; do $CA revoke --dir ca --serial 10$i & done; wait"),
                 0, "%s", output);
    cr_expect_eq(run("$CA revoke --dir ca --refresh"), 0);
    cr_expect(says("8 revoked"), "%s", output);
    cr_expect_eq(run("test $(cat ca/crl-number) = 9"), 0, "a CRL number was given twice");
}

struct usage_row {
    const char *args;
    int code;
    const char *words;
};

Test(ca, each_mistake_ends_in_one_line_that_names_it)
{
    static const struct usage_row rows[] = {
        {"", 2, "usage: tabard-ca COMMAND"},
        {"isue", 2, "isue: no such command; there are init, issue, sign-csr, revoke and show"},
        {"issue --dirr ca", 2, "--dirr: no such flag; there are --dir, --key, --id"},
        {"issue --dir", 2, "--dir needs a value; --help says which"},
        {"issue --dir ca --dir ca", 2, "--dir is given twice"},
        {"issue --dir=", 2, "--dir is empty"},
        {"issue --dir ca", 2, "--id is missing"},
        {"issue ca", 2, "\"ca\" belongs to no flag"},
        {"issue --hours 0", 2, "--hours: \"0\" is not a number from 1 to"},
        {"issue --hours 1x", 2, "--hours: \"1x\" is not a number"},
        {"issue --key rsa", 2,
         "--key: \"rsa\" is not a kind of key (p256|ed25519|ml-dsa-44|ml-dsa-65)"},
        {"issue --key", 2, "--key needs a value: p256|ed25519|ml-dsa-44|ml-dsa-65 would be right"},
        {"issue --key=ml-dsa-44 --key=p256", 2, "--key is given twice"},
        {"issue --force=1", 2, "--force takes no value"},
        {"issue --days 1", 2, "--days: no such flag"},
        {"issue --dir ca --id spiffe://demo.example/a --out-cert a --out-key a", 2, "same file"},
        {"issue --dir ca --id spiffe://demo.example/a --out-cert a --out-key b --hours 1 "
         "--seconds 1",
         2, "exclude each other"},
        {"init --dir x", 2, "--trust-domain is missing"},
        {"init --dir x --trust-domain spiffe://a", 1, "bare name \"a\""},
        {"init --dir /proc/x --trust-domain a", 1, "/proc/x: can't be made a folder"},
        {"revoke --dir ca", 2, "one of --cert FILE, --serial HEX and --refresh"},
        {"revoke --dir ca --refresh --serial 1", 2, "one of --cert"},
        {"revoke --dir ca --serial xyz", 1, "\"xyz\" is not a serial number"},
        {"revoke --dir ca --cert ca/ca.key", 1, "a block of \"PRIVATE KEY\""},
        {"issue --dir no --id spiffe://demo.example/a --out-cert a --out-key b", 1,
         "no/ca.pem: No such file"},
        {"issue --dir ca --id spiffe://other.example/a --out-cert a --out-key b", 1,
         "signs only for demo.example: spiffe://demo.example/a"},
        {"issue --dir ca --id spiffe://demo.example --out-cert a --out-key b", 1, "has a path"},
        {"issue --dir ca --id spiffe://demo.example/a --hours 9999 --out-cert a --out-key b", 1,
         "outlive its CA"},
        {"issue --dir ca --id spiffe://demo.example/a --dns 'a b' --out-cert a --out-key b", 1,
         "\"a b\" is not a DNS name"},
        {"issue --dir ca --id spiffe://demo.example/a --out-cert no/a --out-key b", 1,
         "no/a: can't be created"},
        {"issue --dir ca --id spiffe://demo.example/a --out-cert a --out-key no/b", 1,
         "no/b: can't be created"},
        {"sign-csr --dir ca --csr ca/ca.pem --id spiffe://demo.example/a --out-cert a", 1,
         "ca/ca.pem: not a PEM signing request"},
        {"show", 2, "FILE is missing"},
        {"show a b", 2, "\"b\": too many words"},
        {"show ca/ca.key", 1, "holds a private key"},
        {"show ca", 1, "ca: is a directory, not a regular file"},
        {"show ca/lock", 1, "no \"-----BEGIN CERTIFICATE-----\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int code = run("$CA %s", rows[i].args);
        cr_expect_eq(code, rows[i].code, "%s: exit %d: %s", rows[i].args, code, output);
        cr_expect(says(rows[i].words), "%s: %s", rows[i].args, output);
        cr_expect(i == 0 || strchr(output, '\n') == output + strlen(output) - 1,
                  "%s: more than one line: %s", rows[i].args, output);
        cr_expect_eq(run("test ! -e a && test ! -e b && ! ls *.draft-* 2>/dev/null"), 0,
                     "%s left something: %s", rows[i].args, output);
    }
}

Test(ca, help_and_version_are_no_mistakes)
{
    cr_expect_eq(run("$CA --help"), 0);
    cr_expect(says("sign-csr   signs the key"), "%s", output);
    cr_expect_eq(run("$CA issue --help"), 0);
    cr_expect(says("usage: tabard-ca issue") && says("--out-key FILE "), "%s", output);
    cr_expect_eq(run("$CA --version"), 0);
    cr_expect(says("BoringSSL API"), "%s", output);
}

Test(ca, a_strangers_certificate_is_shown_without_its_control_characters)
{
    cr_assert_eq(run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
                     "k -out c.pem -utf8 -subj \"/CN=$(printf 'a\\033[31mb')\" -days 1"),
                 0, "%s", output);
    cr_expect_eq(run("$CA show c.pem"), 0, "%s", output);
    cr_expect(strchr(output, '\033') == NULL, "an escape came through");
    cr_expect(says("[31mb"), "%s", output);
}

// What policyd and agents take of one file: 64 CRLs, 8 MiB.
Test(ca, a_crl_that_nobody_would_read_does_not_replace_one_that_is_read)
{
    cr_assert_eq(run("$CA revoke --dir ca --refresh --crl one.pem"), 0, "%s", output);
    cr_assert_eq(run("mkdir cas; for i in $(seq 64); do $CA init --dir cas/$i --trust-domain "
                     "demo.example && $CA revoke --dir cas/$i --refresh --crl all.pem || exit 9; "
                     "done"),
                 0, "%s", output);
    cr_assert_eq(run("cp all.pem kept.pem; $CA revoke --dir ca --refresh --crl all.pem"), 1);
    cr_expect(says("all.pem: 65 CRLs with this one, and nobody reads more than 64"), "%s", output);
    cr_assert_eq(run("cmp all.pem kept.pem"), 0);
    cr_expect_eq(run("$CA revoke --dir cas/64 --refresh --crl all.pem"), 0, "its own stands there");
    cr_assert_eq(run("seq -f '%%012.0f0102030405060708090a0b 1' 190000 > ca/revoked"), 0);
    cr_expect_eq(run("$CA revoke --dir ca --refresh --crl one.pem"), 1);
    cr_expect(says("nobody reads more than 8388608"), "%s", output);
    cr_expect_eq(run("openssl crl -in one.pem -noout -CAfile ca/ca.pem"), 0, "%s", output);
}

Test(ca, everybody_may_read_a_crl_whatever_the_umask)
{
    cr_assert_eq(run("umask 077; $CA revoke --dir ca --refresh"), 0, "%s", output);
    cr_expect_eq(mode_of("ca/crl.pem"), 0644);
}
