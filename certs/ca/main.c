// SPDX-License-Identifier: Apache-2.0
//
// tabard-ca: a mesh CA in a folder. One row of `commands` is a subcommand; ca_flags.c has the
// flags.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/secret/secret.h"
#include "base/version.h"
#include "certs/der_list.h"
#include "certs/ca/ca_flags.h"
#include "certs/ca/ca_show.h"
#include "certs/ca/ca_store.h"
#include "certs/ca/mint.h"

#define DAY_SECONDS       86400
#define HOUR_SECONDS      3600
#define CA_DAYS           365
#define INTERMEDIATE_DAYS 90
#define PATH_TEXT_MAX     4096

static bool check_init(const struct ca_options *options, struct err *err)
{
    return options->parent != NULL || options->trust_domain != NULL ||
           err_set(err, "--trust-domain is missing (or --parent, for an intermediate CA)");
}

static bool run_init(const struct ca_options *options, struct err *err)
{
    uint32_t days = options->days != 0        ? options->days
                    : options->parent == NULL ? CA_DAYS
                                              : INTERMEDIATE_DAYS;
    if (!ca_store_create(options->dir, options->parent, options->key, options->trust_domain,
                         time(NULL), (time_t)days * DAY_SECONDS, err)) {
        return false;
    }
    printf("%s/ca.pem\n", options->dir);
    return true;
}

static time_t leaf_seconds(const struct ca_options *options)
{
    if (options->seconds != 0) {
        return options->seconds;
    }
    return options->hours == 0 ? MINT_LEAF_SECONDS : (time_t)options->hours * HOUR_SECONDS;
}

static struct mint_leaf leaf_of(const struct ca_options *options)
{
    time_t now = time(NULL);
    return (struct mint_leaf){
        .spiffe_id = options->id,
        .dns_names = options->dns,
        .num_dns_names = options->num_dns,
        .not_before = now - MINT_BACKDATE_SECONDS,
        .not_after = now + leaf_seconds(options),
    };
}

// Puts a certificate, and its key if there is one, into their places: both or none. Both are on the
// disk in full before the first is moved.
static bool write_leaf(const struct ca_options *options, const struct ca_store *store, X509 *leaf,
                       EVP_PKEY *key, struct err *err)
{
    struct file_draft cert_draft = {0};
    struct file_draft key_draft = {0};
    char *cert_pem = ca_store_chain_pem(store, leaf);
    char *key_pem = key == NULL ? NULL : mint_key_pem(key);
    bool ok = (key == NULL || file_draft_write(&key_draft, options->out_key, key_pem, 0600, err)) &&
              file_draft_write(&cert_draft, options->out_cert, cert_pem, 0644, err) &&
              ca_store_record(store, leaf, options->id, err) &&
              (key == NULL || file_draft_commit(&key_draft, options->force, err)) &&
              file_draft_commit(&cert_draft, options->force, err);
    if (!ok) {
        file_draft_abandon(&key_draft);
        file_draft_abandon(&cert_draft);
    }
    secret_free(key_pem);
    free(cert_pem);
    return ok;
}

static bool check_issue(const struct ca_options *options, struct err *err)
{
    return strcmp(options->out_cert, options->out_key) != 0 ||
           err_set(err, "--out-cert and --out-key name the same file");
}

static bool run_issue(const struct ca_options *options, struct err *err)
{
    struct ca_store store = {0};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    bool ok = false;
    if (!options->force &&
        (!file_is_free(options->out_cert, err) || !file_is_free(options->out_key, err))) {
        err_prefix(err, "without --force");
        goto out;
    }
    if (!ca_store_open(&store, options->dir, err)) {
        goto out;
    }
    const struct mint_leaf leaf = leaf_of(options);
    key = mint_key_new(options->key, err);
    cert = key == NULL ? NULL : mint_leaf_new(&store.ca, key, &leaf, err);
    ok = cert != NULL && write_leaf(options, &store, cert, key, err);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    ca_store_close(&store);
    return ok;
}

