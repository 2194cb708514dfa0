// SPDX-License-Identifier: Apache-2.0
#include "control/agent/bootstrap.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

static enum bootstrap_result parse(struct bootstrap *out, const char *const *args, struct err *err)
{
    static char *argv[16];
    int argc = 0;
    argv[argc++] = (char *)"tabard-agent";
    for (; *args != NULL; args++) {
        argv[argc++] = (char *)*args;
    }
    argv[argc] = NULL;
    return bootstrap_parse(out, argc, argv, err);
}

Test(bootstrap, has_defaults_for_all_but_the_configuration, .timeout = 10)
{
    struct bootstrap out;
    struct err err = {{0}, {0}};
    const char *const args[] = {"--config", "mesh.yaml", NULL};
    cr_assert_eq(parse(&out, args, &err), BOOTSTRAP_RUN, "%s", err.text);
    char text[ADDR_TEXT_MAX];
    cr_expect_str_eq(out.config_path, "mesh.yaml");
    cr_expect_str_eq(addr_text(&out.metrics, text), "[::]:15020");
    cr_expect_str_eq(addr_text(&out.health, text), "[::]:15021");
    cr_expect_str_eq(out.admin_path, "/run/tabard/admin.sock");
    cr_expect_geq(out.num_workers, 1);
    cr_expect_eq(out.proxy_uid, geteuid() == 0 ? 1337 : -1);
    cr_expect_eq(out.log_level, LOG_LEVEL_INFO);
    const char *slash = strrchr(out.proxy_path, '/');
    cr_expect(out.proxy_path[0] == '/' && slash != NULL && strcmp(slash, "/tabard-proxy") == 0,
              "%s", out.proxy_path);
}

Test(bootstrap, takes_every_flag, .timeout = 10)
{
    struct bootstrap out;
    struct err err = {{0}, {0}};
    const char *const args[] = {"--config=a.yaml",
                                "--proxy",
                                "/bin/p",
                                "--workers=3",
                                "--metrics",
                                "127.0.0.1:0",
                                "--health=[::1]:5",
                                "--admin=/tmp/s",
                                "--log-level",
                                "debug",
                                NULL};
    cr_assert_eq(parse(&out, args, &err), BOOTSTRAP_RUN, "%s", err.text);
    char text[ADDR_TEXT_MAX];
    cr_expect_str_eq(out.proxy_path, "/bin/p");
    cr_expect_eq(out.num_workers, 3);
    cr_expect_str_eq(addr_text(&out.metrics, text), "127.0.0.1:0");
    cr_expect_str_eq(addr_text(&out.health, text), "[::1]:5");
    cr_expect_str_eq(out.admin_path, "/tmp/s");
    cr_expect_eq(out.log_level, LOG_LEVEL_DEBUG);
    cr_expect_str_eq(out.log_level_text, "debug");
}

static const struct {
    const char *args[5];
    enum bootstrap_result result;
    const char *words;
} rows[] = {
    {{"--help"}, BOOTSTRAP_HELP, ""},
    {{"--version"}, BOOTSTRAP_VERSION_ASKED, ""},
    {{NULL}, BOOTSTRAP_WRONG, "--config: missing"},
    {{"--bogus"}, BOOTSTRAP_WRONG, "--bogus: no such flag"},
    {{"--config", "m", "--bogus=1"}, BOOTSTRAP_WRONG, "--bogus=1: no such flag"},
    {{"-x"}, BOOTSTRAP_WRONG, "-x: no such flag"},
    {{"--config"}, BOOTSTRAP_WRONG, "--config: needs a value"},
    {{"--config", ""}, BOOTSTRAP_WRONG, "--config: the path of mesh.yaml is empty"},
    {{"--config", "m", "extra"}, BOOTSTRAP_WRONG, "\"extra\" belongs to no flag"},
    {{"--workers", "many"}, BOOTSTRAP_WRONG, "--workers: \"many\""},
    {{"--workers", "0"}, BOOTSTRAP_WRONG, "1 to 256"},
    {{"--workers", "257"}, BOOTSTRAP_WRONG, "1 to 256"},
    {{"--workers", "-1"}, BOOTSTRAP_WRONG, "1 to 256"},
    {{"--workers", "2x"}, BOOTSTRAP_WRONG, "1 to 256"},
    {{"--workers", "99999999999999999999"}, BOOTSTRAP_WRONG, "1 to 256"},
    {{"--proxy-uid", "0"}, BOOTSTRAP_WRONG, "does not run as root"},
    {{"--proxy-uid", "root"}, BOOTSTRAP_WRONG, "--proxy-uid"},
    {{"--metrics", "127.0.0.1:99999"}, BOOTSTRAP_WRONG, "--metrics: "},
    {{"--health", "localhost"}, BOOTSTRAP_WRONG, "--health: "},
    {{"--admin", ""}, BOOTSTRAP_WRONG, "--admin"},
    {{"--log-level", "loud"}, BOOTSTRAP_WRONG, "debug, info, warn, error"},
};

Test(bootstrap, names_the_wrong_flag_and_what_would_be_right, .timeout = 10)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bootstrap out;
        struct err err = {{0}, {0}};
        cr_expect_eq(parse(&out, rows[i].args, &err), rows[i].result, "row %zu", i);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "row %zu: \"%s\" lacks \"%s\"", i,
                  err.text, rows[i].words);
        cr_expect(strchr(err.text, '\n') == NULL, "row %zu", i);
    }
}
