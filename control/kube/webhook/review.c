// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/review.h"

#include <openssl/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/utf8.h"
#include "base/log.h"
#include "base/must.h"

#define API_VERSION   "admission.k8s.io/v1"
#define KIND          "AdmissionReview"
#define STATUS_OK     200
#define STATUS_BAD    400
#define STATUS_DENIED 403

const char *review_result_text(enum review_result result)
{
    static const char *const texts[] = {
#define X(name, text) text,
        REVIEW_RESULTS(X)
#undef X
    };
    return texts[result];
}

// A review under work.
struct work {
    json_t *root;          // owned
    const json_t *request; // of the root
    const char *uid;       // of the request
    struct review *out;
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool is_empty(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

static bool is_malformed(struct review *out)
{
    out->result = REVIEW_MALFORMED;
    out->status = STATUS_BAD;
    char *body = malloc(sizeof out->why.text + 2);
    if (body != NULL) {
        snprintf(body, sizeof out->why.text + 2, "%s\n", out->why.text);
    }
    out->body = body;
    return false;
}

// Counts what may begin a value outside of strings: a few bytes can stand for a value that takes
// hundreds.
static size_t count_values(const uint8_t *text, size_t len)
{
    size_t num = 1;
    bool is_string = false;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = text[i];
        if (byte == '"') {
            is_string = !is_string;
        } else if (is_string) {
            i += byte == '\\';
        } else {
            num += byte == ',' || byte == ':' || byte == '[' || byte == '{';
        }
    }
    return num;
}

static bool parse(struct work *work, const uint8_t *text, size_t len)
{
    json_error_t error = {.line = 0};
    struct err *why = &work->out->why;
    if (count_values(text, len) > REVIEW_VALUES_MAX) {
        err_set(why, "the request's JSON has more than %d values", REVIEW_VALUES_MAX);
        return is_malformed(work->out);
    }
    work->root = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, &error);
    if (work->root == NULL) {
        err_set(why, "the request is not one JSON document: line %d, column %d: %s", error.line,
                error.column, error.text);
        return is_malformed(work->out);
    }
    return true;
}

// Reads the envelope, up to the uid, with which everything behind it is answered.
static bool read_envelope(struct work *work)
{
    struct err *why = &work->out->why;
    const json_t *root = work->root;
    if (strcmp(text_at(root, "apiVersion"), API_VERSION) != 0 ||
        strcmp(text_at(root, "kind"), KIND) != 0) {
        err_set(why, "the request is \"%.60s\" of \"%.60s\", and must be " KIND " of " API_VERSION,
                text_at(root, "kind"), text_at(root, "apiVersion"));
        return is_malformed(work->out);
    }
    work->request = json_object_get(root, "request");
    if (!json_is_object(work->request)) {
        err_set(why, "the " KIND " has no object \"request\"");
        return is_malformed(work->out);
    }
    const json_t *uid = json_object_get(work->request, "uid");
    size_t len = json_string_length(uid);
    work->uid = json_string_value(uid);
    if (len == 0 || len > REVIEW_UID_MAX) {
        err_set(why, "request.uid is not a text of 1 to %d bytes", REVIEW_UID_MAX);
        return is_malformed(work->out);
    }
    return true;
}

static void note_name(const struct work *work)
{
    const json_t *metadata = json_object_get(json_object_get(work->request, "object"), "metadata");
    const char *name = text_at(metadata, "name");
    const char *made = text_at(metadata, "generateName");
    const char *asked = text_at(work->request, "name");
    snprintf(work->out->name, sizeof work->out->name, "%.64s/%.256s%s",
             text_at(work->request, "namespace"),
             name[0] != '\0'    ? name
             : asked[0] != '\0' ? asked
                                : made,
             name[0] == '\0' && asked[0] == '\0' && made[0] != '\0' ? "*" : "");
}

static void set(json_t *object, const char *key, json_t *value)
{
    invariant(json_object_set_new(object, key, must_have(value)) == 0);
}

// The result as BASE64 of JSON text. NULL: no memory.
static json_t *patch_text(const json_t *patch)
{
    char *text = json_dumps(patch, JSON_COMPACT);
    size_t len = text == NULL ? 0 : strlen(text);
    size_t encoded_len = 0;
    uint8_t *encoded = NULL;
    if (text != NULL && EVP_EncodedLength(&encoded_len, len) == 1) {
        encoded = malloc(encoded_len);
    }
    json_t *value =
        encoded == NULL
            ? NULL
            : json_stringn((char *)encoded, EVP_EncodeBlock(encoded, (const uint8_t *)text, len));
    free(encoded);
    free(text);
    return value;
}

// A text that was cut in the middle of a character is no text of JSON.
static void mend_cut(char *text)
{
    if (!utf8_is_valid((const uint8_t *)text, strlen(text))) {
        for (; *text != '\0'; text++) {
            *text = (unsigned char)*text > 0x7e ? '?' : *text;
        }
    }
}

// What an auditor reads beside the pod.
static json_t *decision_text(const struct review *out)
{
    char text[sizeof out->why.text + 32];
    snprintf(text, sizeof text, "%s%s%s", review_result_text(out->result),
             out->why.text[0] == '\0' ? "" : ": ", out->why.text);
    return json_pack("{s:s}", "decision", text);
}

