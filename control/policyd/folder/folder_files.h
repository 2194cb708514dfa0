// SPDX-License-Identifier: Apache-2.0
//
// The files of a policyd's folder, read all of one moment: those of the CA, and the pieces of the
// fleet (fleet/*.yaml and *.yml) in the order of their names. It parses nothing; see
// source_folder.h.
#ifndef TABARD_CONTROL_POLICYD_FOLDER_FOLDER_FILES_H
#define TABARD_CONTROL_POLICYD_FOLDER_FOLDER_FILES_H

#include "control/host/files.h"

#define FOLDER_FILE_BYTES_MAX (8u << 20)
#define FOLDER_BYTES_MAX      (256u << 20) // of all of them

// Places in the entries of the files; the pieces follow.
enum folder_entry {
    FOLDER_CA,
    FOLDER_CRL,
    FOLDER_ROOTS,
    FOLDER_CRLS,
    FOLDER_FLEET, // the folder of the pieces
    FOLDER_NUM_FIXED
};

#define FOLDER_IGNORED_BYTES 400

// What was wrong with the folder as a whole, and what of it nobody reads. A file that can't be read
// has its error in its entry.
struct folder_errors {
    bool is_ca_bad;    // all of it
    bool is_fleet_bad; // the pieces can't be listed
    struct err ca;
    struct err fleet;
    char ignored[FOLDER_IGNORED_BYTES]; // names beside the pieces that are none of theirs
};

// folder_files_read reads them all; `before` is the reading before, or has no files. *out holds
// what was looked at also where something is bad; FOLDER_NUM_FIXED entries at least.
void folder_files_read(struct files *out, const struct files *before, const char *dir,
                       struct folder_errors *errors);

// folder_same_ca and folder_same_fleet say whether two readings read the same names and bytes. They
// don't ask whether something was bad.
bool folder_same_ca(const struct files *a, const struct files *b);
bool folder_same_fleet(const struct files *a, const struct files *b);

#endif
