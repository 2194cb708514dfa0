// SPDX-License-Identifier: Apache-2.0
//
// What `tabardctl intercept up` was asked for in this network namespace: its words, kept below
// RECORD_FOLDER until `down`, under the namespace's cookie (SO_NETNS_COOKIE, Linux 5.14), which
// no other one gets before the next boot. By it the agent knows which rules there must be, also
// after its own restart, and that rules which are gone together with their record were taken down
// on purpose. `tabardctl` writes it before it changes anything. Any thread; bounded by
// RECORD_BYTES_MAX.
#ifndef TABARD_CONTROL_INTERCEPT_RECORD_H
#define TABARD_CONTROL_INTERCEPT_RECORD_H

#include <stdbool.h>

#include "base/err.h"
#include "control/intercept/asked.h"

#define RECORD_FOLDER    "/run/tabard-interception" // its own: a service manager may empty the other
#define RECORD_BYTES_MAX (1u << 20)

// record_write keeps the words argv[1] and on, one a line, in the place of an earlier record. false
// sets err; a read-only file system, a container's, keeps nothing and is no failure.
bool record_write(int argc, char **argv, struct err *err);

// record_read returns the words as they were written, malloc'd; NULL: there is no record of this
// namespace since the last boot, or, with err set, it can't be read or is another user's.
char *record_read(struct err *err);

// record_restore puts back what record_read returned; NULL: removes the record.
void record_restore(const char *words);

// record_parse reads the words of a record; their `action` is not kept. false sets err.
bool record_parse(struct asked *out, const char *words, struct err *err);

#endif
