// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/strangers.h"

#include <openssl/rand.h>
#include <openssl/siphash.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

void strangers_init(struct strangers *strangers)
{
    list_init(&strangers->all);
    strangers->num = 0;
    strangers->slots = must_alloc(STRANGERS_SLOTS, sizeof *strangers->slots);
    for (size_t i = 0; i < STRANGERS_SLOTS; i++) {
        list_init(&strangers->slots[i].all);
    }
    RAND_bytes((uint8_t *)strangers->key, sizeof strangers->key);
}

void strangers_cleanup(struct strangers *strangers)
{
    free(strangers->slots);
    strangers->slots = NULL;
}

static struct strangers_slot *slot_of(struct strangers *strangers, const struct h2_peer *peer)
{
    uint8_t source[H2_SOURCE_BYTES];
    h2_peer_source(peer, source);
    uint64_t hash = SIPHASH_24(strangers->key, source, sizeof source);
    return &strangers->slots[hash % STRANGERS_SLOTS];
}

void strangers_join(struct strangers *strangers, struct stranger *stranger,
                    const struct h2_peer *peer, uint64_t now_ms)
{
    stranger->slot = slot_of(strangers, peer);
    stranger->since_ms = now_ms;
    list_push(&strangers->all, &stranger->link);
    list_push(&stranger->slot->all, &stranger->slot_link);
    strangers->num++;
    stranger->slot->num++;
}

void strangers_leave(struct strangers *strangers, struct stranger *stranger)
{
    if (stranger->slot != NULL) {
        list_remove(&stranger->link);
        list_remove(&stranger->slot_link);
        stranger->slot->num--;
        strangers->num--;
        stranger->slot = NULL;
    }
}

struct stranger *strangers_oldest(const struct strangers *strangers)
{
    return list_is_empty(&strangers->all) ? NULL
                                          : LIST_OF(strangers->all.next, struct stranger, link);
}

struct stranger *strangers_oldest_of(const struct stranger *stranger)
{
    return LIST_OF(stranger->slot->all.next, struct stranger, slot_link);
}
