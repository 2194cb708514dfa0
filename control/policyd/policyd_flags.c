// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd_flags.h"

#include <string.h>

#include "certs/identity.h"
#include "control/policyd/stream/token.h"

const char *policyd_flags_usage(void)
{
    return "usage: tabard-policyd --dir DIR [flags]\n"
           "       tabard-policyd token --dir DIR --id spiffe://... [--minutes N]\n"
           "\n"
           "Steers a fleet of sidecars from a folder: DIR/fleet/*.yaml says who there is and who "
           "may\n"
           "call whom (proto/tabard/v1/fleet.proto), DIR/ca is a CA made by tabard-ca init. Both "
           "are\n"
           "watched. Several may share a folder. In a Kubernetes cluster it steers from the API\n"
           "server's objects instead, and injects sidecars into pods (docs/kubernetes.md).\n"
           "\n"
           "  --dir DIR              the folder\n"
           "  --unix PATH            Unix socket for sidecars (DIR/policyd.sock without --listen)\n"
           "  --listen ADDR:PORT     TCP for sidecars, TLS 1.3\n"
           "  --metrics ADDR:PORT    serves /metrics\n"
           "  --health ADDR:PORT     serves /healthz/ready and /healthz/live\n"
           "  --kubernetes           the API server of this pod's cluster says who there is; DIR "
           "holds\n"
           "                         what policyd itself puts there, and belongs in memory\n"
           "  --account DIR          its service account: token, ca.crt and namespace\n"
           "                         (/var/run/secrets/kubernetes.io/serviceaccount)\n"
           "  --first-settings FILE  the MeshSettings that are made if there are none\n"
           "  --webhook ADDR:PORT    serves POST /inject for the API server, TLS 1.3\n"
           "  --webhook-client-ca FILE  serves it to clients alone whose certificate these roots "
           "prove\n"
           "  --inject-config FILE   how pods are injected (proto/tabard/v1/inject.proto), "
           "watched\n"
           "  --namespace NAME       the namespace of the Service tabard-policyd that leads here "
           "(the\n"
           "                         pod's own)\n"
           "  --log-level LEVEL      debug, info, warn or error (info)\n"
           "  --version              prints the version\n"
           "  --help                 prints this\n"
           "\n"
           "token prints a join token, once: it admits one sidecar as --id, within --minutes "
           "(60).\n"
           "\n"
           "SIGHUP reloads; SIGTERM ends. Exit status: 0 after SIGTERM, 1 when the start failed, 2 "
           "for a\n"
           "wrong flag.\n";
}

static bool set_id(void *ctx, const char *text, struct err *err)
{
    const char **out = ctx;
    struct spiffe_id id;
    *out = text;
    return spiffe_workload_parse(&id, text, strlen(text), err);
}

static bool parse_token(struct policyd_flags *out, int argc, char **argv, struct err *err)
{
    const struct flag flags[] = {
        {.name = "dir", .value = &out->dir, .needed = "the folder of the fleet"},
        {.name = "id",
         .set = set_id,
         .ctx = &out->id,
         .needed = "the SPIFFE id that the token admits"},
        {.name = "minutes", .number = &out->minutes, .min = 1, .max = TOKEN_MINUTES_MAX},
        FLAGS_ASKED_ROWS(&out->asked),
    };
    return flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err);
}

// A label of a DNS name (RFC 1123), as Kubernetes names its namespaces.
static bool set_namespace(void *ctx, const char *text, struct err *err)
{
    const char **out = ctx;
    size_t len = strlen(text);
    *out = text;
    return (len <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
            text[0] != '-' && text[len - 1] != '-') ||
           err_set(err, "%.80s is not the name of a namespace", text);
}

// Refuses flags of which one wants another.
static bool check_together(const struct policyd_flags *flags, struct err *err)
{
    if (flags->has_webhook != (flags->inject_config != NULL)) {
        return err_set(err, flags->has_webhook ? "--webhook needs --inject-config"
                                               : "--inject-config needs --webhook");
    }
    if (!flags->has_webhook && flags->webhook_client_ca != NULL) {
        return err_set(err, "--webhook-client-ca needs --webhook");
    }
    if (flags->is_kubernetes && !flags->has_listen) {
        return err_set(err, "--kubernetes needs --listen, by which pods reach it");
    }
    if (flags->is_kubernetes && flags->unix_path != NULL) {
        return err_set(err, "--unix can't be used with --kubernetes: a pod is proved by its "
                            "service account alone");
    }
    if (!flags->is_kubernetes && (flags->first_settings != NULL || flags->account != NULL)) {
        return err_set(err, "%s needs --kubernetes",
                       flags->account != NULL ? "--account" : "--first-settings");
    }
    return true;
}

static bool parse_run(struct policyd_flags *out, int argc, char **argv, struct err *err)
{
    const struct flag flags[] = {
        {.name = "dir", .value = &out->dir, .needed = "the folder of the fleet"},
        {.name = "unix", .value = &out->unix_path},
        {.name = "listen", .addr = &out->listen, .out_given = &out->has_listen},
        {.name = "metrics", .addr = &out->metrics, .out_given = &out->has_metrics},
        {.name = "health", .addr = &out->health, .out_given = &out->has_health},
        {.name = "kubernetes", .out_given = &out->is_kubernetes},
        {.name = "account", .value = &out->account},
        {.name = "first-settings", .value = &out->first_settings},
        {.name = "webhook", .addr = &out->webhook, .out_given = &out->has_webhook},
        {.name = "webhook-client-ca", .value = &out->webhook_client_ca},
        {.name = "inject-config", .value = &out->inject_config},
        {.name = "namespace", .set = set_namespace, .ctx = &out->namespace},
        {.name = "log-level", .log_level = &out->log_level},
        FLAGS_ASKED_ROWS(&out->asked),
    };
    return flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err) &&
           (out->asked.help || out->asked.version || check_together(out, err));
}

bool policyd_flags_parse(struct policyd_flags *out, int argc, char **argv, struct err *err)
{
    *out = (struct policyd_flags){.log_level = LOG_LEVEL_INFO, .minutes = TOKEN_MINUTES};
    out->is_token = argc > 1 && strcmp(argv[1], "token") == 0;
    return out->is_token ? parse_token(out, argc - 1, argv + 1, err)
                         : parse_run(out, argc, argv, err);
}
