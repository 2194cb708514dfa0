// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/mesh_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "certs/bundle.h"

#define READ_TRIES_MAX 5

// The path as it was looked for, where mesh.yaml's own name for it isn't already that.
static bool file_error(const struct mesh_file *file, struct err *err, const char *what)
{
    if (strcmp(file->name, file->path) == 0) {
        return err_set(err, "%s: %s", file->name, what);
    }
    return err_set(err, "%s: %s (looked for %s)", file->name, what, file->path);
}

static bool read_file(struct mesh_file *file, struct err *err)
{
    struct file read;
    struct err why = {{0}, {0}};
    bool ok = file_read(&read, file->path, MESH_FILE_BYTES_MAX, FILE_ANY, &why);
    file->bytes = read.bytes;
    file->bytes_len = read.len;
    file->signature = read.stamp;
    return ok || file_error(file, err, why.text);
}

char *mesh_files_path(const struct mesh_files *files, const char *name)
{
    const char *mesh_path = files->num_files > 0 ? files->files[0].path : NULL;
    const char *slash = mesh_path != NULL ? strrchr(mesh_path, '/') : NULL;
    int folder_len = slash != NULL && name[0] != '/' ? (int)(slash - mesh_path) + 1 : 0;
    size_t path_len = (size_t)folder_len + strlen(name);
    char *path = malloc(path_len + 1);
    if (path != NULL) {
        snprintf(path, path_len + 1, "%.*s%s", folder_len, folder_len > 0 ? mesh_path : "", name);
    }
    return path;
}

// Adds a file that mesh.yaml names, relative to mesh.yaml's own folder, and reads it.
static bool add_file(struct mesh_files *files, const char *name, size_t *out_index, struct err *err)
{
    struct mesh_file *grown =
        reallocarray(files->files, files->num_files + 1, sizeof *files->files);
    if (grown == NULL) {
        return err_set(err, "%s: out of memory", name);
    }
    files->files = grown;
    struct mesh_file *file = &files->files[files->num_files];
    *file = (struct mesh_file){0};
    file->name = strdup(name);
    file->path = mesh_files_path(files, name);
    if (file->name == NULL || file->path == NULL) {
        free(file->name);
        free(file->path);
        return err_set(err, "%s: out of memory", name);
    }
    *out_index = files->num_files++;
    if (!read_file(file, err)) {
        return false;
    }
    files->bytes_len += file->bytes_len;
    if (files->bytes_len > MESH_FILES_BYTES_MAX) {
        return file_error(file, err, "makes the files of this mesh.yaml exceed 64 MiB in all");
    }
    return true;
}

// Reads the file that a field names; `needed` says what the field is for where it must not be
// empty.
static bool add_named(struct mesh_files *files, const char *where, const char *name,
                      const char *needed, size_t *out_index, struct err *err)
{
    if (name[0] == '\0') {
        if (needed == NULL) {
            return true;
        }
        err_set_at(err, where, "missing: %s", needed);
        return mesh_files_locate(files, err);
    }
    if (!add_file(files, name, out_index, err)) {
        snprintf(err->where, sizeof err->where, "%s", where);
        return mesh_files_locate(files, err);
    }
    return true;
}

static bool read_bundles(struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig *config = files->config;
    if (config->n_trust_bundles == 0) {
        return true;
    }
    if (config->n_trust_bundles > TRUST_BUNDLES_MAX) {
        err_set_at(err, "trust_bundles", "%zu are more than %d", config->n_trust_bundles,
                   TRUST_BUNDLES_MAX);
        return mesh_files_locate(files, err);
    }
    files->bundles = calloc(config->n_trust_bundles, sizeof *files->bundles);
    if (files->bundles == NULL) {
        return err_set(err, "out of memory");
    }
    for (size_t i = 0; i < config->n_trust_bundles; i++) {
        const Tabard__V1__MeshConfig__BundleFiles *bundle = config->trust_bundles[i];
        char where[64];
        snprintf(where, sizeof where, "trust_bundles[%zu].roots", i);
        if (!add_named(files, where, bundle->roots,
                       "the PEM file of the root certificates of this trust domain",
                       &files->bundles[i].roots, err)) {
            return false;
        }
        snprintf(where, sizeof where, "trust_bundles[%zu].crls", i);
        if (!add_named(files, where, bundle->crls, NULL, &files->bundles[i].crls, err)) {
            return false;
        }
    }
    return true;
}

