// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/files/source_file.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "control/host/watch.h"
#include "control/agent/sources/sources.h"
#include "tests/unit/control/agent/folder.h"
#include "tests/unit/support/loop.h"

// A Kubernetes volume in the folder: web.pem and web.key lead through ..data to ..0 or ..1, two
// pairs that don't mix.
static void make_volume(struct folder *folder)
{
    for (int i = 0; i < 2; i++) {
        char path[512];
        char name[64];
        snprintf(path, sizeof path, "%s/..%d", folder->path, i);
        cr_assert_eq(mkdir(path, 0700), 0);
        EVP_PKEY *key = folder_key(MINT_KEY_ED25519);
        X509 *leaf = folder_leaf(folder, key);
        snprintf(name, sizeof name, "..%d/web.pem", i);
        folder_write_chain(folder, name, leaf, folder->intermediate.cert);
        snprintf(name, sizeof name, "..%d/web.key", i);
        folder_write_key(folder, name, key);
        X509_free(leaf);
        EVP_PKEY_free(key);
    }
    folder_remove(folder, "web.pem");
    folder_remove(folder, "web.key");
    char path[512];
    snprintf(path, sizeof path, "%s/..data", folder->path);
    cr_assert_eq(symlink("..0", path), 0);
    snprintf(path, sizeof path, "%s/web.pem", folder->path);
    cr_assert_eq(symlink("..data/web.pem", path), 0);
    snprintf(path, sizeof path, "%s/web.key", folder->path);
    cr_assert_eq(symlink("..data/web.key", path), 0);
}

static void swap_volume(const struct folder *folder, unsigned number)
{
    char target[16];
    char next[512];
    char data[512];
    snprintf(target, sizeof target, "..%u", number % 2);
    snprintf(next, sizeof next, "%s/..data_tmp", folder->path);
    snprintf(data, sizeof data, "%s/..data", folder->path);
    cr_assert_eq(symlink(target, next), 0);
    cr_assert_eq(rename(next, data), 0);
}

struct swapper {
    const struct folder *folder;
    atomic_bool is_over;
    atomic_uint num_swaps;
};

static void *on_swapper(void *ctx)
{
    struct swapper *swapper = ctx;
    while (!atomic_load(&swapper->is_over)) {
        swap_volume(swapper->folder, atomic_fetch_add(&swapper->num_swaps, 1) + 1);
        // A real volume is swapped once a minute. This is to hit every gap between two reads.
        usleep(200);
    }
    return NULL;
}

Test(mesh_files, a_swapped_volume_is_read_from_one_side_or_the_other, .timeout = 60)
{
    struct folder folder;
    folder_init(&folder);
    make_volume(&folder);
    struct swapper swapper = {.folder = &folder};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, on_swapper, &swapper), 0);
    unsigned num_good = 0;
    for (unsigned i = 0; i < 400; i++) {
        struct mesh out;
        struct err err = {{0}, {0}};
        if (mesh_load(&out, folder.mesh, sources_fields, folder.now, &err)) {
            num_good++;
        } else {
            cr_expect(strstr(err.text, "kept changing") != NULL, "%s", err.text);
        }
        mesh_cleanup(&out);
    }
    atomic_store(&swapper.is_over, true);
    pthread_join(thread, NULL);
    cr_expect_gt(num_good, 0);
    cr_expect_gt(atomic_load(&swapper.num_swaps), 50);
    folder_cleanup(&folder);
}

Test(mesh_files, a_change_is_seen_by_path_through_links, .timeout = 20)
{
    struct folder folder;
    folder_init(&folder);
    make_volume(&folder);
    struct mesh_files files = {0};
    cr_assert(mesh_files_read(&files, NULL, folder.mesh, sources_fields, NULL));
    cr_expect_eq(files.files.num, 4);
    cr_expect(!files_moved(&files.files));
    swap_volume(&folder, 1);
    cr_expect(files_moved(&files.files));
    mesh_files_cleanup(&files);
    folder_remove(&folder, "mesh.yaml");
    cr_assert(!mesh_files_read(&files, NULL, folder.mesh, sources_fields, NULL));
    cr_expect(!files_moved(&files.files), "what is missing stays missing");
    folder_write(&folder, "mesh.yaml", folder_mesh_yaml);
    cr_expect(files_moved(&files.files), "and what comes is a change");
    mesh_files_cleanup(&files);
    folder_cleanup(&folder);
}

// A source on a loop, and what it said.
struct watch {
    uv_loop_t loop;
    struct source_file *source;
    unsigned num_loaded;
    unsigned num_failed;
    uint8_t digest[32];
    char failure[1024];
};

static void on_loaded(void *ctx, struct mesh *mesh)
{
    struct watch *watch = ctx;
    watch->num_loaded++;
    memcpy(watch->digest, mesh->assembly.digest, sizeof watch->digest);
}

static void on_failed(void *ctx, const char *text)
{
    struct watch *watch = ctx;
    watch->num_failed++;
    snprintf(watch->failure, sizeof watch->failure, "%s", text);
}

