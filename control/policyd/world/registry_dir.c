// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/world/registry_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/data/hex.h"
#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "certs/identity.h"

#define INSTANCE_LEN        16
#define FILE_NAME_MAX       24
#define ALIVE               "alive"
#define POLLS_BETWEEN_SCANS 5

struct foreign_file {
    struct table_link link; // first: a link is its file
    char name[FILE_NAME_MAX];
    struct claim *claim;
    uint64_t scan; // the number of the last scan that found it
};

struct instance {
    uv_fs_event_t event;
    struct registry_dir *owner;
    char name[INSTANCE_LEN + 1];
    struct table files; // of foreign_file
    bool is_watched;
    int64_t beat_ms;   // its last heartbeat, by its file's time
    uint64_t heard_ms; // when that was seen first, by the loop's
};

struct registry_dir {
    uv_timer_t heartbeat;
    uv_fs_event_t event;       // of registry/ itself
    uv_loop_t *loop;           // borrowed
    struct registry *registry; // borrowed
    bool (*permits)(void *ctx, const char *id, const struct ip *ip);
    void *ctx;
    char *path; // owned: DIR/registry
    char own[INSTANCE_LEN + 1];
    struct instance *instances[REGISTRY_INSTANCES_MAX]; // owned; NULL where free
    uint64_t scan;                                      // the number of the last scan
    unsigned num_beats;
    unsigned handles_open;
    bool is_closing;
};

static void release(struct registry_dir *dir)
{
    if (--dir->handles_open == 0) {
        free(dir->path);
        free(dir);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_instance_closed(uv_handle_t *handle)
{
    struct instance *instance = handle->data;
    struct registry_dir *dir = instance->owner;
    free(instance);
    release(dir);
}

static struct foreign_file *find_file(struct instance *instance, const char *name,
                                      uint64_t *out_hash)
{
    *out_hash = table_hash(&instance->files, name, strlen(name));
    struct table_link *link = table_first(&instance->files, *out_hash);
    while (link != NULL && strcmp(((struct foreign_file *)link)->name, name) != 0) {
        link = table_next(link);
    }
    return (struct foreign_file *)link;
}

static void forget_file(struct instance *instance, struct foreign_file *file)
{
    registry_drop(instance->owner->registry, file->claim);
    table_remove(&instance->files, &file->link);
    free(file);
}

// Reads "ID SINCE IP IP ...\n". Files of another policyd are not trusted: only addresses that our
// own fleet permits are taken from them.
static struct claim *read_claim(struct registry_dir *dir, char *text)
{
    struct ip addresses[REGISTRY_ADDRESSES_MAX];
    char *rest = text;
    struct claim_spec spec = {.addresses = addresses, .is_foreign = true};
    struct spiffe_id id;
    spec.id = strsep(&rest, " \n");
    const char *since = rest == NULL ? "" : strsep(&rest, " \n");
    if (!spiffe_workload_parse(&id, spec.id, strlen(spec.id), NULL)) {
        return NULL;
    }
    spec.since_us = strtoull(since, NULL, 10);
    for (char *word; rest != NULL && (word = strsep(&rest, " \n")) != NULL;) {
        struct ip *ip = &addresses[spec.num_addresses];
        if (spec.num_addresses < REGISTRY_ADDRESSES_MAX && ip_parse(ip, word, NULL) &&
            dir->permits(dir->ctx, spec.id, ip)) {
            spec.num_addresses++;
        }
    }
    return registry_claim(dir->registry, &spec, NULL);
}

static bool is_file_name(const char *name)
{
    size_t len = strspn(name, "0123456789");
    return len > 0 && len < FILE_NAME_MAX && name[len] == '\0';
}

// Takes in a file of another instance, or forgets it if it is gone.
static void look_at(struct instance *instance, const char *name)
{
    struct registry_dir *dir = instance->owner;
    char path[PATH_MAX];
    uint64_t hash;
    snprintf(path, sizeof path, "%s/%s/%s", dir->path, instance->name, name);
    struct foreign_file *file = find_file(instance, name, &hash);
    struct file content;
    if (!file_read(&content, path, REGISTRY_FILE_MAX, FILE_NO_LINK, NULL)) {
        if (file != NULL) {
            forget_file(instance, file);
        }
        return;
    }
    struct claim *claim = file == NULL ? read_claim(dir, content.bytes) : NULL;
    file_cleanup(&content);
    if (file != NULL) {
        file->scan = dir->scan; // a file never changes
    } else if (claim != NULL) {
        file = must_alloc(1, sizeof *file);
        table_put(&instance->files, &file->link, hash);
        snprintf(file->name, sizeof file->name, "%s", name);
        file->claim = claim;
        file->scan = dir->scan;
    }
}

static void on_file_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)events;
    struct instance *instance = event->data;
    if (status == 0 && name != NULL && is_file_name(name) && !instance->owner->is_closing) {
        look_at(instance, name);
    }
}

