// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // memfd_create, pipe2
#include "control/ctl/kube/kubectl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/data/bytes.h"
#include "base/now.h"

#define CHUNK_BYTES    65536
#define COMPLAINT_SIZE 8192 // of standard error that is kept, from its beginning

extern char **environ;

// One run under way.
struct run {
    pid_t pid;
    int out; // -1: closed
    int complaints;
    struct bytes answer;
    char complaint[COMPLAINT_SIZE];
    size_t complaint_len;
};

// A descriptor that reads `input` from its beginning.
static int input_fd(const char *input, struct err *err)
{
    int fd = memfd_create("kubectl", MFD_CLOEXEC);
    size_t len = strlen(input);
    if (fd < 0 || write(fd, input, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0) {
        err_set(err, "no memory for what kubectl shall read: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static void fill_argv(const struct kubectl *kubectl, const char *const *words, const char **argv)
{
    size_t num = 0;
    argv[num++] = kubectl->program;
    if (kubectl->context != NULL) {
        argv[num++] = "--context";
        argv[num++] = kubectl->context;
    }
    argv[num++] = "--request-timeout=20s";
    for (size_t i = 0; words[i] != NULL && num < KUBECTL_WORDS_MAX; i++) {
        argv[num++] = words[i];
    }
    argv[num] = NULL;
}

static bool start(struct run *run, const struct kubectl *kubectl, const char *const *words, int in,
                  struct err *err)
{
    const char *argv[KUBECTL_WORDS_MAX + 1];
    int out[2];
    int complaints[2];
    fill_argv(kubectl, words, argv);
    if (pipe2(out, O_CLOEXEC) != 0) {
        return err_set(err, "pipe: %s", strerror(errno));
    }
    if (pipe2(complaints, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return err_set(err, "pipe: %s", strerror(errno));
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (in >= 0) {
        posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    } else {
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, complaints[1], STDERR_FILENO);
    int failed =
        posix_spawnp(&run->pid, kubectl->program, &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(complaints[1]);
    run->out = out[0];
    run->complaints = complaints[0];
    return failed == 0 || err_set(err, "%s can't be run: %s", kubectl->program, strerror(failed));
}

// Closes a pipe at its end or when it fails.
static void close_end(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static bool read_answer(struct run *run, struct err *err)
{
    uint8_t chunk[CHUNK_BYTES];
    ssize_t len = read(run->out, chunk, sizeof chunk);
    if (len <= 0) {
        close_end(&run->out);
        return true;
    }
    if (run->answer.len + (size_t)len > KUBECTL_BYTES_MAX) {
        return err_set(err, "kubectl's answer is over the limit of %u bytes", KUBECTL_BYTES_MAX);
    }
    bytes_push(&run->answer, chunk, (size_t)len);
    return true;
}

static void read_complaint(struct run *run)
{
    char chunk[CHUNK_BYTES];
    ssize_t len = read(run->complaints, chunk, sizeof chunk);
    if (len <= 0) {
        close_end(&run->complaints);
        return;
    }
    size_t room = sizeof run->complaint - 1 - run->complaint_len;
    size_t kept = (size_t)len < room ? (size_t)len : room;
    memcpy(run->complaint + run->complaint_len, chunk, kept);
    run->complaint_len += kept;
}

static bool read_all(struct run *run, struct err *err)
{
    uint64_t end_ms = now_ms() + KUBECTL_SECONDS_MAX * 1000;
    while (run->out >= 0 || run->complaints >= 0) {
        struct pollfd fds[] = {{.fd = run->out, .events = POLLIN},
                               {.fd = run->complaints, .events = POLLIN}};
        int64_t left = (int64_t)(end_ms - now_ms());
        int num = left <= 0 ? 0 : poll(fds, 2, (int)left);
        if (num == 0) {
            return err_set(err, "kubectl did not end within %d s", KUBECTL_SECONDS_MAX);
        }
        if (num < 0 && errno != EINTR) {
            return err_set(err, "poll: %s", strerror(errno));
        }
        if (num > 0 && fds[0].revents != 0 && !read_answer(run, err)) {
            return false;
        }
        if (num > 0 && fds[1].revents != 0) {
            read_complaint(run);
        }
    }
    return true;
}

// Whether it is one that kubectl's library logs: "E1128 05:34:38.796065 16527 memcache.go:265]
// ...".
static bool is_log_line(const char *line)
{
    return strchr("IWEF", line[0]) != NULL && strspn(line + 1, "0123456789") == 4 && line[5] == ' ';
}

// Leaves out the lines that are logged, which come before what kubectl itself says; unless there
// are no others.
static void drop_log_lines(char *said)
{
    char kept[COMPLAINT_SIZE];
    size_t kept_len = 0;
    for (const char *line = said; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        len += line[len] == '\n' ? 1 : 0;
        if (!is_log_line(line)) {
            memcpy(kept + kept_len, line, len);
            kept_len += len;
        }
        line += len;
    }
    if (kept_len > 0) {
        memcpy(said, kept, kept_len);
        said[kept_len] = '\0';
    }
}

// Reaps the process. false: it failed, and err has what it said, in one line.
static bool end(struct run *run, struct err *err)
{
    int status = 0;
    while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return true;
    }
    char *said = run->complaint;
    drop_log_lines(said);
    for (char *at = said; *at != '\0'; at++) {
        *at = *at == '\n' ? ' ' : *at;
    }
    for (size_t len = strlen(said); len > 0 && said[len - 1] == ' '; len--) {
        said[len - 1] = '\0';
    }
    if (*said != '\0') {
        return err_set(err, "%s", said);
    }
    return err_set(err, "kubectl ended with %s %d", WIFEXITED(status) ? "status" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

// kubectl passes over files that KUBECONFIG names and that aren't there. Where none is, it would
// ask a server on this host that nobody has named.
static bool check_config(struct err *err)
{
    const char *named = getenv("KUBECONFIG");
    if (named == NULL || *named == '\0') {
        return true;
    }
    for (const char *at = named; *at != '\0';) {
        char path[PATH_MAX];
        size_t len = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s", (int)len, at);
        if (len > 0 && access(path, F_OK) == 0) {
            return true;
        }
        at += len;
        at += *at == ':' ? 1 : 0;
    }
    return err_set(err, "KUBECONFIG names no file that is there: %s", named);
}

char *kubectl_text(const struct kubectl *kubectl, const char *const *words, const char *input,
                   struct err *err)
{
    if (!check_config(err)) {
        return NULL;
    }
    struct run run = {.pid = -1, .out = -1, .complaints = -1};
    int in = input == NULL ? -1 : input_fd(input, err);
    if (input != NULL && in < 0) {
        return NULL;
    }
    bool good = start(&run, kubectl, words, in, err);
    bool is_started = good;
    close_end(&in);
    good = good && read_all(&run, err);
    if (is_started && !good) {
        kill(run.pid, SIGKILL);
        end(&run, NULL);
    } else if (is_started) {
        good = end(&run, err);
    }
    close_end(&run.out);
    close_end(&run.complaints);
    char *text = good ? bytes_take_text(&run.answer) : NULL;
    bytes_cleanup(&run.answer);
    return text;
}

json_t *kubectl_json(const struct kubectl *kubectl, const char *const *words, const char *input,
                     struct err *err)
{
    char *text = kubectl_text(kubectl, words, input, err);
    if (text == NULL) {
        return NULL;
    }
    if (*text == '\0') {
        free(text);
        return json_null();
    }
    json_error_t error;
    json_t *value = json_loads(text, 0, &error);
    free(text);
    if (value == NULL) {
        err_set(err, "kubectl printed no JSON: %s in line %d", error.text, error.line);
    }
    return value;
}
