// SPDX-License-Identifier: Apache-2.0
#include "control/agent/bootstrap.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

static bool parse(struct bootstrap *out, const char *const *args, struct err *err)
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
    cr_assert(parse(&out, args, &err), "%s", err.text);
    char text[ADDR_TEXT_MAX];
    cr_expect_str_eq(out.config_path, "mesh.yaml");
    cr_expect_str_eq(addr_text(&out.metrics.addrs[0], text), "127.0.0.1:15020");
    cr_expect_str_eq(addr_text(&out.health.addrs[0], text), "127.0.0.1:15021");
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
                                "--sandbox=required",
                                NULL};
    cr_assert(parse(&out, args, &err), "%s", err.text);
    cr_expect_eq(out.sandbox, SANDBOX_REQUIRED);
    char text[ADDR_TEXT_MAX];
    cr_expect_str_eq(out.proxy_path, "/bin/p");
    cr_expect_eq(out.num_workers, 3);
    cr_expect_str_eq(addr_text(&out.metrics.addrs[0], text), "127.0.0.1:0");
    cr_expect_str_eq(addr_text(&out.health.addrs[0], text), "[::1]:5");
    cr_expect_str_eq(out.admin_path, "/tmp/s");
    cr_expect_eq(out.log_level, LOG_LEVEL_DEBUG);
    cr_expect_str_eq(out.log_level_text, "debug");
}

Test(bootstrap, is_asked_for_help_or_the_version_instead, .timeout = 10)
{
    struct bootstrap out;
    struct err err = {{0}, {0}};
    cr_expect(parse(&out, (const char *const[]){"--help", "--bogus", NULL}, &err), "%s", err.text);
    cr_expect(out.asked.help && !out.asked.version);
    cr_expect(parse(&out, (const char *const[]){"--version", NULL}, &err), "%s", err.text);
    cr_expect(out.asked.version && !out.asked.help);
}

static const struct {
    const char *args[5];
    const char *words;
} rows[] = {
    {{NULL}, "--config is missing"},
    {{"--bogus"}, "--bogus: no such flag"},
    {{"--config", "m", "--bogus=1"}, "--bogus=1: no such flag"},
    {{"-x"}, "-x: no such flag"},
    {{"--config"}, "--config needs a value"},
    {{"--config", ""}, "--config is empty"},
    {{"--config", "m", "extra"}, "\"extra\" belongs to no flag"},
    {{"--workers", "many"}, "--workers: \"many\""},
    {{"--workers", "0"}, "1 to 256"},
    {{"--workers", "257"}, "1 to 256"},
    {{"--workers", "-1"}, "1 to 256"},
    {{"--workers", "2x"}, "1 to 256"},
    {{"--workers", "99999999999999999999"}, "1 to 256"},
    {{"--proxy-uid", "0"}, "does not run as root"},
    {{"--proxy-uid", "root"}, "--proxy-uid"},
    {{"--metrics", "127.0.0.1:99999"}, "--metrics: "},
    {{"--health", "localhost"}, "--health: "},
    {{"--admin", ""}, "--admin"},
    {{"--log-level", "loud"}, "debug, info, warn, error"},
    {{"--config", "a.yaml", "--sandbox=of", NULL}, "--sandbox: \"of\" is not on, off or required"},
    {{"--config", "a.yaml", "--sandbox=", NULL},
     "--sandbox is empty and needs a value: on, off or required would be right"},
    {{"--config", "a.yaml", "--sandbox", NULL},
     "--sandbox needs a value: on, off or required would be right"},
    {{"--config=a.yaml", "--sandbox=required", "--sandbox=off", NULL}, "--sandbox is given twice"},
};

Test(bootstrap, names_the_wrong_flag_and_what_would_be_right, .timeout = 10)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bootstrap out;
        struct err err = {{0}, {0}};
        cr_expect_not(parse(&out, rows[i].args, &err), "row %zu", i);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "row %zu: \"%s\" lacks \"%s\"", i,
                  err.text, rows[i].words);
        cr_expect(strchr(err.text, '\n') == NULL, "row %zu", i);
    }
}