// Forgets the files that the last scan did not find, or all.
static void forget_unseen(struct instance *instance, bool all)
{
    for (uint32_t i = 0; i < instance->files.cap; i++) {
        for (struct table_link *link = instance->files.heads[i], *next; link != NULL; link = next) {
            struct foreign_file *file = (struct foreign_file *)link;
            next = link->next;
            if (all || file->scan != instance->owner->scan) {
                forget_file(instance, file);
            }
        }
    }
}

static void scan_instance(struct instance *instance)
{
    struct registry_dir *dir = instance->owner;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir->path, instance->name);
    DIR *folder = opendir(path);
    dir->scan++;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        uint64_t hash;
        struct foreign_file *file =
            is_file_name(entry->d_name) ? find_file(instance, entry->d_name, &hash) : NULL;
        if (file != NULL) {
            file->scan = dir->scan;
        } else if (is_file_name(entry->d_name)) {
            look_at(instance, entry->d_name);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    forget_unseen(instance, false);
}

static void drop_instance(struct registry_dir *dir, size_t i)
{
    struct instance *instance = dir->instances[i];
    forget_unseen(instance, true);
    table_cleanup(&instance->files);
    dir->instances[i] = NULL;
    uv_close((uv_handle_t *)&instance->event, on_instance_closed);
}

static void remove_folder(const char *path)
{
    char file[PATH_MAX];
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            unlink(file);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    rmdir(path);
}

// Says whether a policyd's heart beats: whether its file's time is young, or, of one that is known
// (else instance is NULL), goes on.
static bool is_alive(const struct registry_dir *dir, struct instance *instance, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/" ALIVE, dir->path, name);
    // A folder is made before its file `alive`; until then its own time is the heartbeat.
    if (stat(path, &st) != 0) {
        snprintf(path, sizeof path, "%s/%s", dir->path, name);
        if (stat(path, &st) != 0) {
            return false;
        }
    }
    int64_t beat_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    bool is_young = now_unix_ms() - beat_ms < REGISTRY_STALE_MS;
    if (instance == NULL || (beat_ms < instance->beat_ms && !is_young)) {
        return is_young;
    }
    if (instance->beat_ms != beat_ms) {
        instance->beat_ms = beat_ms;
        instance->heard_ms = uv_now(dir->loop);
    }
    return uv_now(dir->loop) - instance->heard_ms < REGISTRY_STALE_MS;
}

static struct instance *find_instance(const struct registry_dir *dir, const char *name)
{
    for (size_t i = 0; i < REGISTRY_INSTANCES_MAX; i++) {
        if (dir->instances[i] != NULL && strcmp(dir->instances[i]->name, name) == 0) {
            return dir->instances[i];
        }
    }
    return NULL;
}

static void meet(struct registry_dir *dir, const char *name)
{
    size_t free_at = REGISTRY_INSTANCES_MAX;
    char path[PATH_MAX];
    if (find_instance(dir, name) != NULL) {
        return;
    }
    for (size_t i = 0; i < REGISTRY_INSTANCES_MAX; i++) {
        free_at = dir->instances[i] == NULL ? i : free_at;
    }
    if (free_at == REGISTRY_INSTANCES_MAX) {
        log_warn("msg=\"too many policyds share the folder, one is ignored\" instance=%s max=%d",
                 name, REGISTRY_INSTANCES_MAX);
        return;
    }
    struct instance *instance = must_alloc(1, sizeof *instance);
    instance->owner = dir;
    snprintf(instance->name, sizeof instance->name, "%s", name);
    snprintf(path, sizeof path, "%s/%s", dir->path, name);
    uv_fs_event_init(dir->loop, &instance->event);
    instance->event.data = instance;
    dir->handles_open++;
    dir->instances[free_at] = instance;
    uv_fs_event_start(&instance->event, on_file_event, path, 0);
    is_alive(dir, instance, name); // which notes its heartbeat
    scan_instance(instance);
}

// Meets the instances that came, drops those whose heartbeat stopped, and with `everything` reads
// each file of the others again: an event may have been lost.
static void look_round(struct registry_dir *dir, bool everything)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < REGISTRY_INSTANCES_MAX; i++) {
        struct instance *instance = dir->instances[i];
        if (instance != NULL && !is_alive(dir, instance, instance->name)) {
            log_info("msg=\"another policyd is gone\" instance=%s", instance->name);
            snprintf(path, sizeof path, "%s/%s", dir->path, instance->name);
            drop_instance(dir, i);
            remove_folder(path);
        } else if (instance != NULL && everything) {
            scan_instance(instance);
        }
    }
    DIR *folder = opendir(dir->path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        if (strlen(name) != INSTANCE_LEN || strcmp(name, dir->own) == 0) {
            continue;
        }
        if (is_alive(dir, find_instance(dir, name), name)) {
            meet(dir, name);
        } else {
            snprintf(path, sizeof path, "%s/%s", dir->path, name);
            remove_folder(path);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static void on_folder_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status;
    struct registry_dir *dir = event->data;
    if (!dir->is_closing) {
        look_round(dir, false);
    }
}

static void beat(struct registry_dir *dir)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/" ALIVE, dir->path, dir->own);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd >= 0) {
        futimens(fd, NULL);
        close(fd);
    }
}

