// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/token.h"

#include <dirent.h>
#include <errno.h>
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
    static const char *const names[] = {"tokens", "tokens/used"};
    char path[PATH_MAX];
    for (size_t i = 0; i < 2; i++) {
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

static void paths_of(const struct token_name *name, const char *dir, char out_path[PATH_MAX],
                     char out_used[PATH_MAX])
{
    snprintf(out_path, PATH_MAX, "%s/tokens/%s", dir, name->text);
    snprintf(out_used, PATH_MAX, "%s/tokens/used/%s", dir, name->text);
}

// Says why a token is not there.
static enum token_result missing(const char *used, struct err *err)
{
    if (access(used, F_OK) == 0) {
        err_set(err, "the join token was used before; each admits one sidecar once");
        return TOKEN_USED;
    }
    err_set(err, "the join token is not known here");
    return TOKEN_UNKNOWN;
}

enum token_result token_find(struct token_name *out, char out_id[SPIFFE_ID_LEN_MAX + 1],
                             const char *dir, const char *token, time_t now, struct err *err)
{
    char path[PATH_MAX], used[PATH_MAX];
    time_t expires = 0;
    name_of(out->text, token);
    paths_of(out, dir, path, used);
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return missing(used, err);
    }
    if (!read_line(path, out_id, &expires, err)) {
        return TOKEN_BROKEN;
    }
    if (now >= expires) {
        err_set(err, "the join token expired %lld seconds ago", (long long)(now - expires));
        return TOKEN_EXPIRED;
    }
    return TOKEN_OK;
}

enum token_result token_spend(const struct token_name *name, const char *dir, struct err *err)
{
    char path[PATH_MAX], used[PATH_MAX];
    paths_of(name, dir, path, used);
    if (rename(path, used) == 0) {
        return TOKEN_OK;
    }
    if (errno == ENOENT) {
        return missing(used, err);
    }
    err_set(err, "the join token can't be used up: %s", strerror(errno));
    return TOKEN_BROKEN;
}

void token_give_back(const struct token_name *name, const char *dir)
{
    char path[PATH_MAX], used[PATH_MAX];
    paths_of(name, dir, path, used);
    if (rename(used, path) != 0) {
        log_warn("msg=\"join token not given back\" error=\"%s\"", strerror(errno));
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
    snprintf(path, sizeof path, "%s/tokens", dir);
    sweep_folder(path, now);
    snprintf(path, sizeof path, "%s/tokens/used", dir);
    sweep_folder(path, now);
}
