// SPDX-License-Identifier: Apache-2.0
//
// The libraries that Tabard names with their versions. Each is a module of its own, so that a
// program links none that it doesn't use; struct program (program.h) lists those that it
// links. The texts live as long as the program.
#ifndef TABARD_BASE_PROGRAM_LIBRARY_H
#define TABARD_BASE_PROGRAM_LIBRARY_H

struct library {
    const char *name;    // as its authors write it
    const char *label;   // the same as a label of a metric
    const char *version; // as the library that is linked or loaded says it
};

// BoringSSL has no versions: its API's number, and what it was built from, as in "API 44 of
// boring-sys 5.4.0" or "API 44 of an installed prefix".
struct library library_boringssl(void);
struct library library_libuv(void);
struct library library_protobuf_c(void);
struct library library_nghttp2(void);

#endif
