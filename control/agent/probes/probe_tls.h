// SPDX-License-Identifier: Apache-2.0
//
// TLS for probes over https, as the kubelet's: from TLS 1.2 on, and without a look at the server's
// certificate, since a probe asks whether the application answers and trusts nothing that it says.
#ifndef TABARD_CONTROL_AGENT_PROBES_PROBE_TLS_H
#define TABARD_CONTROL_AGENT_PROBES_PROBE_TLS_H

#include <openssl/ssl.h>

// probe_tls_new returns a context for clients, the caller's.
SSL_CTX *probe_tls_new(void);

#endif
