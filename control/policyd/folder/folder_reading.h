// SPDX-License-Identifier: Apache-2.0
//
// One reading of a policyd's folder: its files as they stood at one moment, and the fleet and the
// trust made of them, or of what is good of them. source_folder.c reads one after another, each
// with the one before. Zero state: nothing was read. Any thread, one at a time.
#ifndef TABARD_CONTROL_POLICYD_FOLDER_FOLDER_READING_H
#define TABARD_CONTROL_POLICYD_FOLDER_FOLDER_READING_H

#include "base/data/bytes.h"
#include "control/policyd/ca/ca_trust_apart.h"
#include "control/policyd/folder/folder_files.h"
#include "control/policyd/folder/source_folder.h"

enum folder_part { FOLDER_PART_FLEET, FOLDER_PART_TRUST, FOLDER_NUM_PARTS };

// The files as read at one moment, and the fleet and trust made of them.
struct folder_reading {
    struct files files;
    struct fleet *fleet;       // owned; with is_ok of all that is there, else of what is good of it
    struct ca_trust *trust;    // owned; the same
    struct ca_trust_good good; // the texts that the trust was made of
    bool is_ok[FOLDER_NUM_PARTS];
    bool is_same[FOLDER_NUM_PARTS];       // as the last usable one
    struct bytes wrong[FOLDER_NUM_PARTS]; // texts, each with its NUL: what is refused
    char ignored[FOLDER_IGNORED_BYTES];
};

// folder_reading_read reads into *now, which is in its zero state. `good` has the texts of the
// trust in force; it may be NULL where there is none.
void folder_reading_read(struct folder_reading *now, const char *dir,
                         const struct folder_reading *last,
                         const struct source_folder_in_force *in_force,
                         const struct ca_trust_good *good);

void folder_reading_cleanup(struct folder_reading *reading);

#endif
