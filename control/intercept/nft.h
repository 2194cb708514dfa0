// SPDX-License-Identifier: Apache-2.0
//
// Speaks to nf_tables of this network namespace through libnftables. intercept.c and verify.c call
// nft_check first, which says in plain words what is missing.
#ifndef TABARD_CONTROL_INTERCEPT_NFT_H
#define TABARD_CONTROL_INTERCEPT_NFT_H

#include <stdbool.h>

#include "base/err.h"

// nft_check checks what libnftables doesn't report: without the capability or without nf_tables it
// writes to standard error or ends the process. false sets err.
bool nft_check(struct err *err);

// nft_load does one batch, the whole or nothing. false sets err.
bool nft_load(const char *text, struct err *err);

// nft_list prints a table ("inet tabard") as nftables writes it, counters without their numbers.
// Malloc'd, the caller's. false sets err: there is none, for instance.
bool nft_list(char **out, const char *table, struct err *err);

#endif
