// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/token.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/data/hex.h"
#include "base/file.h"
#include "base/log.h"

#define RANDOM_LEN   32
#define NAME_LEN     (2 * SHA256_DIGEST_LENGTH)
#define LINE_LEN_MAX (SPIFFE_ID_LEN_MAX + 32)

_Static_assert(sizeof((struct token_name *)0)->text == NAME_LEN + 1, "a name fits");

static void name_of(char out[NAME_LEN + 1], const char *token)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)token, strlen(token), digest);
    hex_text(digest, sizeof digest, out);
}

static bool make_folders(const char *dir, struct err *err)
{
    static const char *const names[] = {"tokens", "tokens/held", "tokens/used"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return err_set(err, "%s: can't be made a folder: %s", path, strerror(errno));
        }
    }
    return true;
}

bool token_make(char out[TOKEN_TEXT_MAX], const char *dir, const char *spiffe_id, time_t expires,
                struct err *err)
{
    uint8_t bytes[RANDOM_LEN];
    char name[NAME_LEN + 1], path[PATH_MAX], line[LINE_LEN_MAX];
    RAND_bytes(bytes, sizeof bytes);
    strcpy(out, TOKEN_PREFIX);
    hex_text(bytes, sizeof bytes, out + strlen(TOKEN_PREFIX));
    name_of(name, out);
    snprintf(path, sizeof path, "%s/tokens/%s", dir, name);
    snprintf(line, sizeof line, "%s %lld\n", spiffe_id, (long long)expires);
    return make_folders(dir, err) && file_write_text(path, line, 0600, false, err);
}

// Reads a token's file: its first word is the id, its second the time at which it expires.
static bool read_line(const char *path, char out_id[SPIFFE_ID_LEN_MAX + 1], time_t *out_expires,
                      struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    long long expires = 0;
    bool ok = file_read_text(&text, &len, path, LINE_LEN_MAX, err);
    char *blank = ok ? strchr(text, ' ') : NULL;
    ok = ok &&
         ((blank != NULL && (size_t)(blank - text) <= SPIFFE_ID_LEN_MAX &&
           sscanf(blank, " %lld", &expires) == 1) ||
          err_set(err, "%s: does not hold a SPIFFE id and the time at which it expires", path));
    if (ok) {
        memcpy(out_id, text, (size_t)(blank - text));
        out_id[blank - text] = '\0';
        *out_expires = (time_t)expires;
    }
    free(text);
    return ok;
}

// Where a token's file may be.
struct paths {
    char good[PATH_MAX];
    char held[PATH_MAX];
    char used[PATH_MAX];
};

static struct paths paths_of(const struct token_name *name, const char *dir)
{
    struct paths paths;
    snprintf(paths.good, PATH_MAX, "%s/tokens/%s", dir, name->text);
    snprintf(paths.held, PATH_MAX, "%s/tokens/held/%s", dir, name->text);
    snprintf(paths.used, PATH_MAX, "%s/tokens/used/%s", dir, name->text);
    return paths;
}

// Says why a token is not there.
static enum token_result missing(const struct paths *paths, struct err *err)
{
    if (access(paths->held, F_OK) == 0) {
        err_set(err,
                "the join token has just admitted a sidecar that has not accepted its certificate "
                "yet: if it doesn't, the token is good again within %d seconds",
                TOKEN_HOLD_SECONDS);
        return TOKEN_HELD;
    }
    if (access(paths->used, F_OK) == 0) {
        err_set(err, "the join token was used before; each admits one sidecar once");
        return TOKEN_USED;
    }
    err_set(err, "the join token is not known here");
    return TOKEN_UNKNOWN;
}

// Ends a hold that is older than any stream needs. By whichever clock it was made: one that lies
// ahead of ours as far counts as old, too.
static void end_old_hold(const struct paths *paths, time_t now)
{
    struct stat st;
    if (stat(paths->held, &st) == 0 && llabs((long long)(now - st.st_mtime)) > TOKEN_HOLD_SECONDS &&
        rename(paths->held, paths->good) == 0) {
        log_info("msg=\"join token given back: whoever held it is gone\"");
    }
}

enum token_result token_find(struct token_name *out, char out_id[SPIFFE_ID_LEN_MAX + 1],
                             const char *dir, const char *token, time_t now, struct err *err)
{
    time_t expires = 0;
    name_of(out->text, token);
    struct paths paths = paths_of(out, dir);
    end_old_hold(&paths, now);
    if (access(paths.good, F_OK) != 0 && errno == ENOENT) {
        return missing(&paths, err);
    }
    if (!read_line(paths.good, out_id, &expires, err)) {
        return TOKEN_BROKEN;
    }
    if (now >= expires) {
        err_set(err, "the join token expired %lld seconds ago", (long long)(now - expires));
        return TOKEN_EXPIRED;
    }
    return TOKEN_OK;
}

static enum token_result move(const char *from, const char *to, const struct paths *paths,
                              struct err *err)
{
    if (rename(from, to) == 0) {
        return TOKEN_OK;
    }
    if (errno == ENOENT) {
        return missing(paths, err);
    }
    err_set(err, "the join token can't be used up: %s", strerror(errno));
    return TOKEN_BROKEN;
}

enum token_result token_hold(const struct token_name *name, const char *dir, time_t now,
                             struct err *err)
{
    struct paths paths = paths_of(name, dir);
    const struct timespec times[2] = {{.tv_sec = now}, {.tv_sec = now}};
    if (!make_folders(dir, err)) { // a policyd of before may have made them
        return TOKEN_BROKEN;
    }
    utimensat(AT_FDCWD, paths.good, times, 0); // if it isn't there the move fails
    return move(paths.good, paths.held, &paths, err);
}

enum token_result token_spend(const struct token_name *name, const char *dir, struct err *err)
{
    struct paths paths = paths_of(name, dir);
    if (rename(paths.held, paths.used) == 0) {
        return TOKEN_OK;
    }
    return move(paths.good, paths.used, &paths, err); // the hold has grown old
}

void token_give_back(const struct token_name *name, const char *dir)
{
    struct paths paths = paths_of(name, dir);
    if (rename(paths.held, paths.good) != 0) {
        log_warn("msg=\"join token not given back\" error=\"%s\"", strerror(errno));
    }
}

static void sweep_holds(const char *dir, time_t now)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tokens/held", dir);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        struct token_name name;
        if (strlen(entry->d_name) == NAME_LEN) {
            memcpy(name.text, entry->d_name, sizeof name.text);
            struct paths paths = paths_of(&name, dir);
            end_old_hold(&paths, now);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static void sweep_folder(const char *folder, time_t now)
{
    char path[PATH_MAX], id[SPIFFE_ID_LEN_MAX + 1];
    DIR *open_folder = opendir(folder);
    time_t expires = 0;
    for (struct dirent *entry; open_folder != NULL && (entry = readdir(open_folder)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strlen(entry->d_name) == NAME_LEN && read_line(path, id, &expires, NULL) &&
            now - expires > TOKEN_MEMORY_SECONDS) {
            unlink(path);
        }
    }
    if (open_folder != NULL) {
        closedir(open_folder);
    }
}

void token_sweep(const char *dir, time_t now)
{
    char path[PATH_MAX];
    sweep_holds(dir, now);
    snprintf(path, sizeof path, "%s/tokens", dir);
    sweep_folder(path, now);
    snprintf(path, sizeof path, "%s/tokens/used", dir);
    sweep_folder(path, now);
}
