// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/world/registry_dir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define A        "spiffe://demo.example/a"
#define B        "spiffe://demo.example/b"
#define FOREIGN  "0123456789abcdef" // an instance that the test plays by hand
#define WAIT_MS  10000
#define PATH_LEN 512

// One policyd's registry, and its folder's half.
struct instance_rig {
    struct registry registry;
    struct registry_dir *dir;
};

// Two policyds that share temp_folder. The fleet of both permits 10.0.0.0/24, but not `forbidden`.
struct stage {
    uv_loop_t loop;
    struct instance_rig one, two;
    const char *forbidden; // NULL: nothing
};

static void on_moved(void *ctx, const struct ip *ip, const char *from_id, const char *to_id)
{
    (void)ctx, (void)ip, (void)from_id, (void)to_id;
}

static bool permits(void *ctx, const char *id, const struct ip *ip)
{
    const struct stage *stage = ctx;
    char text[ADDR_TEXT_MAX];
    (void)id;
    ip_text(ip, text);
    return strncmp(text, "10.0.0.", 7) == 0 &&
           (stage->forbidden == NULL || strcmp(text, stage->forbidden) != 0);
}

static void open_rig(struct stage *stage, struct instance_rig *rig)
{
    struct err err = {0};
    registry_init(&rig->registry, NULL, on_moved);
    rig->dir = registry_dir_new(&stage->loop, temp_folder, &rig->registry, permits, stage, &err);
    cr_assert_not_null(rig->dir, "%s", err.text);
}

static void close_rig(struct instance_rig *rig)
{
    registry_dir_close(rig->dir);
    registry_cleanup(&rig->registry);
}

static void stage_init(struct stage *stage)
{
    *stage = (struct stage){0};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
}

static struct claim *claim(struct instance_rig *rig, const char *id, const char *address,
                           uint64_t since_us)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, address, NULL));
    const struct claim_spec spec = {
        .id = id, .addresses = &ip, .num_addresses = 1, .since_us = since_us};
    struct claim *made = registry_claim(&rig->registry, &spec, NULL);
    cr_assert_not_null(made);
    return made;
}

// Returns the identity that an address belongs to, or "".
static const char *owner(struct instance_rig *rig, const char *address)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, address, NULL));
    const char *id = registry_owner(&rig->registry, &ip);
    return id != NULL ? id : "";
}

static const char *foreign_path(const char *name)
{
    static char path[PATH_LEN];
    snprintf(path, sizeof path, "%s/registry/%s%s%s", temp_folder, FOREIGN,
             name[0] != '\0' ? "/" : "", name);
    return path;
}

// Makes the foreign instance's folder with one file in it; it is alive, as it was just made.
static void make_foreign(const char *name, const char *text)
{
    char path[PATH_LEN];
    snprintf(path, sizeof path, "%s/registry", temp_folder);
    mkdir(path, 0700);
    mkdir(foreign_path(""), 0700);
    snprintf(path, sizeof path, "registry/%s/%s", FOREIGN, name);
    temp_write(temp_folder, path, text, strlen(text));
}

static void make_stale(void)
{
    make_foreign("alive", "");
    const time_t long_ago = time(NULL) - REGISTRY_STALE_MS / 1000 - 1;
    const struct timespec times[2] = {{.tv_sec = long_ago}, {.tv_sec = long_ago}};
    cr_assert_eq(utimensat(AT_FDCWD, foreign_path("alive"), times, 0), 0);
}

static unsigned num_folders(void)
{
    char path[PATH_LEN];
    unsigned num = 0;
    snprintf(path, sizeof path, "%s/registry", temp_folder);
    DIR *folder = opendir(path);
    cr_assert_not_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        num += entry->d_name[0] != '.';
    }
    closedir(folder);
    return num;
}

TestSuite(registry_dir, .init = temp_set_up, .fini = temp_tear_down, .timeout = 40);

