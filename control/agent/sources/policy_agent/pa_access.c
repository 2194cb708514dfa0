// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_access.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "certs/identity.h"
#include "control/agent/sources/policy_agent/pa_token.h"

#define UNIX_PREFIX "unix:"

// Sets err at a field of policy_agent; the caller locates it.
#define REFUSE(err, field, ...) err_set_at(err, "policy_agent." field, __VA_ARGS__)

static bool read_roots(struct pa_access *access, const struct files_entry *file,
                       const struct spiffe_id *identity, time_t now, struct err *err)
{
    char domain[SPIFFE_TRUST_DOMAIN_LEN_MAX + 1];
    snprintf(domain, sizeof domain, "%.*s", (int)identity->domain_len, identity->domain);
    access->roots = pa_roots_new(domain, file->file.bytes, file->file.len, file->name, now, err);
    if (access->roots == NULL) {
        snprintf(err->where, sizeof err->where, "policy_agent.roots");
    }
    return access->roots != NULL;
}

static bool read_tcp(struct pa_access *access, const struct mesh_files *files, time_t now,
                     struct err *err)
{
    const Tabard__V1__MeshConfig__PolicyAgentAccess *config = access->config;
    struct spiffe_id identity;
    struct host_port host;
    struct err no_name = {{0}, {0}};
    if (host_port_parse(&host, config->address, &no_name)) {
        access->host = must_alloc(1, sizeof host);
        *access->host = host;
    } else if (!addr_parse(&access->addr, config->address, false, err)) {
        err_prefix(err, "neither unix:PATH nor IP:PORT nor HOST:PORT");
        return REFUSE(err, "address", "%s", err->text);
    }
    if (config->identity[0] == '\0') {
        return REFUSE(err, "identity", "missing: the SPIFFE id that the policy agent must prove");
    }
    if (!spiffe_workload_parse(&identity, config->identity, strlen(config->identity), err)) {
        return REFUSE(err, "identity", "%s", err->text);
    }
    if (config->trust_domain[0] != '\0' &&
        (strlen(config->trust_domain) != identity.domain_len ||
         memcmp(config->trust_domain, identity.domain, identity.domain_len) != 0)) {
        return REFUSE(err, "trust_domain", "\"%s\" is not that of policy_agent.identity",
                      config->trust_domain);
    }
    const struct files_entry *roots = mesh_files_named(files, "policy_agent.roots");
    if (roots == NULL) {
        return REFUSE(err, "roots",
                      "missing: the PEM file of the certificates that prove the policy agent");
    }
    return read_roots(access, roots, &identity, now, err);
}

static bool read_unix(struct pa_access *access, const struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig__PolicyAgentAccess *config = access->config;
    // What nobody checks on a Unix socket must not stand there as if it were checked.
    const char *field = config->identity[0] != '\0'       ? "policy_agent.identity"
                        : config->roots[0] != '\0'        ? "policy_agent.roots"
                        : config->trust_domain[0] != '\0' ? "policy_agent.trust_domain"
                                                          : NULL;
    if (field != NULL) {
        return err_set_at(err, field, "for TCP only: on a Unix socket the file's owner is trusted");
    }
    const char *name = config->address + strlen(UNIX_PREFIX);
    access->unix_path = mesh_files_path(files, name);
    return (name[0] != '\0' && strlen(access->unix_path) <= PA_ACCESS_UNIX_PATH_LEN_MAX) ||
           REFUSE(err, "address", "a socket's path has 1 to %d bytes", PA_ACCESS_UNIX_PATH_LEN_MAX);
}

static bool read_token(struct pa_access *access, const struct mesh_files *files, struct err *err)
{
    const struct files_entry *file = mesh_files_named(files, "policy_agent.join_token");
    if (file == NULL) {
        return true;
    }
    if (file->file.bytes == NULL) {
        access->is_token_missing = true;
        return true;
    }
    access->join_token = pa_token_parse(file->file.bytes, file->file.len, PA_ACCESS_TOKEN_LEN_MAX);
    return access->join_token != NULL ||
           REFUSE(err, "join_token", "%s: one line of 1 to %d printable characters is needed",
                  file->name, PA_ACCESS_TOKEN_LEN_MAX);
}

// The token of a service account changes by itself, so it is not among the watched files.
static bool read_account(struct pa_access *access, const struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig__PolicyAgentAccess *config = access->config;
    if (config->service_account_token[0] != '\0') {
        access->account_token_path = mesh_files_path(files, config->service_account_token);
    }
    if (!config->keep_identity) {
        return true;
    }
    if (config->key != TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__KEY__KEY_UNSPECIFIED) {
        return REFUSE(err, "key", "keep_identity asks for no certificate: leave out one of both");
    }
    if (!mesh_config_has(files->config, "identity")) {
        return REFUSE(err, "keep_identity", "there is no identity in mesh.yaml to be kept");
    }
    return (access->account_token_path == NULL && config->join_token[0] == '\0') ||
           REFUSE(err, "keep_identity",
                  "a token asks for another certificate: leave out service_account_token and "
                  "join_token");
}

