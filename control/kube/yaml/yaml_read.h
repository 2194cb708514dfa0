// SPDX-License-Identifier: Apache-2.0
//
// Reads one YAML document into a jansson tree, as Kubernetes' own programs read manifests (YAML 1.1
// types: `yes` is true, 0644 is 420; see sigs.k8s.io/yaml). Order is kept, comments are not. Pure;
// bounded by the YAML_READ_*_MAX.
#ifndef TABARD_CONTROL_KUBE_YAML_YAML_READ_H
#define TABARD_CONTROL_KUBE_YAML_YAML_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define YAML_READ_DEPTH_MAX 64
#define YAML_READ_NODES_MAX 1000000 // also those that an alias stands for

// yaml_read reads a document; the caller owns the tree. Anchors, aliases and merge keys are written
// out. *out_has_tags says whether a tag stood there, whose meaning is lost. NULL sets err, with the
// line (the first is `line`): no YAML; a key that is no word or stands there twice; an alias of
// nothing; too deep, too large.
json_t *yaml_read(const char *text, size_t len, size_t line, bool *out_has_tags, struct err *err);

// yaml_plain returns what a plain word stands for: null, a boolean, a number, or itself as a text.
// NULL: it is no text in UTF-8.
json_t *yaml_plain(const char *text, size_t len);

#endif
