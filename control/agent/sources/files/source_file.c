// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/source_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/now.h"
#include "control/agent/sources/files/mesh_files.h"
#include "control/host/watch.h"

struct source_file {
    struct source_file_hooks hooks;
    char *path;                               // owned
    const struct source_field *const *fields; // borrowed, for ever
    struct watch *watch;

    // The last reading; the worker's while it reads.
    struct mesh_files files;
    struct mesh mesh;
    struct err err;
    bool is_ok;

    char reported[sizeof(struct err)]; // the failure that was passed on; empty: none
};

static const struct files *on_read(void *ctx, bool *out_is_usable)
{
    struct source_file *source = ctx;
    struct files before = source->files.files;
    source->files.files = (struct files){.entries = NULL};
    mesh_files_cleanup(&source->files);
    source->err = (struct err){{0}, {0}};
    source->is_ok =
        mesh_files_read(&source->files, &before, source->path, source->fields, &source->err) &&
        mesh_read(&source->mesh, &source->files, source->fields, now_date_s(), &source->err);
    files_cleanup(&before);
    *out_is_usable = source->is_ok;
    return &source->files.files;
}

static void on_take(void *ctx, uint64_t began_ns)
{
    (void)began_ns;
    struct source_file *source = ctx;
    if (source->is_ok) {
        source->reported[0] = '\0';
        source->hooks.on_loaded(source->hooks.ctx, &source->mesh);
    }
    mesh_cleanup(&source->mesh);
}

static void on_report(void *ctx)
{
    struct source_file *source = ctx;
    if (strcmp(source->reported, source->err.text) != 0) {
        snprintf(source->reported, sizeof source->reported, "%s", source->err.text);
        source->hooks.on_failed(source->hooks.ctx, source->err.text);
    }
}

static void on_release(void *ctx)
{
    struct source_file *source = ctx;
    mesh_files_cleanup(&source->files);
    mesh_cleanup(&source->mesh);
    free(source->path);
    free(source);
}

struct source_file *source_file_new(uv_loop_t *loop, const char *path,
                                    const struct source_field *const *fields,
                                    const struct source_file_hooks *hooks)
{
    struct source_file *source = must_alloc(1, sizeof *source);
    source->hooks = *hooks;
    source->path = must_strdup(path);
    source->fields = fields;
    source->watch = watch_new(loop, &(struct watch_job){.ctx = source,
                                                        .read = on_read,
                                                        .take = on_take,
                                                        .report = on_report,
                                                        .release = on_release});
    return source;
}

void source_file_reload(struct source_file *source)
{
    source->reported[0] = '\0';
    watch_read_now(source->watch);
}

size_t source_file_num_held(const struct source_file *source)
{
    return watch_num_held(source->watch);
}

void source_file_close(struct source_file *source)
{
    if (source != NULL) {
        watch_close(source->watch);
    }
}
