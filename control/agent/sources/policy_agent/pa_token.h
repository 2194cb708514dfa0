// SPDX-License-Identifier: Apache-2.0
//
// The token of a Kubernetes service account, which the kubelet writes anew before it expires.
// pa_source reads it for each stream and for each signing request, and wipes it once it is sent. It
// keeps nothing; bounded by PA_TOKEN_LEN_MAX.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TOKEN_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TOKEN_H

#include <stddef.h>

#include "base/err.h"

#define PA_TOKEN_LEN_MAX 16384

// pa_token_read returns the token, to be given to pa_token_free. NULL sets err, which names the
// file: it can't be read, is empty, or is not one line of printable characters.
char *pa_token_read(const char *path, struct err *err);

void pa_token_free(char *token); // wipes it; NULL is allowed

// pa_token_parse copies the one line that bytes hold, without its end, malloc'd. NULL: they hold
// anything else, or more than len_max characters.
char *pa_token_parse(const char *bytes, size_t len, size_t len_max);

#endif
