// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/status_write.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "certs/cert.h"

#define REFUSAL_BYTES 256

// Foreign text as a JSON string has it.
static void keep_plain(char *out, size_t size, const char *text)
{
    size_t len = 0;
    for (; text[len] != '\0' && len < size - 1; len++) {
        out[len] = text[len] >= ' ' && text[len] < 0x7f ? text[len] : '?';
    }
    out[len] = '\0';
}

static json_t *plain_string(const char *text)
{
    char plain[STATUS_MESSAGE_BYTES];
    keep_plain(plain, sizeof plain, text);
    return must_have(json_string(plain));
}

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text != NULL ? text : "";
}

static uint32_t count_of(const json_t *object, const char *field)
{
    json_int_t value = json_integer_value(json_object_get(object, field));
    return value > 0 && value < UINT32_MAX ? (uint32_t)value : 0;
}

// Finds the item of a list whose `key` is `name`.
static const json_t *find(const json_t *list, const char *key, const char *name)
{
    size_t index;
    const json_t *item;
    json_array_foreach(list, index, item)
    {
        if (strcmp(text_of(item, key), name) == 0) {
            return item;
        }
    }
    return NULL;
}

// Wraps a status into what is applied. The uid makes the server refuse it for another object of the
// same name.
static json_t *object_of(const struct status_facts *facts, json_t *status)
{
    json_t *metadata = must_have(json_pack("{s:s, s:s}", "name", facts->name, "uid", facts->uid));
    if (facts->ns[0] != '\0') {
        json_object_set_new(metadata, "namespace", must_have(json_string(facts->ns)));
    }
    return must_have(json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "tabard.dev/v1alpha1", "kind",
                               facts->kind, "metadata", metadata, "status", status));
}

static struct status_write write_of(const struct status_facts *facts, const char *replica,
                                    json_t *status)
{
    struct status_write write = {.object = object_of(facts, status)};
    snprintf(write.manager, sizeof write.manager, STATUS_MANAGER "%s%s",
             replica[0] != '\0' ? "-" : "", replica);
    return write;
}

// What this replica's entry should be; NULL: it needs none.
static json_t *entry_of(const struct status_facts *facts)
{
    if (facts->num_in_force == 0 && facts->num_refused == 0) {
        return NULL;
    }
    json_t *entry =
        must_have(json_pack("{s:s, s:I, s:i, s:i}", "name", facts->replica, "observedGeneration",
                            (json_int_t)facts->generation, "inForce", (int)facts->num_in_force,
                            "refused", (int)facts->num_refused));
    if (facts->refusal != NULL) {
        char plain[REFUSAL_BYTES];
        keep_plain(plain, sizeof plain, facts->refusal);
        json_object_set_new(entry, "message", must_have(json_string(plain)));
    }
    return entry;
}

static struct status_write write_entry(const struct status_facts *facts, const json_t *status)
{
    const json_t *is = find(json_object_get(status, "replicas"), "name", facts->replica);
    json_t *should = entry_of(facts);
    struct status_write write = {.object = NULL};
    if (should == NULL && is != NULL) {
        write = write_of(facts, facts->replica, must_have(json_object()));
    } else if (should != NULL && !json_equal(is, should)) {
        write =
            write_of(facts, facts->replica, must_have(json_pack("{s:[O]}", "replicas", should)));
    }
    json_decref(should);
    return write;
}

// Takes away the entry of a replica that is no more.
static struct status_write write_dead(const struct status_facts *facts, const json_t *status)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(status, "replicas"), index, entry)
    {
        const char *name = text_of(entry, "name");
        if (strcmp(name, facts->replica) != 0 && !facts->is_alive(facts->ctx, name)) {
            return write_of(facts, name, must_have(json_object()));
        }
    }
    return (struct status_write){.object = NULL};
}

// What all replicas together know.
struct sum {
    uint32_t in_force;
    uint32_t refused;
    char refusal[REFUSAL_BYTES];
};

