// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // asprintf
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/data/bytes.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/must.h"
#include "control/ctl/ctl.h"
#include "control/ctl/show/screen.h"
#include "control/kube/inject/manifest.h"
#include "control/kube/inject/settings.h"
#include "control/kube/yaml/yaml_docs.h"
#include "control/kube/yaml/yaml_read.h"
#include "control/kube/yaml/yaml_write.h"

#define INPUT_BYTES_MAX (64u << 20)
#define FILES_MAX       10000
#define OPERANDS_MAX    256

const char ctl_inject_usage[] =
    "usage: tabardctl inject FILE|FOLDER|-... [--manual --config FILE]\n"
    "       tabardctl inject --annotations\n"
    "\n"
    "Reads manifests of Kubernetes (YAML or JSON; - is standard input) and writes them to "
    "standard\n"
    "output, with injection asked for: the label tabard.dev/inject: enabled on the pods and pod\n"
    "templates of Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, "
    "Job,\n"
    "CronJob, and Lists of these. In a namespace of that label the webhook then puts the sidecar "
    "in.\n"
    "Other documents go through byte for byte; one that is changed loses its comments. A second "
    "run\n"
    "changes nothing. What was done is reported on standard error.\n"
    "\n"
    "  --manual       writes the whole sidecar, for clusters without the webhook\n"
    "  --config FILE  for --manual: inject.yaml, with trust_domain and roots (proto/tabard/v1/\n"
    "                 inject.proto)\n"
    "  --annotations  lists the annotations by which a pod sets up its sidecar\n"
    "\n"
    "Exit status: 0 done, 1 if anything can't be read or injected (nothing is written then), 2 for "
    "a\n"
    "wrong flag.\n";

// The run of the command.
struct run {
    struct manifest_config manifest;
    struct bytes out;
    const char *file; // being read
    size_t line;      // of the document under way
    size_t num_pods;  // and pod templates, of the file
    bool has_failed;
};

static void on_pod(void *ctx, const struct manifest_pod *pod)
{
    static const char *const words[] = {[MANIFEST_ASKS] = "asks for injection now",
                                        [MANIFEST_INJECTED] = "injected",
                                        [MANIFEST_UNCHANGED] = "unchanged",
                                        [MANIFEST_REFUSED] = "refused"};
    struct run *run = ctx;
    const json_t *warning = NULL;
    size_t i = 0;
    run->num_pods++;
    fprintf(stderr, "%s:%zu: %s %s: %s%s%s\n", run->file, run->line, pod->kind, pod->name,
            words[pod->outcome], pod->why[0] == '\0' ? "" : ": ", pod->why);
    json_array_foreach(pod->warnings, i, warning)
    {
        fprintf(stderr, "%s:%zu: %s %s: warning: %s\n", run->file, run->line, pod->kind, pod->name,
                json_string_value(warning));
    }
    run->has_failed = run->has_failed || pod->outcome == MANIFEST_REFUSED;
}

static void fail(struct run *run, const char *why)
{
    fprintf(stderr, "%s: %s\n", run->file, why);
    run->has_failed = true;
}

static void inject_document(struct run *run, const struct yaml_doc *doc)
{
    bool has_tags = false;
    struct err err = {{0}, {0}};
    run->line = doc->line;
    json_t *root =
        doc->is_empty ? NULL : yaml_read(doc->body, doc->body_len, doc->line, &has_tags, &err);
    bytes_push(&run->out, doc->marker, doc->marker_len);
    if (root == NULL || !manifest_inject(root, &run->manifest)) {
        bytes_push(&run->out, doc->body, doc->body_len);
    } else {
        bytes_push_text(&run->out, doc->marker_len > 0 ? "\n" : "");
        yaml_write(&run->out, root);
        if (has_tags) {
            fail(run, "a document that is to be injected has tags (!name): write it without");
        }
    }
    if (root == NULL && !doc->is_empty) {
        fail(run, err.text);
    }
    json_decref(root);
}

// Puts a marker before the next document, unless it brings one.
static void join(struct run *run, const char *next, size_t next_len)
{
    if (run->out.len == 0) {
        return;
    }
    if (run->out.at[run->out.len - 1] != '\n') {
        bytes_push_text(&run->out, "\n");
    }
    if (next_len < 3 || memcmp(next, "---", 3) != 0) {
        bytes_push_text(&run->out, "---\n");
    }
}

static void inject_text(struct run *run, const char *text, size_t len)
{
    struct yaml_doc doc;
    size_t line = 1;
    run->num_pods = 0;
    join(run, text, len);
    while (yaml_docs_next(&doc, &text, &len, &line)) {
        inject_document(run, &doc);
    }
    if (run->num_pods == 0 && !run->has_failed) {
        fprintf(stderr, "%s: no pod and no pod template is in it: nothing to do\n", run->file);
    }
}

