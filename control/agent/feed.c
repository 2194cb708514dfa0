// SPDX-License-Identifier: Apache-2.0
#include "control/agent/feed.h"

#include <stdio.h>
#include <string.h>

#include "base/now.h"
#include "control/agent/sources/files/source_file.h"
#include "control/agent/sources/sources.h"

#define FILES_ROW 0 // of the board; a source of the table has the row after its place there

static void on_news(uv_timer_t *timer);

static void look_at_board_soon(struct feed *feed)
{
    if (feed->files != NULL) {
        uv_timer_start(&feed->news, on_news, 0, 0);
    }
}

void feed_settled(struct feed *feed, size_t source, uint64_t ticket, const char *error)
{
    board_settled(&feed->board, source, ticket, error);
    look_at_board_soon(feed);
}

static bool has_new_key(const struct assembly *assembly, const struct assembly *in_force)
{
    const ProtobufCBinaryData *key_id = &assembly->snapshot->identity->key_id;
    return in_force == NULL ||
           memcmp(key_id->data, in_force->snapshot->identity->key_id.data, key_id->len) != 0;
}

// Assembles the slots by the wall clock, which was set back, if there is a certificate for a new
// key that is over by the date that is believed: whoever issued it agrees with the wall clock.
// Nothing else that is over says so: a CRL that is stale by the date is no news.
static bool assemble_by_wall(struct assembly *out, const struct slots *slots,
                             const struct assembly *in_force, int64_t date_s, int64_t wall_s)
{
    if (!assemble_over(out, slots, in_force, wall_s, NULL)) {
        return false;
    }
    if (out->not_after >= date_s || !has_new_key(out, in_force)) {
        assembly_cleanup(out);
        return false;
    }
    now_believe_wall();
    return true;
}

// Assembles the slots by the date that is believed. A new certificate may agree with it, or with
// the wall clock.
static bool assemble_by_clock(struct assembly *out, const struct slots *slots,
                              const struct assembly *in_force, struct err *err)
{
    struct assembly again = {0};
    int64_t date_s = now_date_s();
    int64_t wall_s = now_unix_ms() / 1000;
    if (assemble_over(out, slots, in_force, date_s, err)) {
        if (has_new_key(out, in_force)) {
            now_confirm(out->not_before);
        }
        return true;
    }
    if (date_s <= wall_s || !assemble_by_wall(&again, slots, in_force, date_s, wall_s)) {
        return false;
    }
    *err = (struct err){{0}, {0}};
    *out = again;
    return true;
}

// Offers what the board holds, if all slots are filled. All but OFFER_TRIED set err.
static enum offer_result offer_board(struct feed *feed, struct err *err)
{
    struct slots slots;
    struct assembly assembly = {0};
    uint64_t tickets[SOURCES_MAX];
    board_slots(&feed->board, &slots, tickets);
    bool ok = !slots_are_whole(&slots) ||
              assemble_by_clock(&assembly, &slots, feed->hooks.in_force(feed->hooks.ctx), err);
    slots_cleanup(&slots);
    if (assembly.snapshot != NULL) {
        memcpy(assembly.tickets, tickets, sizeof tickets);
        feed->failure[0] = '\0';
        feed->hooks.offer(feed->hooks.ctx, &assembly);
        assembly_cleanup(&assembly);
    }
    return ok                                ? OFFER_TRIED
           : assembly.is_certificate_refused ? OFFER_REFUSED_CERTIFICATE
                                             : OFFER_REFUSED;
}

// While something is tried, the news is offered together with it, and once more by itself when the
// try is over: a refused try must not take the news with it. News that is not good is told once,
// and offered again later.
static void offer_news(struct feed *feed)
{
    struct err err = {{0}, {0}};
    char text[sizeof feed->failure];
    feed->board.has_news = board_is_trying(&feed->board);
    if (offer_board(feed, &err) == OFFER_TRIED) {
        return;
    }
    feed->board.has_news = true;
    uv_timer_start(&feed->news, on_news, FEED_RETRY_MS, 0);
    err_text(&err, text, sizeof text);
    if (strcmp(text, feed->failure) != 0) {
        snprintf(feed->failure, sizeof feed->failure, "%s", text);
        feed->hooks.failed(feed->hooks.ctx, text);
    }
}

