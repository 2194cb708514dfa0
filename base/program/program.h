// SPDX-License-Identifier: Apache-2.0
//
// What a program is: its name, its version and the libraries that it links. Each program has one,
// constant, for
// --version and its metric build_info.
#ifndef TABARD_BASE_PROGRAM_PROGRAM_H
#define TABARD_BASE_PROGRAM_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/program/library.h"

#define PROGRAM_LIBRARIES_MAX 4

struct program {
    const char *name;
    const char *version;
    struct library (*libraries[PROGRAM_LIBRARIES_MAX])(void); // NULL after the last
};

// program_libraries asks each library and returns how many there are.
size_t program_libraries(const struct program *program,
                         struct library out[static PROGRAM_LIBRARIES_MAX]);

// program_print_version prints one line, as "tabard-proxy 0.1.0 (BoringSSL API 44 of boring-sys
// 5.4.0, libuv 1.44.2)". false: stdout didn't take it.
bool program_print_version(const struct program *program);

#endif
