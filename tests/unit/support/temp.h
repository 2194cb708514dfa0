// SPDX-License-Identifier: Apache-2.0
//
// A folder of a test's own, gone when the test is over. A test that needs one gives temp_set_up and
// temp_tear_down as its .init and .fini and finds the path in temp_folder; one that needs more
// calls temp_make and temp_remove. What can't fail on a sound machine aborts.
#ifndef TABARD_TESTS_UNIT_SUPPORT_TEMP_H
#define TABARD_TESTS_UNIT_SUPPORT_TEMP_H

#include <stddef.h>

#define TEMP_PATH_BYTES 80 // so short that a Unix socket's path fits below

extern char temp_folder[TEMP_PATH_BYTES];
void temp_set_up(void);
void temp_tear_down(void);

// temp_make makes an empty folder and writes its path; temp_remove removes one with what is in it.
void temp_make(char out_path[TEMP_PATH_BYTES]);
void temp_remove(const char *path);

// temp_write makes a file of a folder or writes it anew.
void temp_write(const char *folder, const char *name, const void *bytes, size_t len);

// temp_read reads a file's first size - 1 bytes, and a NUL; a file that isn't there is empty.
void temp_read(const char *folder, const char *name, char *out, size_t size);

#endif