// Writes the answer. `patch` and `warnings` may be NULL.
static void answer(const struct work *work, enum review_result result, const json_t *patch,
                   json_t *warnings)
{
    struct review *out = work->out;
    json_t *root = must_have(json_object());
    json_t *response = must_have(json_object());
    out->result = result;
    out->status = STATUS_OK;
    mend_cut(out->why.text);
    set(response, "auditAnnotations", decision_text(out));
    set(response, "uid", json_string(work->uid));
    set(response, "allowed", json_boolean(result != REVIEW_REFUSED));
    if (result == REVIEW_REFUSED) {
        set(response, "status",
            json_pack("{s:s, s:i, s:s}", "message", out->why.text, "code", STATUS_DENIED, "reason",
                      "Forbidden"));
    }
    json_t *encoded = result == REVIEW_PATCHED ? patch_text(patch) : NULL;
    if (encoded != NULL) {
        set(response, "patchType", json_string("JSONPatch"));
        json_object_set_new(response, "patch", encoded);
    }
    if (json_array_size(warnings) > 0) {
        json_object_set(response, "warnings", warnings);
    }
    set(root, "apiVersion", json_string(API_VERSION));
    set(root, "kind", json_string(KIND));
    set(root, "response", response);
    bool is_whole = result != REVIEW_PATCHED || encoded != NULL;
    out->body = is_whole ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
}

static void refuse(const struct work *work)
{
    answer(work, REVIEW_REFUSED, NULL, NULL);
}

// Lets pass what changes no pod, and says so to whoever wrote the rule that brought it here.
static void pass(const struct work *work, const char *what)
{
    char warning[256];
    err_set(&work->out->why, "%s", what);
    snprintf(warning, sizeof warning, "tabard: %s", work->out->why.text);
    json_t *warnings = json_pack("[s]", warning);
    answer(work, REVIEW_NOTHING, NULL, warnings);
    json_decref(warnings);
}

// Says whether a pod is being made, and answers if not.
static bool is_create(const struct work *work)
{
    static const char *const others[] = {"UPDATE", "DELETE", "CONNECT"};
    const char *operation = text_at(work->request, "operation");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(operation, others[i]) == 0) {
            pass(work, "only CREATE of a pod is decided here, other operations pass as they are");
            return false;
        }
    }
    if (strcmp(operation, "CREATE") != 0) {
        err_set(&work->out->why, "request.operation is \"%.30s\", and must be CREATE", operation);
        refuse(work);
        return false;
    }
    const json_t *sub = json_object_get(work->request, "subResource");
    if (!is_empty(sub) && !(json_is_string(sub) && json_string_length(sub) == 0)) {
        pass(work, "only pods are decided here, their subresources pass as they are");
        return false;
    }
    return true;
}

// Says whether the object is a pod, by what the API server says of it and by itself.
static bool is_pod(const struct work *work)
{
    const json_t *kind = json_object_get(work->request, "kind");
    const json_t *object = json_object_get(work->request, "object");
    struct err *why = &work->out->why;
    if (strcmp(text_at(kind, "kind"), "Pod") != 0 || strcmp(text_at(kind, "version"), "v1") != 0 ||
        text_at(kind, "group")[0] != '\0') {
        err_set(why,
                "request.kind is %.60s of \"%.60s/%.30s\", and must be a Pod of v1: the rules of "
                "the MutatingWebhookConfiguration name what comes here",
                text_at(kind, "kind"), text_at(kind, "group"), text_at(kind, "version"));
    } else if (!json_is_object(object)) {
        err_set(why, "request.object is not there, and must be a Pod");
    } else if ((!is_empty(json_object_get(object, "kind")) &&
                strcmp(text_at(object, "kind"), "Pod") != 0) ||
               (!is_empty(json_object_get(object, "apiVersion")) &&
                strcmp(text_at(object, "apiVersion"), "v1") != 0)) {
        err_set(why, "request.object is %.60s of \"%.60s\", and must be a Pod of v1",
                text_at(object, "kind"), text_at(object, "apiVersion"));
    } else {
        return true;
    }
    refuse(work);
    return false;
}

static void inject(const struct work *work, const struct inject_context *context,
                   const Tabard__V1__InjectConfig *config)
{
    struct inject_result result = {.patch = NULL};
    inject_pod(&result, json_object_get(work->request, "object"), context, config);
    work->out->why = result.why;
    switch (result.outcome) {
    case INJECT_PATCHED:
        answer(work, REVIEW_PATCHED, result.patch, result.warnings);
        break;
    case INJECT_NOTHING:
        answer(work, REVIEW_NOTHING, NULL, result.warnings);
        break;
    case INJECT_REFUSED:
        err_text(&result.why, work->out->why.text, sizeof work->out->why.text);
        answer(work, REVIEW_REFUSED, NULL, result.warnings);
        break;
    }
    inject_result_cleanup(&result);
}

void review_decide(struct review *out, const uint8_t *text, size_t len,
                   const struct inject_context *context, const Tabard__V1__InjectConfig *config)
{
    struct work work = {.out = out};
    *out = (struct review){.body = NULL};
    if (parse(&work, text, len) && read_envelope(&work)) {
        note_name(&work);
        if (is_create(&work) && is_pod(&work)) {
            inject(&work, context, config);
        }
    }
    json_decref(work.root);
}

void review_cleanup(struct review *review)
{
    free(review->body);
    review->body = NULL;
}