static bool read_node(struct pa_access *access, struct err *err)
{
    const Tabard__V1__MeshConfig__PolicyAgentAccess *config = access->config;
    struct spiffe_id id;
    if (config->spiffe_id[0] != '\0' &&
        !spiffe_workload_parse(&id, config->spiffe_id, strlen(config->spiffe_id), err)) {
        return REFUSE(err, "spiffe_id", "%s", err->text);
    }
    if (config->n_addresses > PA_ACCESS_ADDRESSES_MAX) {
        return REFUSE(err, "addresses", "%zu are over the limit of %d", config->n_addresses,
                      PA_ACCESS_ADDRESSES_MAX);
    }
    for (size_t i = 0; i < config->n_addresses; i++) {
        struct ip ip;
        if (!ip_parse(&ip, config->addresses[i], err)) {
            return err_prefix_where(err, "policy_agent.addresses[%zu]", i);
        }
    }
    char host[PA_ACCESS_NODE_ID_LEN_MAX + 1] = {0};
    if (config->node_id[0] == '\0' && gethostname(host, sizeof host - 1) != 0) {
        return REFUSE(err, "node_id", "missing, and the host has no name");
    }
    access->node_id = must_strdup(config->node_id[0] != '\0' ? config->node_id : host);
    return strlen(access->node_id) <= PA_ACCESS_NODE_ID_LEN_MAX ||
           REFUSE(err, "node_id", "longer than %d bytes", PA_ACCESS_NODE_ID_LEN_MAX);
}

// Two sidecars of one host may share the folder by mistake. Neither may serve by the other's state.
static bool make_owner(struct pa_access *access, const struct mesh_files *files, struct err *err)
{
    const char *mesh = files->files.entries[0].path;
    char *folder = mesh[0] == '/' ? must_strdup("") : getcwd(NULL, 0);
    if (folder == NULL) {
        return err_set(err, "the current folder is gone");
    }
    size_t cap = strlen(access->node_id) + strlen(mesh) + strlen(folder) + sizeof " by /";
    access->owner = must_alloc(cap, 1);
    snprintf(access->owner, cap, "%s by %s%s%s", access->node_id, folder,
             folder[0] != '\0' ? "/" : "", mesh);
    free(folder);
    return true;
}

static void digest(struct pa_access *access, const struct mesh_files *files)
{
    size_t len = 0;
    uint8_t *packed = pb_copy_packed(&access->config->base, &len);
    const struct files_entry *roots = mesh_files_named(files, "policy_agent.roots");
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, packed, len);
    if (roots != NULL) {
        SHA256_Update(&sha, roots->file.bytes, roots->file.len);
    }
    if (access->join_token != NULL) {
        SHA256_Update(&sha, access->join_token, strlen(access->join_token) + 1);
    }
    SHA256_Final(access->digest, &sha);
    free(packed);
}

// A join token is single-use, so its file may be gone by now. It stays among the watched files: a
// new one is seen.
static bool name_join_token(struct mesh_files *files, const char *name, struct err *err)
{
    struct err why = {{0}, {0}};
    if (mesh_files_name(files, "policy_agent.join_token", name, NULL, true, &why)) {
        return true;
    }
    const struct files_entry *file = mesh_files_named(files, "policy_agent.join_token");
    return (file != NULL && file->file.stamp.error == ENOENT) || err_set(err, "%s", why.text);
}

static bool name_files(struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig__PolicyAgentAccess *config = files->config->policy_agent;
    return mesh_files_name(files, "policy_agent.roots", config->roots, NULL, false, err) &&
           name_join_token(files, config->join_token, err);
}

struct pa_access *pa_access_new(struct mesh_files *files, time_t now, struct err *err)
{
    struct pa_access *access = must_alloc(1, sizeof *access);
    struct err why = {{0}, {0}};
    access->config = files->config->policy_agent;
    files->config->policy_agent = NULL;
    const char *state = access->config->state;
    access->state_folder = mesh_files_path(files, *state != '\0' ? state : PA_ACCESS_STATE_FOLDER);
    bool is_unix = strncmp(access->config->address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
    bool ok = access->config->address[0] != '\0' ||
              REFUSE(&why, "address", "missing: unix:PATH, IP:PORT or HOST:PORT");
    ok = ok && (is_unix ? read_unix(access, files, &why) : read_tcp(access, files, now, &why)) &&
         read_token(access, files, &why) && read_account(access, files, &why) &&
         read_node(access, &why) && make_owner(access, files, &why);
    if (!ok) {
        mesh_files_locate(files, &why);
        err_set(err, "%s", why.text);
        pa_access_free(access);
        return NULL;
    }
    digest(access, files);
    return access;
}

void pa_access_free(struct pa_access *access)
{
    if (access == NULL) {
        return;
    }
    if (access->config != NULL) {
        protobuf_c_message_free_unpacked(&access->config->base, NULL);
    }
    pa_token_free(access->join_token);
    pa_roots_free(access->roots);
    free(access->unix_path);
    free(access->host);
    free(access->account_token_path);
    free(access->state_folder);
    free(access->node_id);
    free(access->owner);
    free(access);
}

static void *on_access_new(struct mesh_files *files, time_t now, struct err *err)
{
    return pa_access_new(files, now, err);
}

static void on_access_free(void *access)
{
    pa_access_free(access);
}

static const char *on_access_address(const void *access)
{
    return ((const struct pa_access *)access)->config->address;
}

const struct source_field pa_field = {
    .name = "policy agent",
    .field = "policy_agent",
    .fills = 1u << SNAPSHOT_IDENTITY | 1u << SNAPSHOT_BUNDLES | 1u << SNAPSHOT_RULES,
    // A certificate that admits the sidecar serves until one was issued.
    .stands_in = 1u << SNAPSHOT_IDENTITY,
    .name_files = name_files,
    .access_new = on_access_new,
    .access_free = on_access_free,
    .access_address = on_access_address,
};
