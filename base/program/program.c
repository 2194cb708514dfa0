// SPDX-License-Identifier: Apache-2.0
#include "base/program/program.h"

#include <stdio.h>

size_t program_libraries(const struct program *program,
                         struct library out[static PROGRAM_LIBRARIES_MAX])
{
    size_t num = 0;
    while (num < PROGRAM_LIBRARIES_MAX && program->libraries[num] != NULL) {
        out[num] = program->libraries[num]();
        num++;
    }
    return num;
}

bool program_print_version(const struct program *program)
{
    struct library libraries[PROGRAM_LIBRARIES_MAX];
    size_t num = program_libraries(program, libraries);
    printf("%s %s", program->name, program->version);
    for (size_t i = 0; i < num; i++) {
        printf("%s%s %s", i == 0 ? " (" : ", ", libraries[i].name, libraries[i].version);
    }
    return puts(num > 0 ? ")" : "") >= 0 && fflush(stdout) == 0;
}