static void on_beat(uv_timer_t *timer)
{
    struct registry_dir *dir = timer->data;
    beat(dir);
    look_round(dir, ++dir->num_beats % POLLS_BETWEEN_SCANS == 0);
}

static bool make_own(struct registry_dir *dir, struct err *err)
{
    char path[PATH_MAX];
    uint8_t bytes[INSTANCE_LEN / 2];
    if (mkdir(dir->path, 0700) != 0 && errno != EEXIST) {
        return err_set(err, "%s: can't be made a folder: %s", dir->path, strerror(errno));
    }
    RAND_bytes(bytes, sizeof bytes);
    hex_text(bytes, sizeof bytes, dir->own);
    snprintf(path, sizeof path, "%s/%s", dir->path, dir->own);
    if (mkdir(path, 0700) != 0) {
        return err_set(err, "%s: can't be made a folder: %s", path, strerror(errno));
    }
    beat(dir);
    return true;
}

struct registry_dir *registry_dir_new(uv_loop_t *loop, const char *path, struct registry *registry,
                                      bool (*permits)(void *ctx, const char *id,
                                                      const struct ip *ip),
                                      void *ctx, struct err *err)
{
    char full[PATH_MAX];
    struct registry_dir *dir = must_alloc(1, sizeof *dir);
    snprintf(full, sizeof full, "%s/registry", path);
    dir->path = must_strdup(full);
    dir->loop = loop;
    dir->registry = registry;
    dir->permits = permits;
    dir->ctx = ctx;
    if (!make_own(dir, err)) {
        free(dir->path);
        free(dir);
        return NULL;
    }
    uv_timer_init(loop, &dir->heartbeat);
    uv_fs_event_init(loop, &dir->event);
    dir->heartbeat.data = dir->event.data = dir;
    dir->handles_open = 2;
    uv_fs_event_start(&dir->event, on_folder_event, dir->path, 0);
    uv_timer_start(&dir->heartbeat, on_beat, REGISTRY_HEARTBEAT_MS, REGISTRY_HEARTBEAT_MS);
    look_round(dir, false);
    return dir;
}

void registry_dir_close(struct registry_dir *dir)
{
    if (dir == NULL) {
        return;
    }
    beat(dir);
    dir->is_closing = true;
    for (size_t i = 0; i < REGISTRY_INSTANCES_MAX; i++) {
        if (dir->instances[i] != NULL) {
            drop_instance(dir, i);
        }
    }
    uv_close((uv_handle_t *)&dir->heartbeat, on_closed);
    uv_close((uv_handle_t *)&dir->event, on_closed);
}

void registry_dir_write(struct registry_dir *dir, uint64_t number, const struct claim *claim)
{
    char path[PATH_MAX], text[REGISTRY_FILE_MAX], ip[ADDR_TEXT_MAX], quoted[PATH_MAX];
    struct err err = {{0}, {0}};
    size_t num = 0;
    const struct ip *addresses = claim_addresses(claim, &num);
    int len = snprintf(text, sizeof text, "%s %" PRIu64, claim_id(claim), claim_since_us(claim));
    for (size_t i = 0; i < num; i++) {
        len += snprintf(text + len, sizeof text - (size_t)len, " %s", ip_text(&addresses[i], ip));
    }
    text[len++] = '\n';
    snprintf(path, sizeof path, "%s/%s/%" PRIu64, dir->path, dir->own, number);
    // Not durable: after a power cut the sidecars come back and say it again.
    if (!file_replace(path, text, (size_t)len, false, &err)) {
        log_warn("msg=\"registry not written\" error=%s",
                 log_quote(quoted, sizeof quoted, err.text));
    }
}

void registry_dir_erase(struct registry_dir *dir, uint64_t number)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/%" PRIu64, dir->path, dir->own, number);
    unlink(path);
}

void registry_dir_refresh(struct registry_dir *dir)
{
    for (size_t i = 0; dir != NULL && i < REGISTRY_INSTANCES_MAX; i++) {
        if (dir->instances[i] != NULL) {
            forget_unseen(dir->instances[i], true);
            scan_instance(dir->instances[i]);
        }
    }
}