Test(registry_dir, what_one_policyd_writes_the_other_sees_until_it_is_erased)
{
    struct stage stage;
    stage_init(&stage);
    open_rig(&stage, &stage.one);
    open_rig(&stage, &stage.two);
    struct claim *mine = claim(&stage.one, A, "10.0.0.1", 7);
    registry_dir_write(stage.one.dir, 5, mine);
    cr_expect(run_until(&stage, strcmp(owner(&stage.two, "10.0.0.1"), A) == 0, WAIT_MS));
    cr_expect_eq(stage.one.registry.num_claims, 1, "its own file is no claim of another");
    registry_dir_erase(stage.one.dir, 5);
    cr_expect(run_until(&stage, owner(&stage.two, "10.0.0.1")[0] == '\0', WAIT_MS));
    cr_expect_eq(stage.two.registry.num_claims, 0);
    registry_drop(&stage.one.registry, mine);
    close_rig(&stage.one);
    close_rig(&stage.two);
    loop_end(&stage.loop);
}

Test(registry_dir, the_older_claim_keeps_the_address)
{
    struct stage stage;
    stage_init(&stage);
    open_rig(&stage, &stage.one);
    open_rig(&stage, &stage.two);
    struct claim *older = claim(&stage.one, A, "10.0.0.1", 7);
    struct claim *newer = claim(&stage.two, B, "10.0.0.1", 8);
    registry_dir_write(stage.one.dir, 1, older);
    registry_dir_write(stage.two.dir, 1, newer);
    cr_expect(run_until(&stage, strcmp(owner(&stage.two, "10.0.0.1"), A) == 0, WAIT_MS));
    cr_expect(run_until(&stage, stage.one.registry.num_claims == 2, WAIT_MS));
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), A);
    cr_expect(!claim_is_in_force(newer));
    registry_drop(&stage.one.registry, older);
    registry_drop(&stage.two.registry, newer);
    close_rig(&stage.one);
    close_rig(&stage.two);
    loop_end(&stage.loop);
}

Test(registry_dir, a_policyd_that_ends_is_believed_by_the_next_one_for_a_while)
{
    struct stage stage;
    stage_init(&stage);
    open_rig(&stage, &stage.one);
    struct claim *mine = claim(&stage.one, A, "10.0.0.1", 7);
    registry_dir_write(stage.one.dir, 5, mine);
    registry_drop(&stage.one.registry, mine);
    close_rig(&stage.one);
    open_rig(&stage, &stage.two);
    cr_expect_str_eq(owner(&stage.two, "10.0.0.1"), A);
    close_rig(&stage.two);
    loop_end(&stage.loop);
}

struct file_row {
    const char *what;
    const char *text;
    const char *owner_1, *owner_2; // of 10.0.0.1 and 10.0.0.2; "" for nobody
};

static const struct file_row file_rows[] = {
    {"one address", A " 7 10.0.0.1\n", A, ""},
    {"two addresses", A " 7 10.0.0.1 10.0.0.2\n", A, A},
    {"an address that the fleet does not permit beside one that it does",
     A " 7 192.168.0.1 10.0.0.2\n", "", A},
    {"no address that the fleet permits", A " 7 192.168.0.1\n", "", ""},
    {"an address that is none", A " 7 10.0.0.1x 10.0.0.2\n", "", A},
    {"no SPIFFE id", "a 7 10.0.0.1\n", "", ""},
    {"a trust domain without a workload", "spiffe://demo.example 7 10.0.0.1\n", "", ""},
    {"an id alone", A, "", ""},
    {"nothing", "", "", ""},
    {"bytes", "\xff\xfe\x01", "", ""},
};

Test(registry_dir, a_foreign_file_is_believed_as_far_as_the_fleet_goes)
{
    for (size_t i = 0; i < sizeof file_rows / sizeof file_rows[0]; i++) {
        const struct file_row *row = &file_rows[i];
        struct stage stage;
        stage_init(&stage);
        make_foreign("1", row->text);
        open_rig(&stage, &stage.one);
        cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), row->owner_1, "%s", row->what);
        cr_expect_str_eq(owner(&stage.one, "10.0.0.2"), row->owner_2, "%s", row->what);
        cr_expect_str_eq(owner(&stage.one, "192.168.0.1"), "", "%s", row->what);
        close_rig(&stage.one);
        loop_end(&stage.loop);
    }
}

