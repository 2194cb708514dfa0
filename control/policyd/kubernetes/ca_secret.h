// SPDX-License-Identifier: Apache-2.0
//
// The CA as a Secret of Kubernetes: its data are the files of a CA's folder (certs/ca/ca_store.h)
// and roots.pem, so that every replica of policyd lays the same folder, and what the code for
// folders has written is put back. An operator revokes a certificate by a key "revoked.SERIAL",
// which asks for a CRL with that serial number. ca_keeper.c reads and writes the Secret; here
// nothing is sent. One thread.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_CA_SECRET_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_CA_SECRET_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "base/err.h"

#define CA_SECRET_NAME         "tabard-ca"
#define CA_SECRET_ROOT_NAME    "tabard-root"
#define CA_SECRET_ROOT_SECONDS (3650 * 86400) // life of a root that we make
#define CA_SECRET_SECONDS      (1825 * 86400) // and of its intermediate

// The files that a Secret holds, by the keys of its data.
#define CA_SECRET_FILES(X)                                                                         \
    X(CA_SECRET_CA, "ca.pem", "ca/ca.pem")             /* the intermediate, then its root */       \
    X(CA_SECRET_KEY, "ca.key", "ca/ca.key")            /* its key */                               \
    X(CA_SECRET_ROOTS, "roots.pem", "roots.pem")       /* those that are trusted */                \
    X(CA_SECRET_CRL, "crl.pem", "ca/crl.pem")          /* once something was revoked */            \
    X(CA_SECRET_REVOKED, "revoked", "ca/revoked")      /* what the CRL is made of */               \
    X(CA_SECRET_NUMBER, "crl-number", "ca/crl-number") /* the CRL's */

enum ca_secret_file {
#define X(name, key, path) name,
    CA_SECRET_FILES(X)
#undef X
        CA_SECRET_NUM_FILES
};

// Zero state: nothing was read.
struct ca_secret {
    char *files[CA_SECRET_NUM_FILES]; // owned, NUL-terminated; NULL: the Secret has none
    char **serials;                   // owned: what the keys "revoked.*" name, as they name it
    size_t num_serials;
    char *version; // owned: resourceVersion
};

// ca_secret_read reads a Secret. false sets err: a file that a CA needs is missing, or is no text.
bool ca_secret_read(struct ca_secret *out, const json_t *secret, struct err *err);
void ca_secret_cleanup(struct ca_secret *secret);

// ca_secret_copy takes one that was read, and fills *out, which is cleaned up by itself.
void ca_secret_copy(struct ca_secret *out, const struct ca_secret *secret);
bool ca_secret_same_files(const struct ca_secret *a, const struct ca_secret *b);

// ca_secret_lay writes the files below `dir`, and removes those that the Secret doesn't have. false
// sets err.
bool ca_secret_lay(const struct ca_secret *secret, const char *dir, struct err *err);

// ca_secret_new makes a root and an intermediate of it: the Secret with the intermediate, and the
// Secret with the root, owned by the caller. `scratch` is a folder that it may write to, and that
// holds nothing afterwards. NULL sets err.
json_t *ca_secret_new(const char *scratch, const char *namespace, const char *trust_domain,
                      time_t now, json_t **out_root, struct err *err);

// ca_secret_write returns a Secret with the same data, to be made anew, owned by the caller.
json_t *ca_secret_write(const struct ca_secret *secret, const char *namespace);

// ca_secret_renew signs a new CRL where one is due: a serial number is asked for that the CRL
// hasn't, or half of its life is over. Returns what is to be merged into the Secret of this very
// version, owned by the caller. NULL: nothing is due, or it fails, which sets err. A serial that is
// none is passed over and named in *out_bad, borrowed from the secret; NULL: none.
json_t *ca_secret_renew(const struct ca_secret *secret, const char *scratch, time_t now,
                        const char **out_bad, struct err *err);

#endif
