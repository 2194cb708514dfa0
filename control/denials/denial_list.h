// SPDX-License-Identifier: Apache-2.0
//
// Lists of what would be denied (Denial, tabard/v1/dataplane.proto), put together out of several:
// the agent adds up what the proxy's workers count, tabardctl what the sidecars of a workload do.
// Pure.
#ifndef TABARD_CONTROL_DENIALS_DENIAL_LIST_H
#define TABARD_CONTROL_DENIALS_DENIAL_LIST_H

#include <stddef.h>

#include "tabard/v1/dataplane.pb-c.h"

// denial_list_merge adds up the entries that differ in nothing but their counts and dates, and
// sorts the list: those that were denied most often come first. Returns how many entries are left.
// It changes the entries that it keeps, and frees none: those that were added to another one stand
// behind the ones that are left.
size_t denial_list_merge(Tabard__V1__Denial **list, size_t num);

#endif
