// SPDX-License-Identifier: Apache-2.0
//
// Denials as a table for people.
#ifndef TABARD_CONTROL_CTL_SHOW_AUDIT_TABLE_H
#define TABARD_CONTROL_CTL_SHOW_AUDIT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tabard/v1/dataplane.pb-c.h"

// audit_table_print prints denials, a line each, with a headline. An entry of a lower generation
// than this gets a star. Nothing is printed where there are none.
void audit_table_print(Tabard__V1__Denial *const *denials, size_t num, uint64_t generation,
                       int64_t now_unix_ms);

#endif
