// SPDX-License-Identifier: Apache-2.0
//
// The files of a policyd's folder, read all of one moment: those of the CA, and the pieces of the
// fleet in the order of their names. It parses nothing; see source_folder.h.
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

// folder_files_read reads them all. false sets err; *out holds what was looked at all the same.
bool folder_files_read(struct files *out, const char *dir, struct err *err);

// folder_same_ca and folder_same_fleet say whether two readings read the same names and bytes.
bool folder_same_ca(const struct files *a, const struct files *b);
bool folder_same_fleet(const struct files *a, const struct files *b);

#endif