static void watch_init(struct watch *watch, const struct folder *folder)
{
    *watch = (struct watch){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    cr_assert_eq(uv_loop_init(&watch->loop), 0);
    watch->source = source_file_new(
        &watch->loop, folder->mesh, sources_fields,
        &(struct source_file_hooks){.ctx = watch, .on_loaded = on_loaded, .on_failed = on_failed});
}

// Makes the folder and the source, and waits until it has loaded.
static void watch_loaded(struct watch *watch, struct folder *folder)
{
    folder_init(folder);
    watch_init(watch, folder);
    cr_assert(run_until(watch, watch->num_loaded > 0, 5000));
}

static void watch_cleanup(struct watch *watch)
{
    source_file_close(watch->source);
    loop_end(&watch->loop);
}

Test(source_file, loads_at_start_and_after_each_swap_within_tens_of_milliseconds, .timeout = 30)
{
    struct folder folder;
    folder_init(&folder);
    make_volume(&folder);
    struct watch watch;
    watch_init(&watch, &folder);
    cr_assert(run_until(&watch, watch.num_loaded > 0, 5000));
    uint64_t slowest_ns = 0;
    for (unsigned i = 1; i <= 10; i++) {
        uint8_t before[32];
        memcpy(before, watch.digest, sizeof before);
        uint64_t start = uv_hrtime();
        swap_volume(&folder, i);
        cr_assert(run_until(&watch, memcmp(before, watch.digest, sizeof before) != 0, 5000),
                  "swap %u wasn't seen", i);
        uint64_t took = uv_hrtime() - start;
        slowest_ns = took > slowest_ns ? took : slowest_ns;
    }
    cr_expect_eq(watch.num_failed, 0, "%s", watch.failure);
    cr_expect_lt(slowest_ns / 1000000, WATCH_POLL_MS / 2, "the poll would be slower than this");
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, a_file_in_pieces_is_no_failure_and_then_loads, .timeout = 30)
{
    struct folder folder;
    struct watch watch;
    watch_loaded(&watch, &folder);
    // Files that have just been written are read twice; the second time must be over, too.
    run_until(&watch, false, 2 * WATCH_RETRY_MS);
    unsigned loaded = watch.num_loaded;
    char half[4096];
    snprintf(half, sizeof half, "%.40s", folder_mesh_yaml);
    folder_write(&folder, "mesh.yaml", half);
    run_until(&watch, false, WATCH_RETRY_MS / 2);
    snprintf(half, sizeof half,
             "%sforwards: [{listen: \"127.0.0.1:7000\", destination: "
             "\"127.0.0.1:9443\"}]\n",
             folder_mesh_yaml);
    folder_write(&folder, "mesh.yaml", half);
    cr_expect(run_until(&watch, watch.num_loaded > loaded, 5000));
    cr_expect_eq(watch.num_failed, 0, "%s", watch.failure);
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, a_file_that_vanishes_is_told_once_and_its_return_is_seen, .timeout = 30)
{
    struct folder folder;
    struct watch watch;
    watch_loaded(&watch, &folder);
    folder_remove(&folder, "mesh.yaml");
    cr_expect(run_until(&watch, watch.num_failed > 0, 5000));
    cr_expect(strstr(watch.failure, "mesh.yaml: No such file or directory") != NULL, "%s",
              watch.failure);
    unsigned loaded = watch.num_loaded;
    folder_write(&folder, "unrelated", "noise");
    run_until(&watch, false, WATCH_POLL_MS + 500);
    cr_expect_eq(watch.num_failed, 1, "told again");
    folder_write(&folder, "mesh.yaml", folder_mesh_yaml);
    cr_expect(run_until(&watch, watch.num_loaded > loaded, 5000));
    cr_expect_eq(watch.num_failed, 1);
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, the_same_failure_of_changed_files_is_told_once, .timeout = 30)
{
    struct folder folder;
    struct watch watch;
    watch_loaded(&watch, &folder);
    EVP_PKEY *other = folder_key(MINT_KEY_ED25519);
    for (unsigned i = 0; i < 3; i++) {
        folder_write_key(&folder, "web.key", other);
        cr_expect(run_until(&watch, watch.num_failed > 0, 5000));
        run_until(&watch, false, 3 * WATCH_RETRY_MS);
    }
    cr_expect_eq(watch.num_failed, 1, "told %u times", watch.num_failed);
    source_file_reload(watch.source);
    cr_expect(run_until(&watch, watch.num_failed == 2, 5000), "unless asked to load again");
    cr_expect(strstr(watch.failure, "does not belong to") != NULL, "%s", watch.failure);
    EVP_PKEY_free(other);
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, other_files_in_the_folder_cause_no_load, .timeout = 30)
{
    struct folder folder;
    struct watch watch;
    watch_loaded(&watch, &folder);
    run_until(&watch, false, 3 * WATCH_RETRY_MS);
    unsigned loaded = watch.num_loaded;
    for (int i = 0; i < 5; i++) {
        folder_write(&folder, "unrelated", "noise");
        run_until(&watch, false, WATCH_QUIET_MS + 10);
    }
    cr_expect_eq(watch.num_loaded, loaded);
    source_file_reload(watch.source);
    cr_expect(run_until(&watch, watch.num_loaded > loaded, 5000), "unless asked to");
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, a_folder_that_comes_later_is_found_by_the_poll, .timeout = 30)
{
    struct folder folder;
    folder_init(&folder);
    char moved[256];
    snprintf(moved, sizeof moved, "%s.away", folder.path);
    cr_assert_eq(rename(folder.path, moved), 0);
    struct watch watch;
    watch_init(&watch, &folder);
    cr_expect(run_until(&watch, watch.num_failed > 0, 5000));
    cr_assert_eq(rename(moved, folder.path), 0);
    cr_expect(run_until(&watch, watch.num_loaded > 0, 2 * WATCH_POLL_MS));
    watch_cleanup(&watch);
    folder_cleanup(&folder);
}

Test(source_file, closing_while_it_loads_is_clean, .timeout = 30)
{
    struct folder folder;
    folder_init(&folder);
    struct watch watch;
    watch_init(&watch, &folder);
    watch_cleanup(&watch);
    cr_expect_eq(watch.num_loaded, 0, "no hook after the close");
    folder_cleanup(&folder);
}
