// SPDX-License-Identifier: Apache-2.0
//
// A trust made of files of which some are bad, so that these hold up nothing else: no revocation
// waits for another list, or for a root. source_folder.c calls ca_trust_new_apart where
// ca_trust_new refuses the files together. Pure; bounded as ca_trust.h.
//
// Nothing opens by it. While a list is bad, each list in force stays until a newer one of its
// issuer comes, and no root comes in: its own list may be the bad one. A root that leaves, leaves.
#ifndef TABARD_CONTROL_POLICYD_CA_CA_TRUST_APART_H
#define TABARD_CONTROL_POLICYD_CA_CA_TRUST_APART_H

#include "control/policyd/ca/ca_trust.h"

#define CA_TRUST_FAULTS_MAX  8
#define CA_TRUST_FAULT_BYTES 600

struct ca_trust_faults {
    char texts[CA_TRUST_FAULTS_MAX][CA_TRUST_FAULT_BYTES];
    size_t num;
};

void ca_trust_fault(struct ca_trust_faults *faults, const char *text);

// The texts of a trust in force, to fall back on. Owned; zero state: none.
struct ca_trust_good {
    char *ca, *crl, *roots, *crls;
};

void ca_trust_good_set(struct ca_trust_good *good, const struct ca_trust_texts *texts);
struct ca_trust_texts ca_trust_good_texts(const struct ca_trust_good *good); // borrowed
void ca_trust_good_cleanup(struct ca_trust_good *good);

// ca_trust_new_apart makes a trust of `texts`, in which each file that can't be read has the text
// that is in force; is_list_bad: one of these is a list. It adds to *faults what it refuses, and
// fills *out_good with the texts that it used. NULL: nothing is left that is not in force already.
struct ca_trust *ca_trust_new_apart(const struct ca_trust_texts *texts, bool is_list_bad,
                                    const struct ca_trust_good *good,
                                    const struct ca_trust *in_force, time_t now,
                                    struct ca_trust_faults *faults, struct ca_trust_good *out_good);

#endif
