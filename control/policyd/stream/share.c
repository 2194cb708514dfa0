// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/share.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

void shares_init(struct shares *shares)
{
    *shares = (struct shares){.table = {.heads = NULL}};
    list_init(&shares->all);
}

static void free_share(struct shares *shares, struct share *share)
{
    invariant(share->num_streams == 0 && share->queue.num == 0);
    table_remove(&shares->table, &share->table_link);
    list_remove(&share->link);
    free(share->id);
    free(share);
}

void shares_cleanup(struct shares *shares)
{
    while (!list_is_empty(&shares->all)) {
        free_share(shares, LIST_OF(shares->all.next, struct share, link));
    }
    table_cleanup(&shares->table);
}

static struct share *find(const struct shares *shares, const char *id, uint64_t hash)
{
    for (struct table_link *link = table_first(&shares->table, hash); link != NULL;
         link = table_next(link)) {
        struct share *share = (struct share *)link;
        if (strcmp(share->id, id) == 0) {
            return share;
        }
    }
    return NULL;
}

static void set_rate(struct share *share)
{
    share->queue.bucket.drops_per_ms =
        (SHARE_CSR_PER_SECOND + SHARE_CSR_PER_STREAM * share->num_streams) / 1000;
}

void share_join(struct shares *shares, struct share_stream *stream, const char *id)
{
    uint64_t hash = table_hash(&shares->table, id, strlen(id));
    struct share *share = find(shares, id, hash);
    if (share == NULL) {
        share = must_alloc(1, sizeof *share);
        share->id = must_strdup(id);
        share->queue.bucket = bucket_full(SHARE_CSR_BURST, SHARE_CSR_PER_SECOND);
        list_init(&share->streams);
        list_push(&shares->all, &share->link);
        table_put(&shares->table, &share->table_link, hash);
    }
    stream->share = share;
    list_push(&share->streams, &stream->link);
    share->num_streams++;
    set_rate(share);
}

void share_leave(struct share_stream *stream)
{
    if (stream->share != NULL) {
        list_remove(&stream->link);
        stream->share->num_streams--;
        set_rate(stream->share);
        stream->share = NULL;
    }
}

struct share *share_largest(const struct shares *shares)
{
    struct share *largest = NULL;
    for (struct list *link = shares->all.next; link != &shares->all; link = link->next) {
        struct share *share = LIST_OF(link, struct share, link);
        if (largest == NULL || share->num_streams > largest->num_streams) {
            largest = share;
        }
    }
    return largest;
}

void share_sweep(struct shares *shares, uint64_t now_ms)
{
    LIST_EACH_SAFE(link, &shares->all) {
        struct share *share = LIST_OF(link, struct share, link);
        const struct bucket *bucket = &share->queue.bucket;
        double missing = bucket->drops_max - bucket->drops;
        bool is_full = bucket->last_ms == 0 ||
                       (double)(now_ms - bucket->last_ms) * bucket->drops_per_ms >= missing;
        if (share->num_streams == 0 && share->queue.num == 0 && is_full) {
            free_share(shares, share);
        }
    }
}
