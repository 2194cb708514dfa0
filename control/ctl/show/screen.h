// SPDX-License-Identifier: Apache-2.0
//
// Keeps what others wrote (a peer's id in a newer form, an error text, a name of the cluster) from
// reaching the terminal as orders: control characters leave as \xNN. main calls screen_begin before
// anything is printed; it holds for everything that goes to standard output and standard error by
// stdio. One thread.
#ifndef TABARD_CONTROL_CTL_SHOW_SCREEN_H
#define TABARD_CONTROL_CTL_SHOW_SCREEN_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/data/bytes.h"

void screen_begin(void);

// screen_pass_through lets standard output have bytes as they are from now on, for what programs
// read: JSON, in which they stand escaped, and manifests that don't go to a terminal.
void screen_pass_through(void);

// screen_clean makes every text in a message one line, so that none can pass for lines of ours:
// control characters in it become \xNN.
void screen_clean(ProtobufCMessage *message);

// What of a stream's UTF-8 has gone before. Zero state: nothing.
struct screen_state {
    unsigned num_awaited; // bytes that the character under way still takes
    unsigned char held;   // the first byte of what may be a control character; 0: none
};

// screen_push appends text with the C0 and C1 control characters (ECMA-48), DEL, and bytes that no
// UTF-8 accounts for as \xNN. Newlines and tabs stay. A character may come in two pushes; where
// `is_end` is set, none is under way afterwards.
void screen_push(struct bytes *out, struct screen_state *state, const char *text, size_t len,
                 bool is_end);

#endif
