// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/subscription/pa_response.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/keymap.h"
#include "base/data/utf8.h"
#include "base/pb/pb_budget.h"
#include "base/pb/pb_copy.h"
#include "base/pb/pb_text.h"

enum wire_type { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct wire {
    const uint8_t *at;
    const uint8_t *end;
};

static bool take_varint(struct wire *wire, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

static bool check_message(const ProtobufCMessageDescriptor *descriptor, struct wire wire,
                          unsigned depth, struct err *err);

static bool check_bytes(const ProtobufCFieldDescriptor *field, struct wire value, unsigned depth,
                        struct err *err)
{
    size_t len = (size_t)(value.end - value.at);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (memchr(value.at, 0, len) != NULL) {
            return err_set_at(err, field->name, "a NUL is in this text");
        }
        return utf8_is_valid(value.at, len) ||
               err_set_at(err, field->name, "this text is not UTF-8");
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return true;
    }
    if (depth >= PA_RESPONSE_DEPTH_MAX) {
        return err_set_at(err, field->name, "messages in it are nested deeper than %d",
                          PA_RESPONSE_DEPTH_MAX);
    }
    return check_message(field->descriptor, value, depth + 1, err) ||
           err_prefix_where(err, "%s", field->name);
}

static bool check_message(const ProtobufCMessageDescriptor *descriptor, struct wire wire,
                          unsigned depth, struct err *err)
{
    while (wire.at < wire.end) {
        uint64_t tag = 0;
        uint64_t number = 0;
        if (!take_varint(&wire, &tag)) {
            return err_set(err, "no protobuf message");
        }
        size_t left = (size_t)(wire.end - wire.at);
        switch (tag & 7) {
        case WIRE_VARINT:
            if (!take_varint(&wire, &number)) {
                return err_set(err, "no protobuf message");
            }
            break;
        case WIRE_64:
        case WIRE_32: {
            size_t size = (tag & 7) == WIRE_64 ? 8 : 4;
            if (left < size) {
                return err_set(err, "no protobuf message");
            }
            wire.at += size;
            break;
        }
        case WIRE_BYTES: {
            if (!take_varint(&wire, &number) || number > (size_t)(wire.end - wire.at)) {
                return err_set(err, "no protobuf message");
            }
            struct wire value = {.at = wire.at, .end = wire.at + number};
            wire.at = value.end;
            const ProtobufCFieldDescriptor *field =
                protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
            if (field != NULL && !check_bytes(field, value, depth, err)) {
                return false;
            }
            break;
        }
        default:
            return err_set(err, "no protobuf message");
        }
    }
    return true;
}

bool pa_response_check_text(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t len, struct err *err)
{
    return check_message(descriptor, (struct wire){.at = bytes, .end = bytes + len}, 0, err);
}

Tabard__V1__SubscribeResponse *pa_response_parse(const uint8_t *bytes, size_t len, struct err *err)
{
    if (!pa_response_check_text(&tabard__v1__subscribe_response__descriptor, bytes, len, err)) {
        return NULL;
    }
    struct pb_budget budget = {.bytes_left = PA_RESPONSE_UNPACKED_MAX};
    ProtobufCAllocator allocator = pb_budget_allocator(&budget);
    Tabard__V1__SubscribeResponse *response =
        tabard__v1__subscribe_response__unpack(&allocator, len, bytes);
    if (response == NULL) {
        err_set(err, "%zu bytes that are no SubscribeResponse, or over the limit of %u unpacked",
                len, PA_RESPONSE_UNPACKED_MAX);
        return NULL;
    }
    size_t nonce_len = strlen(response->nonce);
    if (nonce_len == 0 || nonce_len > PA_NONCE_LEN_MAX) {
        err_set_at(err, "nonce", "%zu bytes; a response needs one of 1 to %d", nonce_len,
                   PA_NONCE_LEN_MAX);
        tabard__v1__subscribe_response__free_unpacked(response, NULL);
        return NULL;
    }
    return response;
}

bool pa_response_check(const Tabard__V1__SubscribeResponse *response,
                       const struct pa_expectation *expected, struct err *err)
{
    bool has_rules = response->state != NULL || response->destinations != NULL;
    bool has_certificate_answer =
        response->certificate != NULL || response->certificate_error[0] != '\0';
    if (!pb_text_check_known(&response->base, err)) {
        return false;
    }
    if (!has_rules && !has_certificate_answer) {
        return err_set(err, "the response says nothing: neither state, destinations nor "
                            "certificate is in it");
    }
    if (response->state != NULL && response->destinations != NULL) {
        return err_set_at(err, "destinations", "never together with state");
    }
    if (response->certificate != NULL && response->certificate_error[0] != '\0') {
        return err_set_at(err, "certificate_error", "never together with certificate");
    }
    if (has_certificate_answer && !expected->has_request) {
        return err_set_at(err, "certificate", "no certificate_request waits for an answer");
    }
    if (has_rules && response->version == 0) {
        return err_set_at(err, "version", "missing: versions start at 1");
    }
    if (has_rules && response->version < expected->version_in_force && !expected->accepts_older) {
        return err_set_at(err, "version",
                          "%" PRIu64 " is older than %" PRIu64 ", which is in force; to take it "
                          "the sidecar's operator writes accept_older: true",
                          response->version, expected->version_in_force);
    }
    if (response->destinations != NULL && !expected->has_base) {
        return err_set_at(err, "destinations",
                          "they change a state that was accepted on this stream, and nothing "
                          "refused since: send the state");
    }
    return true;
}

static struct keymap_key key_of(const char *name)
{
    return keymap_key_of(name, (uint32_t)strlen(name), 0);
}

// Notes for each name in the delta what becomes of it: 0 = removed, i + 1 = set[i].
static bool index_delta(struct keymap *names, const Tabard__V1__DestinationDelta *delta,
                        struct err *err)
{
    char where[64];
    for (size_t i = 0; i < delta->n_set + delta->n_removed; i++) {
        bool is_set = i < delta->n_set;
        size_t at = is_set ? i : i - delta->n_set;
        const char *name = is_set ? delta->set[at]->name : delta->removed[at];
        struct keymap_key key = key_of(name);
        bool is_new = false;
        uint32_t *value = keymap_put(names, &key, &is_new);
        snprintf(where, sizeof where, "destinations.%s[%zu]%s", is_set ? "set" : "removed", at,
                 is_set ? ".name" : "");
        if (name[0] == '\0' || !is_new) {
            return err_set_at(err, where, "%s", name[0] == '\0' ? "empty" : "named twice");
        }
        *value = is_set ? (uint32_t)i + 1 : 0;
    }
    return true;
}

// Puts the set destinations in place of their namesakes, drops the removed, appends the new.
static bool merge(Tabard__V1__State *state, Tabard__V1__DestinationDelta *delta,
                  const struct keymap *names, struct err *err)
{
    size_t num = 0;
    Tabard__V1__Destination **all =
        calloc(state->n_destinations + delta->n_set + 1, sizeof(Tabard__V1__Destination *));
    if (all == NULL) {
        return err_set(err, "out of memory");
    }
    for (size_t i = 0; i < state->n_destinations; i++) {
        struct keymap_key key = key_of(state->destinations[i]->name);
        const uint32_t *found = keymap_find(names, &key);
        if (found == NULL) {
            all[num++] = state->destinations[i];
            continue;
        }
        if (*found > 0 && delta->set[*found - 1] != NULL) {
            all[num++] = delta->set[*found - 1];
            delta->set[*found - 1] = NULL;
        }
        tabard__v1__destination__free_unpacked(state->destinations[i], NULL);
    }
    for (size_t i = 0; i < delta->n_set; i++) {
        if (delta->set[i] != NULL) {
            all[num++] = delta->set[i];
        }
    }
    free(delta->set);
    free(state->destinations);
    delta->set = NULL;
    delta->n_set = 0;
    state->destinations = all;
    state->n_destinations = num;
    return true;
}

Tabard__V1__State *pa_response_apply(Tabard__V1__SubscribeResponse *response,
                                     const Tabard__V1__State *base, struct err *err)
{
    Tabard__V1__State *state = response->state;
    if (state != NULL) {
        response->state = NULL;
        return state;
    }
    // The names are borrowed from the delta, which merge takes apart: its strings live on.
    struct keymap names = {0};
    state = pb_copy(&base->base);
    bool ok = index_delta(&names, response->destinations, err) &&
              merge(state, response->destinations, &names, err);
    keymap_cleanup(&names);
    if (!ok) {
        tabard__v1__state__free_unpacked(state, NULL);
        state = NULL;
    }
    return state;
}
