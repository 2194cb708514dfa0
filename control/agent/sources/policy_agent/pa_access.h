// SPDX-License-Identifier: Apache-2.0
//
// `policy_agent` of mesh.yaml, checked: which policy agent to follow and how it proves itself. The
// file source makes one while it reads, and pa_source takes it over. Pure but for the host's name
// and the current folder; bounded by PA_ACCESS_*.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_ACCESS_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/addr.h"
#include "base/err.h"
#include "control/agent/sources/files/mesh_files.h"
#include "control/agent/sources/policy_agent/pa_roots.h"
#include "tabard/v1/mesh.pb-c.h"

#define PA_ACCESS_ADDRESSES_MAX     64
#define PA_ACCESS_NODE_ID_LEN_MAX   255
#define PA_ACCESS_TOKEN_LEN_MAX     4096
#define PA_ACCESS_UNIX_PATH_LEN_MAX 107 // what a socket's address holds
#define PA_ACCESS_STATE_FOLDER      "/var/lib/tabard"

struct pa_access {
    Tabard__V1__MeshConfig__PolicyAgentAccess *config; // owned
    char *unix_path;                                   // owned; NULL: TCP
    struct host_port *host;                            // owned; TCP by name; NULL: addr
    struct addr addr;
    struct pa_roots *roots;   // owned; TCP: what proves the policy agent
    char *join_token;         // owned; NULL: none
    bool is_token_missing;    // a file was named and isn't there
    char *account_token_path; // owned; a service account's token; NULL: none
    char *state_folder;       // owned
    char *node_id;            // owned
    char *owner;        // owned; names this sidecar in the stored state, among those of one host
    uint8_t digest[32]; // of all of it: equal digests mean nothing changed
};

// pa_access_new takes `policy_agent` out of files->config. NULL sets err, located in mesh.yaml.
struct pa_access *pa_access_new(struct mesh_files *files, time_t now, struct err *err);
void pa_access_free(struct pa_access *access); // NULL is allowed

extern const struct source_field pa_field; // see control/agent/sources/sources.h

#endif