Test(registry_dir, other_files_are_not_read)
{
    static const char text[] = A " 7 10.0.0.1\n";
    static char long_text[REGISTRY_FILE_MAX + 2];
    struct stage stage;
    stage_init(&stage);
    make_foreign("1x", text);
    make_foreign("x", text);
    make_foreign("111111111111111111111111", text); // a name of 24 digits
    memset(long_text, ' ', sizeof long_text - 1);
    memcpy(long_text, text, sizeof text - 2);
    make_foreign("2", long_text);
    temp_write(temp_folder, "elsewhere", text, strlen(text));
    char target[PATH_LEN];
    snprintf(target, sizeof target, "%s/elsewhere", temp_folder);
    cr_assert_eq(symlink(target, foreign_path("3")), 0);
    cr_assert_eq(mkfifo(foreign_path("4"), 0600), 0);
    open_rig(&stage, &stage.one);
    cr_expect_eq(stage.one.registry.num_claims, 0);
    close_rig(&stage.one);
    loop_end(&stage.loop);
}

Test(registry_dir, another_fleet_permits_other_things)
{
    struct stage stage;
    stage_init(&stage);
    make_foreign("1", A " 7 10.0.0.1 10.0.0.2\n");
    open_rig(&stage, &stage.one);
    stage.forbidden = "10.0.0.1";
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), A, "until it is refreshed");
    registry_dir_refresh(stage.one.dir);
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), "");
    cr_expect_str_eq(owner(&stage.one, "10.0.0.2"), A);
    stage.forbidden = NULL;
    registry_dir_refresh(stage.one.dir);
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), A);
    close_rig(&stage.one);
    loop_end(&stage.loop);
}

Test(registry_dir, an_instance_dead_before_the_start_is_removed_unread)
{
    struct stage stage;
    stage_init(&stage);
    make_foreign("1", A " 7 10.0.0.1\n");
    make_stale();
    open_rig(&stage, &stage.one);
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), "");
    cr_expect_neq(access(foreign_path(""), F_OK), 0);
    close_rig(&stage.one);
    loop_end(&stage.loop);
}

Test(registry_dir, an_instance_that_dies_later_loses_its_addresses_and_its_folder)
{
    struct stage stage;
    stage_init(&stage);
    make_foreign("1", A " 7 10.0.0.1\n");
    make_foreign("alive", "");
    open_rig(&stage, &stage.one);
    cr_expect_str_eq(owner(&stage.one, "10.0.0.1"), A);
    make_stale();
    cr_expect(run_until(&stage, owner(&stage.one, "10.0.0.1")[0] == '\0', WAIT_MS));
    cr_expect_neq(access(foreign_path(""), F_OK), 0);
    cr_expect_eq(num_folders(), 1, "its own stays");
    close_rig(&stage.one);
    loop_end(&stage.loop);
}

Test(registry_dir, more_instances_than_the_limit_are_not_heard)
{
    struct stage stage;
    char path[PATH_LEN];
    stage_init(&stage);
    snprintf(path, sizeof path, "%s/registry", temp_folder);
    cr_assert_eq(mkdir(path, 0700), 0);
    for (unsigned i = 0; i <= REGISTRY_INSTANCES_MAX; i++) {
        char text[128], name[64];
        snprintf(path, sizeof path, "%s/registry/%016u", temp_folder, i);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(name, sizeof name, "registry/%016u/1", i);
        int len = snprintf(text, sizeof text, A " 7 10.0.0.%u\n", i + 1);
        temp_write(temp_folder, name, text, (size_t)len);
    }
    open_rig(&stage, &stage.one);
    cr_expect_eq(stage.one.registry.num_claims, REGISTRY_INSTANCES_MAX);
    close_rig(&stage.one);
    loop_end(&stage.loop);
}

Test(registry_dir, a_folder_that_cannot_be_made_is_named)
{
    struct stage stage;
    struct err err = {0};
    stage_init(&stage);
    temp_write(temp_folder, "registry", "", 0);
    registry_init(&stage.one.registry, NULL, on_moved);
    cr_expect_null(
        registry_dir_new(&stage.loop, temp_folder, &stage.one.registry, permits, &stage, &err));
    cr_expect(strstr(err.text, "/registry/") != NULL && strstr(err.text, "can't be made") != NULL,
              "%s", err.text);
    registry_cleanup(&stage.one.registry);
    registry_dir_close(NULL);
    loop_end(&stage.loop);
}