static void inject_file(struct run *run, const char *path)
{
    char *text = NULL;
    size_t len = 0;
    struct err err = {{0}, {0}};
    run->file = path;
    if (file_read_text(&text, &len, path, INPUT_BYTES_MAX, &err)) {
        inject_text(run, text, len);
    } else {
        fprintf(stderr, "%s\n", err.text);
        run->has_failed = true;
    }
    free(text);
}

static void inject_input(struct run *run)
{
    struct bytes in = {0};
    char piece[65536];
    ssize_t got = 0;
    run->file = "-";
    while ((got = read(STDIN_FILENO, piece, sizeof piece)) > 0 && in.len <= INPUT_BYTES_MAX) {
        bytes_push(&in, piece, (size_t)got);
    }
    if (got < 0) {
        fail(run, strerror(errno));
    } else if (in.len > INPUT_BYTES_MAX) {
        fail(run, "the input is too large");
    } else {
        inject_text(run, (const char *)in.at, in.len);
    }
    bytes_cleanup(&in);
}

static int is_manifest(const struct dirent *entry)
{
    static const char *const ends[] = {".yaml", ".yml", ".json"};
    size_t len = strlen(entry->d_name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);
        if (len > end && strcmp(entry->d_name + len - end, ends[i]) == 0) {
            return entry->d_name[0] != '.';
        }
    }
    return 0;
}

// The files of a folder, in the order of their names, as kubectl takes them.
static void inject_folder(struct run *run, const char *path)
{
    struct dirent **entries = NULL;
    int num = scandir(path, &entries, is_manifest, alphasort);
    run->file = path;
    if (num <= 0 || num > FILES_MAX) {
        fail(run, num < 0    ? strerror(errno)
                  : num == 0 ? "no .yaml, .yml or .json in it"
                             : "too many files");
    }
    for (int i = 0; i < num; i++) {
        char *file = NULL;
        must_have(asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0 ? NULL : file);
        inject_file(run, file);
        free(file);
        free(entries[i]);
    }
    free(entries);
}

static void inject_operand(struct run *run, const char *operand)
{
    struct stat status;
    if (strcmp(operand, "-") == 0) {
        inject_input(run);
    } else if (stat(operand, &status) == 0 && S_ISDIR(status.st_mode)) {
        inject_folder(run, operand);
    } else {
        inject_file(run, operand);
    }
}

static Tabard__V1__InjectConfig *load_config(const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    if (!file_read_text(&text, &len, path, INPUT_BYTES_MAX, err)) {
        return NULL;
    }
    Tabard__V1__InjectConfig *config = inject_config_parse(text, len, path, err);
    free(text);
    return config;
}

static int print_annotations(void)
{
    for (size_t i = 0; i < SETTINGS_NUM; i++) {
        printf(SETTINGS_PREFIX "%s: \"%s\"\n    %s\n", settings_rows[i].name,
               settings_rows[i].example, settings_rows[i].does);
    }
    return CTL_OK;
}

static int inject(struct run *run, const char *const *operands, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        inject_operand(run, operands[i]);
    }
    if (!run->has_failed) {
        if (!isatty(STDOUT_FILENO)) {
            screen_pass_through();
        }
        fwrite(run->out.at, 1, run->out.len, stdout);
    }
    bytes_cleanup(&run->out);
    return run->has_failed ? CTL_FAILED : CTL_OK;
}

int ctl_inject(int argc, char **argv)
{
    const char *operands[OPERANDS_MAX];
    const char *config_path = NULL;
    size_t num_operands = 0;
    bool is_manual = false;
    bool lists = false;
    struct err err = {{0}, {0}};
    const struct flag flags[] = {
        {.name = "annotations", .out_given = &lists, .stops = true},
        {.name = "manual", .out_given = &is_manual},
        {.name = "config", .value = &config_path},
    };
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, operands, OPERANDS_MAX,
                     &num_operands, &err)) {
        err_prefix(&err, "inject");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (lists) {
        return print_annotations();
    }
    if (num_operands == 0 || is_manual != (config_path != NULL)) {
        err_set(&err, num_operands == 0
                          ? "inject: a file, a folder or - (standard input) is missing"
                          : "inject: --manual and --config FILE go together");
        return ctl_fail(CTL_USAGE, &err);
    }
    struct run run = {.manifest = {.on_pod = on_pod, .ctx = &run}};
    Tabard__V1__InjectConfig *config = NULL;
    if (is_manual) {
        config = load_config(config_path, &err);
        if (config == NULL) {
            err_prefix(&err, "inject");
            return ctl_fail(CTL_FAILED, &err);
        }
    }
    run.manifest.config = config;
    int status = inject(&run, operands, num_operands);
    inject_config_free(config);
    return status;
}
