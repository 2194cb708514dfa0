// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/findings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define LINE_MAX_BYTES 2048

__attribute__((format(printf, 3, 0))) static void print(struct findings *findings, const char *mark,
                                                        const char *format, va_list values)
{
    char line[LINE_MAX_BYTES];
    vsnprintf(line, sizeof line, format, values);
    for (char *at = line; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == '\x7f') {
            *at = '?';
        }
    }
    fprintf(findings->out, "%s %s\n", mark, line);
}

void findings_good(struct findings *findings, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    print(findings, "√", format, values);
    va_end(values);
    findings->num_good++;
}

void findings_warn(struct findings *findings, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    print(findings, "!", format, values);
    va_end(values);
    findings->num_warnings++;
}

void findings_fault(struct findings *findings, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    print(findings, "×", format, values);
    va_end(values);
    findings->num_faults++;
}

void findings_name(struct findings_names *names, const char *namespace, const char *name)
{
    if (names->num < FINDINGS_NAMES_MAX) {
        size_t len = strlen(names->text);
        bool has_namespace = namespace != NULL && *namespace != '\0';
        snprintf(names->text + len, sizeof names->text - len, "%s%.63s%s%.120s",
                 len == 0 ? "" : ", ", has_namespace ? namespace : "", has_namespace ? "/" : "",
                 name);
    }
    names->num++;
}

const char *findings_names_text(struct findings_names *names)
{
    if (names->num > FINDINGS_NAMES_MAX) {
        size_t len = strlen(names->text);
        snprintf(names->text + len, sizeof names->text - len, " and %u more",
                 names->num - FINDINGS_NAMES_MAX);
    }
    return names->text;
}