static X509_REQ *read_csr(const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    if (!file_read_text(&text, &len, path, STORE_CERT_BYTES_MAX, err)) {
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    X509_REQ *csr = bio == NULL ? NULL : PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    free(text);
    ERR_clear_error();
    if (csr == NULL) {
        err_set(err, "%s: not a PEM signing request (\"-----BEGIN CERTIFICATE REQUEST-----\")",
                path);
    }
    return csr;
}

static bool run_sign_csr(const struct ca_options *options, struct err *err)
{
    struct ca_store store = {0};
    EVP_PKEY *key = NULL;
    X509 *cert = NULL;
    X509_REQ *csr = NULL;
    const struct mint_leaf leaf = leaf_of(options);
    bool ok = (options->force || file_is_free(options->out_cert, err) ||
               err_prefix(err, "without --force")) &&
              ca_store_open(&store, options->dir, err) &&
              (csr = read_csr(options->csr, err)) != NULL &&
              (mint_csr_check(&key, csr, &leaf, err) || err_prefix(err, "%s", options->csr)) &&
              (cert = mint_leaf_new(&store.ca, key, &leaf, err)) != NULL &&
              write_leaf(options, &store, cert, NULL, err);
    X509_free(cert);
    EVP_PKEY_free(key);
    X509_REQ_free(csr);
    ca_store_close(&store);
    return ok;
}

// Reads the serial number of a certificate that this CA signed.
static ASN1_INTEGER *serial_of(const struct ca_store *store, const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    struct der_list list = {0};
    ASN1_INTEGER *serial = NULL;
    if (!file_read_text(&text, &len, path, STORE_CERT_BYTES_MAX, err) ||
        !der_list_from_pem(&list, "CERTIFICATE", text, len, STORE_CHAIN_MAX, path, err)) {
        free(text);
        return NULL;
    }
    const uint8_t *end = list.items[0];
    X509 *cert = d2i_X509(NULL, &end, (long)list.lens[0]);
    if (cert == NULL || X509_verify(cert, store->ca.key) != 1) {
        err_set(err, "%s: was not signed by the CA in %s", path, store->dir);
    } else {
        serial = ASN1_INTEGER_dup(X509_get0_serialNumber(cert));
    }
    ERR_clear_error();
    X509_free(cert);
    der_list_cleanup(&list);
    free(text);
    return serial;
}

static bool check_revoke(const struct ca_options *options, struct err *err)
{
    return (options->cert != NULL) + (options->serial != NULL) + options->refresh == 1 ||
           err_set(err, "one of --cert FILE, --serial HEX and --refresh says what to do");
}

static bool run_revoke(const struct ca_options *options, struct err *err)
{
    char path[PATH_TEXT_MAX];
    struct ca_store store = {0};
    ASN1_INTEGER *serial = NULL;
    bool was_known = false;
    size_t num = 0;
    time_t now = time(NULL);
    bool ok = ca_store_open(&store, options->dir, err);
    if (ok && !options->refresh) {
        serial = options->cert != NULL ? serial_of(&store, options->cert, err)
                                       : mint_serial_parse(options->serial, err);
        ok = serial != NULL && ca_store_revoke(&store, serial, now, &was_known, err);
    }
    time_t life =
        options->crl_hours == 0 ? MINT_CRL_SECONDS : (time_t)options->crl_hours * HOUR_SECONDS;
    if (options->crl != NULL) {
        snprintf(path, sizeof path, "%s", options->crl);
    } else {
        snprintf(path, sizeof path, "%s/crl.pem", options->dir);
    }
    ok = ok && ca_store_write_crl(&store, path, now, life, &num, err);
    if (ok) {
        printf("%s: %zu revoked%s\n", path, num, was_known ? " (that one was already)" : "");
    }
    ASN1_INTEGER_free(serial);
    ca_store_close(&store);
    return ok;
}

static bool run_show(const struct ca_options *options, struct err *err)
{
    struct file file;
    bool ok = (file_read(&file, options->file, SHOW_BYTES_MAX, FILE_SECRET, err) ||
               err_prefix(err, "%s", options->file)) &&
              ca_show(stdout, file.bytes, file.len, options->file, time(NULL), err);
    file_cleanup(&file);
    return ok;
}

#define HELP_KEY_KIND "  --key KIND         of which kind its key is: " MINT_KEY_KINDS " (p256)\n"
#define HELP_NAMES                                                                                 \
    "  --id ID            the SPIFFE id that it proves, spiffe://TRUST-DOMAIN/PATH\n"              \
    "  --dns NAME         a DNS name that it proves besides; may be repeated\n"
#define HELP_LIFE                                                                                  \
    "  --hours N          how long it lives (1)\n"                                                 \
    "  --seconds N        the same in seconds\n"

static const struct ca_command commands[] = {
    {"init", "makes a CA, or an intermediate one",
     "--dir DIR (--trust-domain TD | --parent DIR) [flags]",
     "Makes a CA: ca.pem and ca.key in DIR. Nothing is overwritten.\n"
     "\n"
     "  --dir DIR          the folder in which it is made\n"
     "  --trust-domain TD  a root of this trust domain, as in demo.example\n"
     "  --parent DIR       an intermediate CA, which the CA in that folder signs\n"
     "  --days N           how long it lives (365; an intermediate 90)\n" HELP_KEY_KIND,
     "dir", "dir trust-domain parent key days", check_init, run_init},
    {"issue", "makes a key and a workload's certificate",
     "--dir DIR --id spiffe://... --out-cert FILE --out-key FILE [flags]",
     "Makes a key and a workload's certificate, with the intermediates above it.\n"
     "\n"
     "  --dir DIR          the CA's folder\n" HELP_NAMES
     "  --out-cert FILE    where the certificate goes\n"
     "  --out-key FILE     where its key goes, mode 0600\n" HELP_LIFE HELP_KEY_KIND
     "  --force            replaces files that are there already, each in one step\n",
     "dir id out-cert out-key", "dir id out-cert out-key dns hours seconds key force", check_issue,
     run_issue},
    {"sign-csr", "signs the key of a signing request",
     "--dir DIR --csr FILE --id spiffe://... --out-cert FILE [flags]",
     "Signs the key of a signing request. The names are those of --id and --dns; a request that\n"
     "asks for any other is refused.\n"
     "\n"
     "  --dir DIR          the CA's folder\n"
     "  --csr FILE         the request, PEM\n" HELP_NAMES
     "  --out-cert FILE    where the certificate goes\n" HELP_LIFE
     "  --force            replaces a file that is there already, in one step\n",
     "dir csr id out-cert", "dir csr id out-cert dns hours seconds force", NULL, run_sign_csr},
    {"revoke", "revokes a certificate, or renews the CRL",
     "--dir DIR (--cert FILE | --serial HEX | --refresh) [flags]",
     "Revokes one certificate and writes a fresh CRL. CRLs of other issuers stay in the file.\n"
     "\n"
     "  --dir DIR          the CA's folder\n"
     "  --cert FILE        the certificate\n"
     "  --serial HEX       the certificate by its serial number, as show prints it\n"
     "  --refresh          none: writes the CRL alone\n"
     "  --crl FILE         where the CRL goes (DIR/crl.pem)\n"
     "  --crl-hours N      how long the CRL is good (24)\n",
     "dir", "dir cert serial refresh crl crl-hours", check_revoke, run_revoke},
    {"show", "prints what a file of certificates holds", "FILE",
     "Prints a certificate chain, a CRL or a signing request in words.\n", "file", "file", NULL,
     run_show},
};
#define NUM_COMMANDS (sizeof commands / sizeof commands[0])

static const struct program program = {
    .name = "tabard-ca",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl},
};

