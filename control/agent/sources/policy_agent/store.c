// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/pb/pb_text.h"
#include "control/agent/sources/subscription/pa_response.h"

// magic, SHA-256 of all that follows, Unix time, length of the owner, owner, SubscribeResponse
#define MAGIC      "tabard state 1\n"
#define MAGIC_LEN  (sizeof MAGIC - 1)
#define HASH_AT    MAGIC_LEN
#define TIME_AT    (HASH_AT + SHA256_DIGEST_LENGTH)
#define OWNER_AT   (TIME_AT + 8)
#define HEADER_LEN (OWNER_AT + 2)

static void put_number(uint8_t *out, uint64_t number, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        out[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
    }
}

static uint64_t get_number(const uint8_t *bytes, unsigned len)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < len; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

uint8_t *store_pack(const struct stored_state *what, const char *owner, size_t *out_len,
                    struct err *err)
{
    Tabard__V1__SubscribeResponse message = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    message.nonce = (char *)"stored";
    message.version = what->version;
    message.state = what->state;
    size_t owner_len = strlen(owner);
    size_t len = HEADER_LEN + owner_len + tabard__v1__subscribe_response__get_packed_size(&message);
    if (len > STORE_BYTES_MAX || owner_len > UINT16_MAX) {
        err_set(err, "a state of %zu bytes is over the limit of %u", len, STORE_BYTES_MAX);
        return NULL;
    }
    uint8_t *bytes = malloc(len);
    if (bytes == NULL) {
        err_set(err, "out of memory for a state of %zu bytes", len);
        return NULL;
    }
    memcpy(bytes, MAGIC, MAGIC_LEN);
    put_number(bytes + TIME_AT, (uint64_t)what->unix_s, 8);
    put_number(bytes + OWNER_AT, owner_len, 2);
    memcpy(bytes + HEADER_LEN, owner, owner_len);
    tabard__v1__subscribe_response__pack(&message, bytes + HEADER_LEN + owner_len);
    SHA256(bytes + TIME_AT, len - TIME_AT, bytes + HASH_AT);
    *out_len = len;
    return bytes;
}

bool store_write(const char *folder, const uint8_t *bytes, size_t len, uint64_t version,
                 struct err *err)
{
    char text[32];
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return err_set(err, "%s: %s", folder, strerror(errno));
    }
    char state[PATH_MAX], mark[PATH_MAX];
    snprintf(state, sizeof state, "%s/" STORE_STATE_FILE, folder);
    snprintf(mark, sizeof mark, "%s/" STORE_VERSION_FILE, folder);
    int text_len = snprintf(text, sizeof text, "%" PRIu64 "\n", version);
    // The state first: cut short in between, it is newer than its mark, which is allowed.
    return file_replace(state, bytes, len, true, err) &&
           file_replace(mark, text, (size_t)text_len, true, err);
}

static bool read_file(struct file *out, const char *folder, const char *name, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return file_read(out, path, STORE_BYTES_MAX, FILE_OURS, err) || err_prefix(err, "%s", path);
}

// The highest version ever stored; without a mark none is known.
static uint64_t read_mark(const char *folder)
{
    struct file file;
    uint64_t mark = 0;
    if (read_file(&file, folder, STORE_VERSION_FILE, NULL)) {
        mark = strtoull(file.bytes, NULL, 10);
    }
    file_cleanup(&file);
    return mark;
}

static bool check_form(const uint8_t *bytes, size_t len, const char *owner, struct err *err)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    if (len < HEADER_LEN || memcmp(bytes, MAGIC, MAGIC_LEN) != 0) {
        return err_set(err, "not a stored state of this version, or cut short");
    }
    SHA256(bytes + TIME_AT, len - TIME_AT, hash);
    if (memcmp(hash, bytes + HASH_AT, sizeof hash) != 0) {
        return err_set(err, "damaged or cut short: its content has another SHA-256 than it says");
    }
    size_t owner_len = get_number(bytes + OWNER_AT, 2);
    if (owner_len > len - HEADER_LEN || owner_len != strlen(owner) ||
        memcmp(bytes + HEADER_LEN, owner, owner_len) != 0) {
        return err_set(err, "stored by another sidecar than this one, which is \"%s\"", owner);
    }
    return true;
}

static bool parse(struct stored_state *out, const uint8_t *bytes, size_t len, struct err *err)
{
    size_t at = HEADER_LEN + get_number(bytes + OWNER_AT, 2);
    char where[160];
    Tabard__V1__SubscribeResponse *message = pa_response_parse(bytes + at, len - at, err);
    if (message == NULL) {
        return false;
    }
    bool ok = message->state != NULL && message->version != 0 &&
              !pb_text_has_unknown(&message->base, where);
    if (ok) {
        *out = (struct stored_state){.state = message->state,
                                     .version = message->version,
                                     .unix_s = (int64_t)get_number(bytes + TIME_AT, 8)};
        message->state = NULL;
    }
    tabard__v1__subscribe_response__free_unpacked(message, NULL);
    return ok || err_set(err, "it holds something that this version doesn't know");
}

bool store_read(struct stored_state *out, const char *folder, const char *owner, bool accepts_older,
                bool *out_is_missing, struct err *err)
{
    struct file file;
    *out = (struct stored_state){0};
    bool was_read = read_file(&file, folder, STORE_STATE_FILE, err);
    *out_is_missing = file.stamp.error == ENOENT;
    if (!was_read) {
        return false;
    }
    const uint8_t *bytes = (const uint8_t *)file.bytes;
    uint64_t mark = read_mark(folder);
    bool ok = check_form(bytes, file.len, owner, err) && parse(out, bytes, file.len, err);
    if (ok && out->version < mark && !accepts_older) {
        ok = err_set(err,
                     "version %" PRIu64 " is older than %" PRIu64 ", which was stored before; to "
                     "take it write accept_older: true",
                     out->version, mark);
        tabard__v1__state__free_unpacked(out->state, NULL);
        *out = (struct stored_state){0};
    }
    file_cleanup(&file);
    return ok || err_prefix(err, "%s/%s", folder, STORE_STATE_FILE);
}
