// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/store_writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

struct job {
    char *folder;   // owned
    uint8_t *bytes; // owned; NULL: no job
    size_t len;
    uint64_t version;
};

struct store_writer {
    uv_loop_t *loop; // borrowed
    uv_timer_t timer;
    uv_work_t work;
    unsigned handles_open; // and the work under way
    bool is_closing;
    bool is_writing;
    struct job now; // the worker's while is_writing
    struct job next;
    bool is_ok;
    struct err err;
    uint64_t num_failures;
    struct log_limit failed_log;
};

static void job_clear(struct job *job)
{
    free(job->folder);
    free(job->bytes);
    *job = (struct job){0};
}

static void release(struct store_writer *writer)
{
    if (--writer->handles_open == 0) {
        job_clear(&writer->now);
        job_clear(&writer->next);
        free(writer);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void note_failure(struct store_writer *writer, const char *text)
{
    uint64_t passed_over = 0;
    writer->num_failures++;
    if (log_allowed(&writer->failed_log, uv_now(writer->loop), STORE_WRITER_LOG_MS, &passed_over)) {
        char quoted[2048];
        log_error("msg=\"state not stored: a restart would not find it\" error=%s",
                  log_quote(quoted, sizeof quoted, text));
    }
}

static void write_job(struct store_writer *writer)
{
    writer->err = (struct err){{0}, {0}};
    writer->is_ok = store_write(writer->now.folder, writer->now.bytes, writer->now.len,
                                writer->now.version, &writer->err);
}

static void finish_job(struct store_writer *writer)
{
    if (!writer->is_ok) {
        note_failure(writer, writer->err.text);
    } else {
        log_debug("msg=\"state stored\" version=%llu", (unsigned long long)writer->now.version);
    }
    job_clear(&writer->now);
}

static void take_next(struct store_writer *writer)
{
    writer->now = writer->next;
    writer->next = (struct job){0};
}

static void on_work(uv_work_t *work)
{
    write_job(work->data);
}

static void on_timer(uv_timer_t *timer);

static void on_work_done(uv_work_t *work, int status)
{
    (void)status;
    struct store_writer *writer = work->data;
    writer->is_writing = false;
    finish_job(writer);
    if (writer->is_closing && writer->next.bytes != NULL) {
        take_next(writer);
        write_job(writer);
        finish_job(writer);
    }
    if (!writer->is_closing) {
        uv_timer_start(&writer->timer, on_timer, STORE_WRITER_MS, 0);
    }
    release(writer);
}

static void start(struct store_writer *writer)
{
    take_next(writer);
    writer->work.data = writer;
    writer->is_writing = true;
    writer->handles_open++;
    if (uv_queue_work(writer->loop, &writer->work, on_work, on_work_done) != 0) {
        writer->is_writing = false;
        note_failure(writer, "no worker thread");
        job_clear(&writer->now);
        release(writer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct store_writer *writer = timer->data;
    if (writer->next.bytes != NULL && !writer->is_writing) {
        start(writer);
    }
}

struct store_writer *store_writer_new(uv_loop_t *loop)
{
    struct store_writer *writer = must_alloc(1, sizeof *writer);
    writer->loop = loop;
    uv_timer_init(loop, &writer->timer);
    writer->timer.data = writer;
    writer->handles_open = 1;
    return writer;
}

void store_writer_put(struct store_writer *writer, const char *folder, const char *owner,
                      const struct stored_state *what)
{
    struct err err = {{0}, {0}};
    size_t len = 0;
    uint8_t *bytes = store_pack(what, owner, &len, &err);
    if (bytes == NULL) {
        note_failure(writer, err.text);
        return;
    }
    job_clear(&writer->next);
    writer->next = (struct job){
        .folder = must_strdup(folder), .bytes = bytes, .len = len, .version = what->version};
    if (!writer->is_writing && !uv_is_active((uv_handle_t *)&writer->timer)) {
        start(writer);
    }
}

uint64_t store_writer_num_failures(const struct store_writer *writer)
{
    return writer->num_failures;
}

void store_writer_close(struct store_writer *writer)
{
    if (writer == NULL || writer->is_closing) {
        return;
    }
    writer->is_closing = true;
    if (!writer->is_writing && writer->next.bytes != NULL) {
        take_next(writer);
        write_job(writer);
        finish_job(writer);
    }
    uv_close((uv_handle_t *)&writer->timer, on_closed);
}
