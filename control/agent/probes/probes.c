// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/probes.h"

#include <stdlib.h>
#include <string.h>

#include "base/data/list.h"
#include "base/file.h"
#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/agent/probes/probe_call.h"
#include "control/agent/probes/probe_tls.h"
#include "control/agent/probes/probes_check.h"

#define FILE_BYTES_MAX (1u << 20)
#define LOG_MS         60000 // between two lines about one probe that stays bad

struct waiter {
    struct list link; // of its run
    probes_on_answer *on_answer;
    void *ctx; // borrowed
};

// The application being asked.
struct run {
    struct list link; // of its probe
    struct probe *probe;
    struct ip ip;
    struct list waiters;     // each owned
    struct probe_call *call; // frees itself
};

struct probe {
    const Tabard__V1__Probe *config; // borrowed from the table's
    struct probes *probes;
    struct list runs; // each owned
    unsigned num_runs;
    bool is_bad; // by its last answer
    struct log_limit log;
};

struct probes {
    Tabard__V1__Probes *config; // owned
    struct probe *probes;       // owned; as many as config has
    uv_loop_t *loop;            // borrowed
    SSL_CTX *tls;               // owned
    uint64_t num[2];            // by is_good
};

static Tabard__V1__Probes *read_config(const char *path, struct err *err)
{
    struct pb_text_marks *marks = NULL;
    char *text = NULL;
    size_t len = 0;
    if (!file_read_text(&text, &len, path, FILE_BYTES_MAX, err)) {
        return NULL;
    }
    Tabard__V1__Probes *config = (Tabard__V1__Probes *)pb_text_parse(
        &tabard__v1__probes__descriptor, text, len, path, &marks, err);
    if (config != NULL && !probes_check(config, err)) {
        pb_text_marks_locate(marks, path, err);
        protobuf_c_message_free_unpacked(&config->base, NULL);
        config = NULL;
    }
    pb_text_marks_free(marks);
    free(text);
    return config;
}

struct probes *probes_load(uv_loop_t *loop, const char *path, struct err *err)
{
    Tabard__V1__Probes *config = read_config(path, err);
    if (config == NULL) {
        return NULL;
    }
    struct probes *probes = must_alloc(1, sizeof *probes);
    *probes = (struct probes){.config = config, .loop = loop, .tls = probe_tls_new()};
    probes->probes = must_alloc(config->n_probes, sizeof *probes->probes);
    for (size_t i = 0; i < config->n_probes; i++) {
        probes->probes[i] = (struct probe){.config = config->probes[i], .probes = probes};
        list_init(&probes->probes[i].runs);
    }
    return probes;
}

// Answers everybody who waits for a run, and frees it.
static void end_run(struct run *run, bool is_good, const char *why)
{
    list_remove(&run->link);
    run->probe->num_runs--;
    for (struct list *link; (link = list_pop(&run->waiters)) != NULL;) {
        struct waiter *waiter = LIST_OF(link, struct waiter, link);
        waiter->on_answer(waiter->ctx, is_good, why);
        free(waiter);
    }
    free(run);
}

void probes_free(struct probes *probes)
{
    if (probes == NULL) {
        return;
    }
    for (size_t i = 0; i < probes->config->n_probes; i++) {
        LIST_EACH_SAFE(link, &probes->probes[i].runs) {
            struct run *run = LIST_OF(link, struct run, link);
            probe_call_cancel(run->call);
            end_run(run, false, "the sidecar is ending");
        }
    }
    SSL_CTX_free(probes->tls);
    free(probes->probes);
    protobuf_c_message_free_unpacked(&probes->config->base, NULL);
    free(probes);
}

// Logs when a probe turns bad or good again, and once in a while that it stays bad.
static void log_answer(struct probe *probe, bool is_good, const char *why)
{
    char quoted[1024];
    uint64_t num_passed_over = 0;
    bool is_new = probe->is_bad == is_good;
    probe->is_bad = !is_good;
    log_quote(quoted, sizeof quoted, why);
    if (is_good && is_new) {
        log_info("msg=\"probe is good again\" page=%s answer=%s", probe->config->page, quoted);
    } else if (!is_good && log_allowed(&probe->log, uv_now(probe->probes->loop),
                                       is_new ? 0 : LOG_MS, &num_passed_over)) {
        log_warn("msg=\"probe failed\" page=%s passed_over=%llu why=%s", probe->config->page,
                 (unsigned long long)num_passed_over, quoted);
    }
}

static void on_done(void *ctx, bool is_good, const char *why)
{
    struct run *run = ctx;
    run->probe->probes->num[is_good]++;
    log_answer(run->probe, is_good, why);
    end_run(run, is_good, why);
}

// The run at this address, a new one if there is none. NULL: there are too many.
static struct run *run_at(struct probe *probe, const struct ip *ip)
{
    LIST_EACH_SAFE(link, &probe->runs) {
        struct run *run = LIST_OF(link, struct run, link);
        if (ip_equal(&run->ip, ip)) {
            return run;
        }
    }
    if (probe->num_runs >= PROBES_RUNS_MAX) {
        return NULL;
    }
    struct run *run = must_alloc(1, sizeof *run);
    *run = (struct run){.probe = probe, .ip = *ip};
    list_init(&run->waiters);
    list_push(&probe->runs, &run->link);
    probe->num_runs++;
    run->call = probe_call_start(&(struct probe_call_config){.loop = probe->probes->loop,
                                                             .tls = probe->probes->tls,
                                                             .probe = probe->config,
                                                             .ip = *ip,
                                                             .on_done = on_done,
                                                             .ctx = run});
    return run;
}

bool probes_ask(struct probes *probes, const char *page, const struct ip *ip,
                probes_on_answer *on_answer, void *ctx)
{
    for (size_t i = 0; i < probes->config->n_probes; i++) {
        if (strcmp(probes->config->probes[i]->page, page) != 0) {
            continue;
        }
        struct run *run = run_at(&probes->probes[i], ip);
        if (run == NULL) {
            on_answer(ctx, false, "the application is being asked at too many addresses at once");
            return true;
        }
        struct waiter *waiter = must_alloc(1, sizeof *waiter);
        *waiter = (struct waiter){.on_answer = on_answer, .ctx = ctx};
        list_push(&run->waiters, &waiter->link);
        return true;
    }
    return false;
}

uint32_t probes_num_pages(const struct probes *probes)
{
    return probes == NULL ? 0 : (uint32_t)probes->config->n_probes;
}

uint32_t probes_timeout_max(const struct probes *probes)
{
    uint32_t max = 0;
    for (size_t i = 0; i < probes_num_pages(probes); i++) {
        uint32_t seconds = probes->config->probes[i]->timeout_seconds;
        seconds = seconds == 0 ? 1 : seconds;
        max = seconds > max ? seconds : max;
    }
    return max;
}

uint64_t probes_num(const struct probes *probes, bool is_good)
{
    return probes->num[is_good];
}
