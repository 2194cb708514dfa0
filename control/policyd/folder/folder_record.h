// SPDX-License-Identifier: Apache-2.0
//
// What is in force of a policyd's folder, kept beside it as DIR/in-force (FolderRecord), so that a
// start goes on from there when something in the folder is bad: else one bad file would hold up
// everything from the next start on, and nobody would know any more what it said before. Whoever
// may write to the folder may write this file, too; it holds no key. source_folder.c writes it
// before something comes into force, and reads it when a start has failed. Any thread, one at a
// time.
#ifndef TABARD_CONTROL_POLICYD_FOLDER_FOLDER_RECORD_H
#define TABARD_CONTROL_POLICYD_FOLDER_FOLDER_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "control/policyd/ca/ca_trust_apart.h"
#include "control/policyd/fleet/fleet.h"

#define FOLDER_RECORD_NAME "in-force"

// What was written last. Zero state: nothing.
struct folder_record {
    uint8_t digest[32];
};

// folder_record_write writes the fleet and the texts of the trust, unless they are what it wrote
// last. false sets err; the record before then stays.
bool folder_record_write(struct folder_record *record, const char *dir, const struct fleet *fleet,
                         const struct ca_trust_good *good, struct err *err);

// folder_record_read makes a fleet and a trust of the record, by the same checks as of the folder,
// and fills *out_good. false sets err; then nothing is made.
bool folder_record_read(const char *dir, struct fleet **out_fleet, struct ca_trust **out_trust,
                        struct ca_trust_good *out_good, struct err *err);

#endif
