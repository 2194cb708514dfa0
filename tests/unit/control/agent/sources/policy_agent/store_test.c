// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/store.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

struct folder {
    char path[TEMP_PATH_BYTES];
    char state[160];
    char version[160];
};

static void folder_init(struct folder *folder)
{
    temp_make(folder->path);
    snprintf(folder->state, sizeof folder->state, "%s/" STORE_STATE_FILE, folder->path);
    snprintf(folder->version, sizeof folder->version, "%s/" STORE_VERSION_FILE, folder->path);
}

static void folder_cleanup(struct folder *folder)
{
    unlink(folder->state);
    unlink(folder->version);
    cr_expect_eq(rmdir(folder->path), 0, "a temporary file was left");
}

static bool put(const struct folder *folder, uint64_t version, const char *destination,
                struct err *err)
{
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    Tabard__V1__Destination one = TABARD__V1__DESTINATION__INIT;
    Tabard__V1__Destination *destinations[] = {&one};
    one.name = (char *)destination;
    state.n_destinations = 1;
    state.destinations = destinations;
    const struct stored_state what = {.state = &state, .version = version, .unix_s = 1800000000};
    size_t len = 0;
    uint8_t *bytes = store_pack(&what, "node", &len, NULL);
    cr_assert_not_null(bytes);
    bool ok = store_write(folder->path, bytes, len, version, err);
    free(bytes);
    return ok;
}

Test(store, gives_back_what_was_stored_to_its_owner_alone, .timeout = 20)
{
    struct folder folder;
    struct stored_state out;
    struct err err = {{0}, {0}};
    struct stat st;
    bool is_missing = false;
    folder_init(&folder);
    cr_expect_not(store_read(&out, folder.path, "node", false, &is_missing, &err));
    cr_expect(is_missing);
    cr_assert(put(&folder, 7, "a", &err), "%s", err.text);
    cr_assert(put(&folder, 8, "b", &err), "%s", err.text);
    cr_assert(store_read(&out, folder.path, "node", false, &is_missing, &err), "%s", err.text);
    cr_expect_eq(out.version, 8);
    cr_expect_eq(out.unix_s, 1800000000);
    cr_expect_str_eq(out.state->destinations[0]->name, "b");
    tabard__v1__state__free_unpacked(out.state, NULL);
    cr_assert_eq(stat(folder.state, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
    folder_cleanup(&folder);
}

static void spoil(const char *path, long at, bool is_cut)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte = 0;
    cr_assert(fd >= 0);
    if (is_cut) {
        cr_assert_eq(ftruncate(fd, at), 0);
    } else {
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

Test(store, refuses_every_flipped_bit_and_every_cut, .timeout = 60)
{
    struct folder folder;
    struct stat st;
    folder_init(&folder);
    cr_assert(put(&folder, 7, "a", NULL));
    cr_assert_eq(stat(folder.state, &st), 0);
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        for (long at = 0; at < st.st_size; at++) {
            struct stored_state out;
            struct err err = {{0}, {0}};
            bool is_missing = true;
            spoil(folder.state, at, is_cut == 1);
            cr_expect_not(store_read(&out, folder.path, "node", false, &is_missing, &err),
                          "byte %ld", at);
            cr_expect_not(is_missing);
            cr_expect(strstr(err.text, "cut short") != NULL, "byte %ld: %s", at, err.text);
            cr_assert(put(&folder, 7, "a", NULL));
        }
    }
    folder_cleanup(&folder);
}

Test(store, refuses_what_is_not_its_own_or_older, .timeout = 20)
{
    static const struct {
        const char *name;
        const char *owner;
        mode_t mode;
        const char *mark;
        bool accepts_older;
        const char *words; // NULL: taken
    } rows[] = {
        {"good", "node", 0600, NULL, false, NULL},
        {"no mark", "node", 0600, "", false, NULL},
        {"another sidecar", "nod", 0600, NULL, false, "another sidecar"},
        {"group may write", "node", 0620, NULL, false, "others may write"},
        {"all may write", "node", 0602, NULL, false, "others may write"},
        {"older", "node", 0600, "8\n", false, "version 7 is older than 8"},
        {"older, and accepted", "node", 0600, "8\n", true, NULL},
        {"newer than its mark", "node", 0600, "6\n", false, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct folder folder;
        struct stored_state out;
        struct err err = {{0}, {0}};
        bool is_missing = false;
        folder_init(&folder);
        cr_assert(put(&folder, 7, "a", NULL));
        cr_assert_eq(chmod(folder.state, rows[i].mode), 0);
        if (rows[i].mark != NULL) {
            int fd = open(folder.version, O_WRONLY | O_TRUNC | O_CLOEXEC);
            cr_assert_eq(write(fd, rows[i].mark, strlen(rows[i].mark)),
                         (ssize_t)strlen(rows[i].mark));
            close(fd);
        }
        bool ok =
            store_read(&out, folder.path, rows[i].owner, rows[i].accepts_older, &is_missing, &err);
        cr_expect_eq(ok, rows[i].words == NULL, "%s: %s", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL, "%s: %s",
                  rows[i].name, err.text);
        if (ok) {
            tabard__v1__state__free_unpacked(out.state, NULL);
        }
        folder_cleanup(&folder);
    }
}

Test(store, keeps_the_old_file_when_the_new_one_does_not_fit, .timeout = 20)
{
    struct folder folder;
    struct stored_state out;
    struct err err = {{0}, {0}};
    bool is_missing = false;
    char name[5000];
    folder_init(&folder);
    cr_assert(put(&folder, 7, "a", NULL));
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    // A file that may not grow fails as one on a full disk does, in the middle.
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit small = {.rlim_cur = 1000, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    bool ok = put(&folder, 8, name, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_expect_not(ok);
    cr_expect(strstr(err.text, STORE_STATE_FILE) != NULL, "%s", err.text);
    cr_assert(store_read(&out, folder.path, "node", false, &is_missing, &err), "%s", err.text);
    cr_expect_eq(out.version, 7);
    tabard__v1__state__free_unpacked(out.state, NULL);
    folder_cleanup(&folder);
}

Test(store, a_folder_that_cannot_be_made_is_an_error, .timeout = 20)
{
    struct err err = {{0}, {0}};
    cr_expect_not(store_write("/proc/none/such", (const uint8_t *)"x", 1, 1, &err));
    cr_expect(strstr(err.text, "/proc/none/such") != NULL, "%s", err.text);
}

Test(store, a_link_in_the_place_of_the_file_is_not_followed, .timeout = 20)
{
    struct folder folder;
    struct stored_state out;
    struct err err = {{0}, {0}};
    bool is_missing = true;
    folder_init(&folder);
    cr_assert_eq(symlink("/etc/passwd", folder.state), 0);
    cr_expect_not(store_read(&out, folder.path, "node", false, &is_missing, &err));
    cr_expect_not(is_missing);
    folder_cleanup(&folder);
}
