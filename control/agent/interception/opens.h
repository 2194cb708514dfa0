// SPDX-License-Identifier: Apache-2.0
//
// How many TCP connections were opened in this network namespace, by whomever and either way, as
// the kernel counts them. Any thread.
#ifndef TABARD_CONTROL_AGENT_INTERCEPTION_OPENS_H
#define TABARD_CONTROL_AGENT_INTERCEPTION_OPENS_H

#include <stdint.h>

// opens_count returns ActiveOpens and PassiveOpens of RFC 4022, added up, since the namespace
// began; 0: the kernel doesn't tell.
uint64_t opens_count(void);

// opens_parse reads the text of /proc/net/snmp.
uint64_t opens_parse(const char *text);

#endif
