// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/slots.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/must.h"

struct part *part_new(ProtobufCMessage *message, EVP_PKEY *key)
{
    struct part *part = must_alloc(1, sizeof *part);
    *part = (struct part){.num_refs = 1, .message = message, .key = key};
    return part;
}

struct part *part_ref(struct part *part)
{
    part->num_refs++;
    return part;
}

void part_unref(struct part *part)
{
    if (part == NULL || --part->num_refs > 0) {
        return;
    }
    protobuf_c_message_free_unpacked(part->message, NULL);
    EVP_PKEY_free(part->key); // BoringSSL wipes what it frees
    EVP_PKEY_free(part->fallback_key);
    free(part);
}

const Tabard__V1__Identity *part_identity(const struct part *part)
{
    Tabard__V1__Snapshot joined = TABARD__V1__SNAPSHOT__INIT;
    if (part != NULL) {
        snapshot_join(&joined, SNAPSHOT_IDENTITY, part->message);
    }
    return joined.identity;
}

void slots_fill(struct slots *slots, enum snapshot_part which, struct part *part)
{
    struct part *before = slots->parts[which];
    slots->parts[which] = part_ref(part);
    part_unref(before);
}

void slots_copy(struct slots *out, const struct slots *from)
{
    for (size_t i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        out->parts[i] = from->parts[i] != NULL ? part_ref(from->parts[i]) : NULL;
    }
}

bool slots_are_whole(const struct slots *slots)
{
    for (size_t i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        if (slots->parts[i] == NULL) {
            return false;
        }
    }
    return true;
}

void slots_cleanup(struct slots *slots)
{
    for (size_t i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        part_unref(slots->parts[i]);
    }
    *slots = (struct slots){{NULL}};
}
