// SPDX-License-Identifier: Apache-2.0
//
// Writes the seeds of the fuzz target of certs/ into a folder, for fuzz.sh: they hold certificates
// and signatures of ML-DSA, which are large, so they are made anew and not kept.
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/certs_seeds.h"

static bool write_seed(const char *folder, const struct certs_seed *seed)
{
    char path[4096];
    uint8_t *bytes = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s/%s", folder, seed->name);
    FILE *file = fopen(path, "wb");
    bool ok =
        file != NULL && certs_seed_make(seed, &bytes, &len) && fwrite(bytes, 1, len, file) == len;
    ok = file != NULL && fclose(file) == 0 && ok;
    free(bytes);
    return ok;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < certs_seeds_num; i++) {
        if (argc != 2 || !write_seed(argv[1], &certs_seeds[i])) {
            fprintf(stderr, "usage: certs_seeds FOLDER, which can be written to\n");
            return 1;
        }
    }
    return 0;
}
