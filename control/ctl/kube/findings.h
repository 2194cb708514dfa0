// SPDX-License-Identifier: Apache-2.0
//
// What `tabardctl check --kubernetes` found, one line for each thing that was looked at: a mark,
// what is the case, and what to do about it. Lines are printed as they are found; the counts say at
// the end how it went.
#ifndef TABARD_CONTROL_CTL_KUBE_FINDINGS_H
#define TABARD_CONTROL_CTL_KUBE_FINDINGS_H

#include <stdio.h>

struct findings {
    FILE *out; // borrowed
    unsigned num_good;
    unsigned num_warnings; // something to look at; the mesh does its work
    unsigned num_faults;   // something doesn't work, or wouldn't
};

// Each prints one line. What a cluster said may stand in it: bytes that a terminal obeys are shown
// as '?'.
void findings_good(struct findings *findings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void findings_warn(struct findings *findings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void findings_fault(struct findings *findings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define FINDINGS_NAMES_MAX 3 // that are listed; of the others only their number is said

// Names that one line lists. Zero state: {0}.
struct findings_names {
    char text[600];
    unsigned num;
};

// findings_name adds one, as NAMESPACE/NAME, or NAME alone where `namespace` is NULL or empty.
void findings_name(struct findings_names *names, const char *namespace, const char *name);

// findings_names_text ends the list ("shop/web-1, shop/web-2, shop/web-3 and 9 more") and returns
// it.
const char *findings_names_text(struct findings_names *names);

#endif