static void on_news(uv_timer_t *timer)
{
    struct feed *feed = timer->data;
    for (size_t i = 0; i < feed->num_sources; i++) {
        struct feed_source *source = &feed->sources[i];
        char error[1024];
        if (board_take(&feed->board, source->row, error, sizeof error) && source->source != NULL) {
            source->kind->settled(source->source, error);
        }
    }
    if (feed->board.has_news) {
        offer_news(feed);
    }
}

static void on_put(void *ctx, const struct slots *slots)
{
    struct feed_source *source = ctx;
    board_put(&source->feed->board, source->row, slots);
    look_at_board_soon(source->feed);
}

static enum offer_result on_offer(void *ctx, const struct slots *slots, struct err *err)
{
    struct feed_source *source = ctx;
    board_try(&source->feed->board, source->row, slots);
    enum offer_result result = offer_board(source->feed, err);
    if (result != OFFER_TRIED) {
        board_drop(&source->feed->board, source->row);
    }
    return result;
}

static void on_refused(void *ctx, const char *text)
{
    struct feed *feed = ((const struct feed_source *)ctx)->feed;
    feed->failure[0] = '\0';
    feed->hooks.failed(feed->hooks.ctx, text);
}

// Starts, configures or ends a source, as mesh.yaml says.
static void configure(struct feed_source *source, void *access, struct part *identity)
{
    struct feed *feed = source->feed;
    if (access == NULL) {
        source->kind->close(source->source);
        source->source = NULL;
        board_put(&feed->board, source->row, &(struct slots){{NULL}});
        return;
    }
    if (source->source == NULL) {
        source->source = source->kind->start(
            feed->loop,
            &(struct source_hooks){
                .ctx = source, .put = on_put, .offer = on_offer, .refused = on_refused});
    }
    source->kind->configure(source->source, access, identity);
}

static void on_loaded(void *ctx, struct mesh *mesh)
{
    struct feed *feed = ctx;
    feed->failure[0] = '\0';
    board_put(&feed->board, FILES_ROW, &mesh->slots);
    for (size_t i = 0; i < feed->num_sources; i++) {
        configure(&feed->sources[i], mesh->accesses[i], mesh->slots.parts[SNAPSHOT_IDENTITY]);
        mesh->accesses[i] = NULL;
    }
    if (mesh->assembly.snapshot != NULL) {
        // No other source has a say, and the file source has assembled it already.
        feed->board.has_news = false;
        feed->hooks.offer(feed->hooks.ctx, &mesh->assembly);
    } else {
        look_at_board_soon(feed);
    }
}

static void on_failed(void *ctx, const char *text)
{
    const struct feed *feed = ctx;
    feed->hooks.failed(feed->hooks.ctx, text);
}

void feed_start(struct feed *feed, uv_loop_t *loop, const char *mesh_path,
                const struct feed_hooks *hooks)
{
    feed->hooks = *hooks;
    feed->loop = loop;
    uv_timer_init(loop, &feed->news);
    feed->news.data = feed;
    for (size_t i = 0; sources_kinds[i] != NULL; i++) {
        feed->sources[feed->num_sources++] =
            (struct feed_source){.feed = feed, .kind = sources_kinds[i], .row = i + 1};
    }
    feed->files = source_file_new(
        loop, mesh_path, sources_fields,
        &(struct source_file_hooks){.ctx = feed, .on_loaded = on_loaded, .on_failed = on_failed});
}

void feed_reload(struct feed *feed)
{
    if (feed->files != NULL) {
        source_file_reload(feed->files);
    }
}

const char *feed_facts(const struct feed *feed, struct source_facts *out)
{
    for (size_t i = 0; i < feed->num_sources; i++) {
        const struct feed_source *source = &feed->sources[i];
        if (source->source != NULL) {
            source->kind->facts(source->source, out);
            return source->kind->field->name;
        }
    }
    return NULL;
}

size_t feed_num_files_held(const struct feed *feed)
{
    return feed->files == NULL ? 0 : source_file_num_held(feed->files);
}

void feed_close(struct feed *feed)
{
    if (feed->files == NULL) {
        return;
    }
    source_file_close(feed->files);
    feed->files = NULL;
    for (size_t i = 0; i < feed->num_sources; i++) {
        feed->sources[i].kind->close(feed->sources[i].source);
        feed->sources[i].source = NULL;
    }
    uv_close((uv_handle_t *)&feed->news, NULL);
}

void feed_cleanup(struct feed *feed)
{
    board_cleanup(&feed->board);
}
