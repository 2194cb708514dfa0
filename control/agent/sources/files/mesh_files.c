// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/mesh_files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "certs/bundle.h"

#define READ_TRIES_MAX 5
// A file's times come from a clock that ticks every 10 ms at the slowest; a second change within
// the tick of the first is invisible to stat(2).
#define RACY_NS 20000000

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static struct file_signature signature_of(const struct stat *st)
{
    return (struct file_signature){.dev = (uint64_t)st->st_dev,
                                   .ino = (uint64_t)st->st_ino,
                                   .size = (uint64_t)st->st_size,
                                   .mtime_ns = ns_of(&st->st_mtim),
                                   .ctime_ns = ns_of(&st->st_ctim)};
}

static bool signatures_equal(const struct file_signature *a, const struct file_signature *b)
{
    return a->error == b->error && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

// The path as it was looked for, where mesh.yaml's own name for it isn't already that.
static bool file_error(const struct mesh_file *file, struct err *err, const char *what)
{
    if (strcmp(file->name, file->path) == 0) {
        return err_set(err, "%s: %s", file->name, what);
    }
    return err_set(err, "%s: %s (looked for %s)", file->name, what, file->path);
}

static bool refuse_special(const struct mesh_file *file, mode_t mode, struct err *err)
{
    const char *kind = S_ISDIR(mode)    ? "a directory"
                       : S_ISFIFO(mode) ? "a FIFO"
                       : S_ISSOCK(mode) ? "a socket"
                                        : "a device";
    char what[64];
    snprintf(what, sizeof what, "is %s, not a regular file", kind);
    return file_error(file, err, what);
}

static bool read_all(struct mesh_file *file, int fd, struct err *err)
{
    // One byte over the limit tells a file that is too long, whatever stat said of its size.
    size_t cap = file->signature.size < MESH_FILE_BYTES_MAX ? file->signature.size + 1
                                                            : (size_t)MESH_FILE_BYTES_MAX + 1;
    for (;;) {
        // Not realloc: what it leaves behind may be a key. OPENSSL_free wipes.
        char *bytes = OPENSSL_malloc(cap + 1);
        if (bytes == NULL) {
            return file_error(file, err, "out of memory");
        }
        if (file->bytes_len > 0) {
            memcpy(bytes, file->bytes, file->bytes_len);
        }
        OPENSSL_free(file->bytes);
        file->bytes = bytes;
        while (file->bytes_len < cap) {
            ssize_t got = read(fd, bytes + file->bytes_len, cap - file->bytes_len);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                return file_error(file, err, strerror(errno));
            }
            if (got == 0) {
                bytes[file->bytes_len] = '\0';
                return true;
            }
            file->bytes_len += (size_t)got;
        }
        if (file->bytes_len > MESH_FILE_BYTES_MAX) {
            return file_error(file, err, "is over the limit of 8 MiB");
        }
        cap = cap * 2 < MESH_FILE_BYTES_MAX ? cap * 2 : (size_t)MESH_FILE_BYTES_MAX + 1;
    }
}

static bool read_file(struct mesh_file *file, struct err *err)
{
    // Non-blocking: opening a FIFO that nobody writes to would wait for ever.
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        file->signature = (struct file_signature){.error = errno};
        return file_error(file, err, strerror(errno));
    }
    struct stat st;
    bool ok = false;
    if (fstat(fd, &st) != 0) {
        file->signature = (struct file_signature){.error = errno};
        file_error(file, err, strerror(errno));
        goto out;
    }
    file->signature = signature_of(&st);
    if (!S_ISREG(st.st_mode)) {
        refuse_special(file, st.st_mode, err);
        goto out;
    }
    if (st.st_size > MESH_FILE_BYTES_MAX) {
        file_error(file, err, "is over the limit of 8 MiB");
        goto out;
    }
    ok = read_all(file, fd, err);
out:
    close(fd);
    return ok;
}

// The look that a signature is compared with. A file that can be seen but not opened must equal
// itself, so the error of open(2) is what counts there.
static struct file_signature look(const char *path, const struct file_signature *before)
{
    struct stat st;
    if (before->error != 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0) {
            return (struct file_signature){.error = errno};
        }
        close(fd);
    }
    if (stat(path, &st) != 0) {
        return (struct file_signature){.error = errno};
    }
    return signature_of(&st);
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
        const struct file_signature *signature = &files->files[i].signature;
        if (llabs(now_ns - signature->ctime_ns) < RACY_NS) {
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
            out->is_racy = is_racy(out, ns_of(&now));
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
        OPENSSL_free(files->files[i].bytes);
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
        const struct file_signature *before = &files->files[i].signature;
        struct file_signature now = look(files->files[i].path, before);
        if (!signatures_equal(&now, before)) {
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
            !signatures_equal(&a->files[i].signature, &b->files[i].signature)) {
            return false;
        }
    }
    return true;
}

bool mesh_files_locate(const struct mesh_files *files, struct err *err)
{
    return pb_text_marks_locate(files->marks, files->files[0].name, err);
}
