// SPDX-License-Identifier: Apache-2.0
#include "proxy/limits/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"

enum {
    DESCRIPTORS_RESERVED = 256, // at the least, or a quarter: for what nobody has counted
    TEXT_LEN_MAX = 65536,
    PATH_LEN_MAX = 4096,
};

static uint32_t read_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX) {
        return UINT32_MAX;
    }
    return (uint32_t)limit.rlim_cur;
}

// Returns the number in a file, UINT64_MAX if there is none: "max", no such file, or what version 1
// shows where nobody has set a limit, a number that no machine has bytes for.
static uint64_t read_number(const char *path)
{
    struct err err = {0};
    char *text = NULL;
    size_t len = 0;
    if (!file_read_text(&text, &len, path, TEXT_LEN_MAX, &err)) {
        return UINT64_MAX;
    }
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    bool is_number = end != text && text[0] >= '0' && text[0] <= '9';
    free(text);
    return is_number && number > 0 && number < UINT64_C(1) << 60 ? number : UINT64_MAX;
}

// Returns the least number in a group's file of a name and those of the groups above it. In a
// container the group may be mounted as the root itself, which is the last to be looked at.
static uint64_t least_above(const char *root, const char *group, size_t group_len, const char *name)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char path[PATH_LEN_MAX];
        int len = snprintf(path, sizeof path, "%s%.*s/%s", root, (int)group_len, group, name);
        uint64_t here = len < (int)sizeof path ? read_number(path) : UINT64_MAX;
        least = here < least ? here : least;
        if (group_len == 0) {
            return least;
        }
        while (group_len > 0 && group[--group_len] != '/') {
        }
    }
}

// Says whether "memory" is one of a line's controllers, which commas divide.
static bool has_memory(const char *controllers, size_t len)
{
    while (len > 0) {
        size_t one = 0;
        while (one < len && controllers[one] != ',') {
            one++;
        }
        if (one == 6 && memcmp(controllers, "memory", 6) == 0) {
            return true;
        }
        one += one < len;
        controllers += one;
        len -= one;
    }
    return false;
}

// Each line is "id:controllers:/path" (cgroups(7)); version 2 has no controllers there.
static uint64_t read_memory(const char *list, const char *root)
{
    struct err err = {0};
    char *text = NULL;
    size_t text_len = 0;
    uint64_t least = UINT64_MAX;
    if (!file_read_text(&text, &text_len, list, TEXT_LEN_MAX, &err)) {
        return UINT64_MAX;
    }
    for (char *line = text; line != NULL && *line != '\0';) {
        char *line_end = strchr(line, '\n');
        size_t len = line_end != NULL ? (size_t)(line_end - line) : strlen(line);
        const char *controllers = memchr(line, ':', len);
        const char *group = controllers == NULL ? NULL
                                                : memchr(controllers + 1, ':',
                                                         len - (size_t)(controllers + 1 - line));
        if (group != NULL) {
            size_t controllers_len = (size_t)(group - controllers) - 1;
            size_t group_len = len - (size_t)(group + 1 - line);
            uint64_t here = UINT64_MAX;
            if (controllers_len == 0) {
                here = least_above(root, group + 1, group_len, "memory.max");
            } else if (has_memory(controllers + 1, controllers_len)) {
                char memory_root[PATH_LEN_MAX];
                snprintf(memory_root, sizeof memory_root, "%s/memory", root);
                here = least_above(memory_root, group + 1, group_len, "memory.limit_in_bytes");
            }
            least = here < least ? here : least;
        }
        line = line_end != NULL ? line_end + 1 : NULL;
    }
    free(text);
    return least;
}

void room_read(struct room *out, const char *list, const char *root)
{
    out->descriptors = read_descriptors();
    out->memory_bytes = read_memory(list, root);
}

struct room room_for_connections(const struct room *process, unsigned num_workers,
                                 size_t num_listeners)
{
    uint64_t all = process->descriptors;
    uint64_t reserved = all / 4 < DESCRIPTORS_RESERVED ? all / 4 : DESCRIPTORS_RESERVED;
    uint64_t taken = ROOM_PROCESS_FDS +
                     num_workers * (ROOM_WORKER_FDS + (uint64_t)num_listeners * ROOM_LISTENER_FDS);
    uint64_t least = (uint64_t)num_workers * ROOM_CONNECTION_FDS;
    reserved = reserved > taken ? reserved : taken;
    uint64_t left = all > reserved + least ? all - reserved : least;
    return (struct room){.memory_bytes = process->memory_bytes, .descriptors = (uint32_t)left};
}

static void fit(uint32_t *limit, uint64_t most)
{
    if (*limit > most) {
        *limit = most > 0 ? (uint32_t)most : 1;
    }
}

void room_fit(struct limits *limits, const struct room *room)
{
    fit(&limits->connections, room->descriptors / ROOM_CONNECTION_FDS);
    fit(&limits->hellos, room->descriptors / 5 * 3);
    if (room->memory_bytes != UINT64_MAX) {
        uint64_t quarter = room->memory_bytes / 4;
        fit(&limits->connections, quarter / ROOM_CONNECTION_BYTES);
        fit(&limits->hellos, quarter / 4 / ROOM_HELLO_BYTES);
        fit(&limits->handshakes, quarter / 4 / ROOM_HANDSHAKE_BYTES);
        limits->buffer_bytes = limits->buffer_bytes < quarter ? limits->buffer_bytes : quarter;
    }
}
