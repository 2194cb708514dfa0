// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/inject_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/host/files.h"
#include "control/host/watch.h"

struct inject_file {
    const char *path; // borrowed
    struct inject_file_hooks hooks;
    struct watch *watch;
    struct files last;                // the reading before
    struct files now;                 // the worker's while it reads
    Tabard__V1__InjectConfig *config; // owned: of this reading; NULL: unusable
    struct err err;                   // why
    char reported[sizeof(struct err)];
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    const struct inject_file *file = ctx;
    return files_add(files, NULL, file->path, file->path, FILES_NEEDED, err);
}

static const struct files *on_read(void *ctx, bool *out_is_usable)
{
    struct inject_file *file = ctx;
    files_cleanup(&file->last);
    file->last = file->now;
    // Kubernetes puts a new file in the place of the old one, so one that nothing is told of is
    // taken as it is.
    file->now = (struct files){.file_len_max = INJECT_FILE_BYTES_MAX,
                               .len_max = INJECT_FILE_BYTES_MAX,
                               .missed_ms = FILES_MISSED_MS};
    inject_config_free(file->config);
    file->config = NULL;
    if (files_read(&file->now, &file->last, file->path, read_once, file, &file->err)) {
        const struct file *read = &file->now.entries[0].file;
        file->config = inject_config_parse(read->bytes, read->len, file->path, &file->err);
    }
    *out_is_usable = file->config != NULL;
    return &file->now;
}

static void on_take(void *ctx, uint64_t began_ns)
{
    struct inject_file *file = ctx;
    (void)began_ns;
    if (file->config != NULL) {
        file->reported[0] = '\0';
        file->hooks.on_config(file->hooks.ctx, file->config);
        file->config = NULL;
    }
}

static void on_report(void *ctx)
{
    struct inject_file *file = ctx;
    char text[sizeof file->reported];
    err_text(&file->err, text, sizeof text);
    if (strcmp(file->reported, text) != 0) {
        snprintf(file->reported, sizeof file->reported, "%s", text);
        file->hooks.on_failed(file->hooks.ctx, text);
    }
}

static void on_release(void *ctx)
{
    struct inject_file *file = ctx;
    files_cleanup(&file->last);
    files_cleanup(&file->now);
    inject_config_free(file->config);
    free(file);
}

struct inject_file *inject_file_watch(uv_loop_t *loop, const char *path,
                                      const struct inject_file_hooks *hooks)
{
    struct inject_file *file = must_alloc(1, sizeof *file);
    file->path = path;
    file->hooks = *hooks;
    file->watch = watch_new(loop, &(struct watch_job){.ctx = file,
                                                      .read = on_read,
                                                      .take = on_take,
                                                      .report = on_report,
                                                      .release = on_release});
    return file;
}

size_t inject_file_num_held(const struct inject_file *file)
{
    return file == NULL ? 0 : watch_num_held(file->watch);
}

void inject_file_close(struct inject_file *file)
{
    if (file != NULL) {
        watch_close(file->watch);
    }
}
