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
#include <stdint.h>

#include "base/err.h"
#include "control/intercept/asked.h"

#define RECORD_FOLDER    "/run/tabard-interception" // its own: a service manager may empty the other
#define RECORD_BYTES_MAX (1u << 20)

// What an `up` or a `down` of this namespace is doing.
struct record_turn {
    bool is_under_way;
    int64_t begun_ns; // when the last one began; 0: none did, or nobody can tell
};

// record_begin tells, until record_end or the end of the process, that rules, routes and record are
// being changed, so that what is half made is no loss. It returns what record_end wants; where
// nothing can be written, or another one doesn't end, nothing is told, and that is no failure.
int record_begin(void);
void record_end(int turn);

struct record_turn record_turn(void);

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
