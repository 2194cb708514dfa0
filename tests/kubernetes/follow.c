// SPDX-License-Identifier: Apache-2.0
//
// Follows collections of an API server and prints what it is told, one line each, so that the tests
// on a cluster see what policyd would: `follow HOST:PORT TOKEN CA PATH[?QUERY]...` prints `put`,
// `delete` and `synced` with the collection's path. SIGUSR1 prints the statistics.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "base/process.h"
#include "control/kube/api/kube_watch.h"

static struct kube_watch *watches[16];
static const char *paths[16];
static int num;
static struct kube_client *client;

static void on_object(void *ctx, enum kube_change change, json_t *object)
{
    const json_t *meta = json_object_get(object, "metadata");
    const char *namespace = json_string_value(json_object_get(meta, "namespace"));
    printf("%s %s %s/%s %s %s\n", change == KUBE_PUT ? "put" : "delete", (const char *)ctx,
           namespace != NULL ? namespace : "", json_string_value(json_object_get(meta, "name")),
           json_string_value(json_object_get(meta, "uid")),
           json_string_value(json_object_get(meta, "resourceVersion")));
}

static void on_synced(void *ctx, const char *version, bool has_news)
{
    printf("synced %s %s %s\n", (const char *)ctx, version, has_news ? "news" : "no news");
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    for (int i = 0; i < num; i++) {
        const struct kube_watch_stats *stats = kube_watch_stats(watches[i]);
        printf("stats %s objects=%u lists=%lu watches=%lu events=%lu failures=%lu silent_ms=%lu "
               "connections=%lu goaways=%lu losses=%lu\n",
               paths[i], stats->num_objects, (unsigned long)stats->num_lists,
               (unsigned long)stats->num_watches, (unsigned long)stats->num_events,
               (unsigned long)stats->num_failures,
               (unsigned long)(uv_now(handle->loop) - stats->heard_ms),
               (unsigned long)kube_client_stats(client)->num_connections,
               (unsigned long)kube_client_stats(client)->num_goaways,
               (unsigned long)kube_client_stats(client)->num_losses);
    }
}

int main(int argc, char **argv)
{
    static const struct kube_watch_hooks hooks = {.on_object = on_object, .on_synced = on_synced};
    struct kube_config config = {.port = 0};
    struct err err = {{0}, {0}};
    uv_loop_t loop;
    uv_signal_t signal;
    setvbuf(stdout, NULL, _IOLBF, 0);
    process_begin("follow", LOG_LEVEL_DEBUG);
    if (argc < 5 || argc > 20 || !kube_config_set_server(&config, argv[1], &err)) {
        fprintf(stderr, "follow HOST:PORT TOKEN CA PATH...: %s\n", err.text);
        return 2;
    }
    snprintf(config.token_file, sizeof config.token_file, "%s", argv[2]);
    snprintf(config.ca_file, sizeof config.ca_file, "%s", argv[3]);
    uv_loop_init(&loop);
    client = kube_client_new(&loop, &config, &err);
    if (client == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (int i = 4; i < argc; i++) {
        char *query = strchr(argv[i], '?');
        if (query != NULL) {
            *query++ = '\0';
        }
        const struct kube_watch_options options = {
            .path = argv[i], .query = query, .name = argv[i], .hooks = &hooks, .ctx = argv[i]};
        paths[num] = argv[i];
        watches[num++] = kube_watch_new(client, &options);
    }
    uv_signal_init(&loop, &signal);
    uv_signal_start(&signal, on_signal, SIGUSR1);
    return uv_run(&loop, UV_RUN_DEFAULT);
}