static bool read_identity(struct mesh_files *files,
                          const Tabard__V1__MeshConfig__IdentityFiles *identity, struct err *err)
{
    return add_named(files, "identity.certificate", identity->certificate,
                     "the PEM file of this workload's certificate, leaf first", &files->certificate,
                     err) &&
           add_named(files, "identity.key", identity->key, "the PEM file of the certificate's key",
                     &files->key, err);
}

// A join token is used once: its file may be gone after that, and is looked for again.
static bool read_join_token(struct mesh_files *files, const char *name, struct err *err)
{
    struct err why = {{0}, {0}};
    if (add_named(files, "policy_agent.join_token", name, NULL, &files->join_token, &why)) {
        return true;
    }
    if (files->join_token != 0 && files->files[files->join_token].signature.error == ENOENT) {
        return true;
    }
    return err_set(err, "%s", why.text);
}

static bool read_policy_agent(struct mesh_files *files, struct err *err)
{
    const Tabard__V1__MeshConfig *config = files->config;
    const char *twice = config->n_trust_bundles > 0  ? "trust_bundles"
                        : config->n_policies > 0     ? "policies"
                        : config->n_destinations > 0 ? "destinations"
                                                     : NULL;
    if (twice != NULL) {
        err_set_at(err, twice, "the policy agent gives these: leave them out beside policy_agent");
        return mesh_files_locate(files, err);
    }
    return add_named(files, "policy_agent.roots", config->policy_agent->roots, NULL,
                     &files->policy_agent_roots, err) &&
           read_join_token(files, config->policy_agent->join_token, err);
}

static bool read_once(struct mesh_files *out, const char *path, struct err *err)
{
    size_t mesh = 0;
    if (!add_file(out, path, &mesh, err)) {
        return false;
    }
    const struct mesh_file *file = &out->files[mesh];
    out->config =
        (Tabard__V1__MeshConfig *)pb_text_parse(&tabard__v1__mesh_config__descriptor, file->bytes,
                                                file->bytes_len, file->name, &out->marks, err);
    if (out->config == NULL) {
        return false;
    }
    const Tabard__V1__MeshConfig__IdentityFiles *identity = out->config->identity;
    if (out->config->policy_agent != NULL) {
        return read_policy_agent(out, err) &&
               (identity == NULL || read_identity(out, identity, err));
    }
    if (identity == NULL) {
        err_set_at(err, "identity",
                   "missing: write identity: {certificate: FILE, key: FILE} to say who this is");
        return mesh_files_locate(out, err);
    }
    return read_identity(out, identity, err) && read_bundles(out, err);
}

static bool is_racy(const struct mesh_files *files, int64_t now_ns)
{
    for (size_t i = 0; i < files->num_files; i++) {
        if (file_stamp_is_recent(&files->files[i].signature, now_ns)) {
            return true;
        }
    }
    return false;
}

bool mesh_files_read(struct mesh_files *out, const char *path, struct err *err)
{
    for (int i = 0; i < READ_TRIES_MAX; i++) {
        mesh_files_cleanup(out);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        bool ok = read_once(out, path, err);
        if (!mesh_files_moved(out)) {
            out->is_racy = is_racy(out, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
            return ok;
        }
    }
    return err_set(err, "%s: the files kept changing while they were read, %d times", path,
                   READ_TRIES_MAX);
}

void mesh_files_cleanup(struct mesh_files *files)
{
    for (size_t i = 0; i < files->num_files; i++) {
        free(files->files[i].name);
        free(files->files[i].path);
        file_cleanup(
            &(struct file){.bytes = files->files[i].bytes, .len = files->files[i].bytes_len});
    }
    free(files->files);
    free(files->bundles);
    pb_text_marks_free(files->marks);
    if (files->config != NULL) {
        tabard__v1__mesh_config__free_unpacked(files->config, NULL);
    }
    *files = (struct mesh_files){0};
}

bool mesh_files_moved(const struct mesh_files *files)
{
    for (size_t i = 0; i < files->num_files; i++) {
        const struct file_stamp *before = &files->files[i].signature;
        struct file_stamp now = file_look(files->files[i].path, before);
        if (!file_stamp_equal(&now, before)) {
            return true;
        }
    }
    return false;
}

bool mesh_files_same_signatures(const struct mesh_files *a, const struct mesh_files *b)
{
    if (a->num_files != b->num_files) {
        return false;
    }
    for (size_t i = 0; i < a->num_files; i++) {
        if (strcmp(a->files[i].path, b->files[i].path) != 0 ||
            !file_stamp_equal(&a->files[i].signature, &b->files[i].signature)) {
            return false;
        }
    }
    return true;
}

bool mesh_files_locate(const struct mesh_files *files, struct err *err)
{
    return pb_text_marks_locate(files->marks, files->files[0].name, err);
}
