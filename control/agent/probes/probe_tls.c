// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/probe_tls.h"

#include "base/log.h"
#include "base/must.h"

SSL_CTX *probe_tls_new(void)
{
    SSL_CTX *ctx = must_have(SSL_CTX_new(TLS_method()));
    invariant(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}