static struct sum add_up(const struct status_facts *facts, const json_t *status)
{
    struct sum sum = {.in_force = facts->num_in_force, .refused = facts->num_refused};
    const json_t *replicas = json_object_get(status, "replicas");
    keep_plain(sum.refusal, sizeof sum.refusal, facts->refusal != NULL ? facts->refusal : "");
    for (size_t i = 0; i < json_array_size(replicas) && i < STATUS_REPLICAS_MAX; i++) {
        const json_t *entry = json_array_get(replicas, i);
        const char *name = text_of(entry, "name");
        json_int_t generation = json_integer_value(json_object_get(entry, "observedGeneration"));
        if (strcmp(name, facts->replica) == 0 || generation != facts->generation ||
            !facts->is_alive(facts->ctx, name)) {
            continue;
        }
        sum.in_force += count_of(entry, "inForce");
        sum.refused += count_of(entry, "refused");
        if (sum.refusal[0] == '\0') {
            keep_plain(sum.refusal, sizeof sum.refusal, text_of(entry, "message"));
        }
    }
    return sum;
}

// A condition is another one if anything but its time is. The time is that of the change of its
// status.
static json_t *condition_of(const struct status_facts *facts, const json_t *status,
                            const char *type, bool is_true, const char *reason, const char *message,
                            int64_t now, bool *out_is_news)
{
    const json_t *is = find(json_object_get(status, "conditions"), "type", type);
    const char *value = is_true ? "True" : "False";
    char time_text[CERT_TIME_TEXT_MAX];
    const char *since = text_of(is, "lastTransitionTime");
    if (strcmp(text_of(is, "status"), value) != 0 || since[0] == '\0') {
        since = cert_time_text((time_t)now, time_text);
    }
    json_t *should = must_have(json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "type", type, "status",
                                         value, "observedGeneration", (json_int_t)facts->generation,
                                         "lastTransitionTime", since, "reason", reason, "message",
                                         plain_string(message)));
    *out_is_news = *out_is_news || !json_equal(is, should);
    return should;
}

static json_t *in_force_of(const struct status_facts *facts, const json_t *status, int64_t now,
                           bool *out_is_news)
{
    struct sum sum = add_up(facts, status);
    char message[STATUS_MESSAGE_BYTES];
    bool is_everywhere = facts->is_accepted && sum.in_force >= facts->num_concerned;
    const char *reason = "Pending";
    uint32_t num = sum.in_force < facts->num_concerned ? sum.in_force : facts->num_concerned;
    snprintf(message, sizeof message, "%u of %u sidecars", num, facts->num_concerned);
    if (!facts->is_accepted) {
        reason = "NotAccepted";
        snprintf(message, sizeof message, "what was accepted before, if anything, stays in force");
    } else if (sum.refused > 0) {
        size_t len = strlen(message);
        reason = "Refused";
        snprintf(message + len, sizeof message - len, "; %u refuse what they are sent: %s",
                 sum.refused, sum.refusal);
    } else if (is_everywhere) {
        reason = "InForce";
    }
    return condition_of(facts, status, "InForce", is_everywhere, reason, message, now, out_is_news);
}

static struct status_write write_conditions(const struct status_facts *facts, const json_t *status,
                                            int64_t now)
{
    bool is_news = false;
    struct status_write write = {.object = NULL};
    json_t *accepted = condition_of(facts, status, "Accepted", facts->is_accepted, facts->reason,
                                    facts->message, now, &is_news);
    json_t *in_force = in_force_of(facts, status, now, &is_news);
    json_t *should = must_have(json_pack("{s:[o,o]}", "conditions", accepted, in_force));
    if (is_news) {
        write = write_of(facts, "", json_incref(should));
    }
    json_decref(should);
    return write;
}

struct status_write status_write_next(const struct status_facts *facts, const json_t *status,
                                      int64_t now)
{
    struct status_write write = write_entry(facts, status);
    if (write.object == NULL) {
        write = write_dead(facts, status);
    }
    if (write.object == NULL) {
        write = write_conditions(facts, status, now);
    }
    return write;
}
