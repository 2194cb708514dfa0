// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over the files named on the command line, so that every build checks the
// seeds, with or without a fuzzer. The fuzzer itself is clang's: see fuzz.sh.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            fprintf(stderr, "%s can't be opened\n", argv[i]);
            return 1;
        }
        size_t len = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        // A copy of exact size, so that a sanitizer sees a read beyond the end.
        uint8_t *copy = malloc(len == 0 ? 1 : len);
        if (copy == NULL) {
            return 1;
        }
        for (size_t k = 0; k < len; k++) {
            copy[k] = bytes[k];
        }
        LLVMFuzzerTestOneInput(copy, len);
        free(copy);
    }
    printf("%d seeds\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
