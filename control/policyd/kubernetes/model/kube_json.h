// SPDX-License-Identifier: Apache-2.0
//
// Reads fields of Kubernetes' objects, leniently where the API server has checked them, and the
// specs of our own resources strictly: what is unknown in them could narrow them, so it is refused.
// Pure; any thread.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_JSON_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

// kube_json_text returns the text at a path of keys that ends with NULL, borrowed, or "".
const char *kube_json_text(const json_t *object, ...) __attribute__((sentinel));

// kube_json_at returns what is at a path of keys, borrowed, or NULL.
const json_t *kube_json_at(const json_t *object, ...) __attribute__((sentinel));

// kube_json_is_label says whether a text is a DNS label, as namespaces are named; and
// kube_json_is_name whether it is a DNS subdomain, as most objects are (RFC 1123).
bool kube_json_is_label(const char *text);
bool kube_json_is_name(const char *text);

// kube_json_canonical returns a text that is the same for equal values, malloc'd.
char *kube_json_canonical(const json_t *value);

// kube_json_only refuses an object that is none, or that has keys other than these (a list that
// ends with NULL). false sets err, with err.where the key.
bool kube_json_only(const json_t *object, struct err *err, ...) __attribute__((sentinel));

// kube_json_message makes a message of an object whose keys are the lowerCamelCase of the message's
// fields, by the rules of pb_text_parse. NULL sets err, with err.where by those names.
void *kube_json_message(const ProtobufCMessageDescriptor *descriptor, const json_t *object,
                        struct err *err);

// kube_json_place turns an err.where about a field of `message` ("policy.rules[0].source_ips") into
// what the author of a resource knows it by ("spec.rules[0].sourceIps"); "": it is of
// kube_json_message, which names fields so already. Returns false.
bool kube_json_place(struct err *err, const char *message);

#endif
