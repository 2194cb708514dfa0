// SPDX-License-Identifier: Apache-2.0
//
// `inbound_ports` of a sidecar's mesh.yaml, from the two annotations that say how ports are served:
// "9090=PLAINTEXT,8000-8010=PERMISSIVE" and "50051=h2,8080=h2+http/1.1". settings.c calls it. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_INBOUND_PORTS_H
#define TABARD_CONTROL_KUBE_INJECT_INBOUND_PORTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

// inbound_ports_check_modes and inbound_ports_check_alpn say whether a text has the form of its
// annotation, and whether a sidecar would take these ports. false sets err.
bool inbound_ports_check_modes(const char *modes, struct err *err);
bool inbound_ports_check_alpn(const char *alpn, struct err *err);

// inbound_ports_make joins the two, either of which may be NULL: a port that only `alpn` names is
// MTLS. Returns an array, empty where both are NULL. NULL sets err: a sidecar would refuse them.
json_t *inbound_ports_make(const char *modes, const char *alpn, struct err *err);

#endif
