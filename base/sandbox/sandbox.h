// SPDX-License-Identifier: Apache-2.0
//
// What a program gave up at its start, layer by layer: which layers are in force, and why one is
// not. The program fills it once, and says it to whoever asks; docs/sandbox.md says what each layer
// is. Pure.
#ifndef TABARD_BASE_SANDBOX_SANDBOX_H
#define TABARD_BASE_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SANDBOX_WHY_MAX 160 // bytes of a layer's `why`, with the NUL

// A build with a sanitizer that makes threads, reads files and debugs the program itself has
// neither a filter of system calls nor Landlock for files, and says so.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED     1
#define SANDBOX_SANITIZED_WHY "a sanitizer's build: its reports take files and system calls"
#endif

enum sandbox_mode {
    SANDBOX_ON,       // every layer that the kernel has
    SANDBOX_OFF,      // none, for debugging
    SANDBOX_REQUIRED, // every layer, or the program doesn't start
};

#define SANDBOX_MODES_TEXT "on, off or required"

enum sandbox_layer {
    SANDBOX_USER,
    SANDBOX_NO_NEW_PRIVILEGES,
    SANDBOX_CAPABILITIES,
    SANDBOX_NOT_DUMPABLE,
    SANDBOX_KEYS,
    SANDBOX_LIMITS,
    SANDBOX_FILES,
    SANDBOX_PORTS,
    SANDBOX_SCOPES,
    SANDBOX_SYSTEM_CALLS,
    SANDBOX_NUM_LAYERS,
};

enum sandbox_state {
    SANDBOX_UNUSED, // this program has no such layer
    SANDBOX_IN_FORCE,
    SANDBOX_MISSING,
};

struct sandbox_facts {
    struct {
        enum sandbox_state state;
        char why[SANDBOX_WHY_MAX]; // missing: why; in force: what is left open, mostly empty
    } layers[SANDBOX_NUM_LAYERS];
};

// sandbox_mode_parse reads "on", "off" or "required"; false sets err.
bool sandbox_mode_parse(enum sandbox_mode *out, const char *text, struct err *err);

// sandbox_mode_text is what sandbox_mode_parse reads.
const char *sandbox_mode_text(enum sandbox_mode mode);

// sandbox_layer_text is a layer's name in the status and the metrics, as "landlock_files".
const char *sandbox_layer_text(enum sandbox_layer layer);

// sandbox_layer_parse reads such a name; false: there is no such layer.
bool sandbox_layer_parse(enum sandbox_layer *out, const char *text);

// sandbox_set notes what became of a layer. `why` as above, "" for none; a longer one is cut.
void sandbox_set(struct sandbox_facts *facts, enum sandbox_layer layer, enum sandbox_state state,
                 const char *why);

// sandbox_all_off notes each of the layers in force as missing, since the operator wants none.
void sandbox_all_off(struct sandbox_facts *facts, const enum sandbox_layer *layers, size_t num);

// sandbox_check says whether the facts are good enough for the mode: with SANDBOX_REQUIRED a layer
// that is missing is an error, which names it. SANDBOX_USER alone is the operator's choice, and no
// kernel's.
bool sandbox_check(const struct sandbox_facts *facts, enum sandbox_mode mode, struct err *err);

// sandbox_log says in one line which layers are in force, and in a warning each that is missing.
void sandbox_log(const struct sandbox_facts *facts);

#endif
