// SPDX-License-Identifier: Apache-2.0
//
// Versions by a counter in a file of the folder.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "control/policyd/stream/version_impl.h"

#define TEXT_LEN 21 // 20 digits, always all of them, and a line feed: a write never leaves a tail

// Reads the last version drawn by anybody; 0 from an empty file.
static bool read_last(int fd, uint64_t *out, struct err *err)
{
    char text[TEXT_LEN + 1] = "";
    char *end = text;
    ssize_t len = pread(fd, text, TEXT_LEN, 0);
    if (len < 0) {
        return err_set(err, "%s", strerror(errno));
    }
    *out = 0;
    if (len == 0) {
        return true;
    }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return (len == TEXT_LEN && end == text + TEXT_LEN - 1 && errno == 0) ||
           err_set(err, "is not a version (20 digits and a line feed)");
}

static bool draw_shared(struct version *version, uint64_t at_least, struct err *err)
{
    char text[TEXT_LEN + 1];
    uint64_t shared = 0;
    if (version->fd < 0) {
        return err_set(err, "the file is not open");
    }
    if (flock(version->fd, LOCK_EX) != 0) {
        return err_set(err, "can't be locked: %s", strerror(errno));
    }
    bool ok = read_last(version->fd, &shared, err);
    if (ok) {
        version->last = shared >= at_least ? shared + 1 : at_least;
        snprintf(text, sizeof text, "%020" PRIu64 "\n", version->last);
        ok = pwrite(version->fd, text, TEXT_LEN, 0) == TEXT_LEN ||
             err_set(err, "can't be written: %s", strerror(errno));
    }
    flock(version->fd, LOCK_UN);
    return ok;
}

static bool draw(struct version *version, uint64_t now_us, struct err *err)
{
    uint64_t at_least = now_us > version->last ? now_us : version->last + 1;
    if (draw_shared(version, at_least, err)) {
        return true;
    }
    if (version->last < at_least) {
        version->last = at_least;
    }
    return false;
}

static enum version_reach reach(struct version *version, uint64_t held, uint64_t *ticket,
                                uint64_t now_us)
{
    uint64_t shared = 0;
    (void)ticket;
    if (held <= version->last) {
        return VERSION_REACHED;
    }
    bool is_ours = held <= now_us ||
                   (version->fd >= 0 && read_last(version->fd, &shared, NULL) && held <= shared);
    if (is_ours) {
        draw(version, now_us, NULL);
    }
    return is_ours && held <= version->last ? VERSION_REACHED : VERSION_FOREIGN;
}

static const struct version_kind in_file = {.draw = draw, .reach = reach};

bool version_open(struct version *out, const char *dir, uint64_t now_us, struct err *err)
{
    char path[PATH_MAX];
    *out = (struct version){.kind = &in_file, .fd = -1};
    snprintf(path, sizeof path, "%s/version", dir);
    out->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out->fd < 0) {
        return err_set(err, "%s: %s", path, strerror(errno));
    }
    return draw(out, now_us, err) || err_prefix(err, "%s", path);
}
