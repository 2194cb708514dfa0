// SPDX-License-Identifier: Apache-2.0
#include "control/agent/interception/opens.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 16384 };

// The number below a name: "Tcp: A B" stands above "Tcp: 1 2".
static uint64_t value_of(const char *names, const char *values, const char *wanted)
{
    size_t wanted_len = strlen(wanted);
    while (*names != '\0' && *names != '\n' && *values != '\0' && *values != '\n') {
        size_t len = strcspn(names, " \n");
        if (len == wanted_len && memcmp(names, wanted, len) == 0) {
            return strtoull(values, NULL, 10);
        }
        size_t value_len = strcspn(values, " \n");
        names += len + (names[len] == ' ');
        values += value_len + (values[value_len] == ' ');
    }
    return 0;
}

uint64_t opens_parse(const char *text)
{
    static const char line[] = "\nTcp: ";
    const char *names = strstr(text, line);
    const char *values = names == NULL ? NULL : strstr(names + 1, line);
    if (values == NULL) {
        return 0;
    }
    names += strlen(line);
    values += strlen(line);
    return value_of(names, values, "ActiveOpens") + value_of(names, values, "PassiveOpens");
}

uint64_t opens_count(void)
{
    char text[TEXT_BYTES_MAX];
    FILE *file = fopen("/proc/net/snmp", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) {
        fclose(file);
    }
    text[len] = '\0';
    return opens_parse(text);
}