static void print_help(FILE *out)
{
    fputs("usage: tabard-ca COMMAND [flags]\n\n"
          "A certificate authority for a Tabard mesh, in a folder.\n\n",
          out);
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].does);
    }
    fputs("\n  --help     prints this; after a command, its flags\n"
          "  --version  prints the version\n"
          "\nExit status: 0 done, 1 not done, 2 for a wrong flag.\n",
          out);
}

int main(int argc, char **argv)
{
    log_init(program.name, LOG_LEVEL_WARN);
    process_signals();
    process_harden();
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return !program_print_version(&program);
    }
    const struct ca_command *command = NULL;
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            command = &commands[i];
        }
    }
    if (command == NULL) {
        fprintf(
            stderr,
            "tabard-ca: %s: no such command; there are init, issue, sign-csr, revoke and show\n",
            argv[1]);
        return 2;
    }
    struct ca_options options = {0};
    struct err err = {0};
    switch (ca_flags_parse(&options, command, argc - 1, argv + 1, &err)) {
    case CA_FLAGS_HELP:
        printf("usage: tabard-ca %s %s\n\n%s", command->name, command->usage, command->help);
        return 0;
    case CA_FLAGS_WRONG:
        fprintf(stderr, "tabard-ca %s: %s\n", command->name, err.text);
        return 2;
    case CA_FLAGS_OK:
        break;
    }
    process_keep_secrets();
    if (!command->run(&options, &err)) {
        fprintf(stderr, "tabard-ca %s: %s\n", command->name, err.text);
        return 1;
    }
    if (fflush(stdout) != 0) {
        fprintf(stderr, "tabard-ca %s: standard output can't be written\n", command->name);
        return 1;
    }
    return 0;
}
