// SPDX-License-Identifier: Apache-2.0
//
// Writes a jansson tree as YAML in block style, as kubectl prints it: two spaces, lists at the
// column of their key, texts of several lines as blocks. yaml_read reads the same tree back, and so
// does whatever follows YAML 1.1 or 1.2. Pure.
#ifndef TABARD_CONTROL_KUBE_YAML_YAML_WRITE_H
#define TABARD_CONTROL_KUBE_YAML_YAML_WRITE_H

#include <jansson.h>

#include "base/data/bytes.h"

// yaml_write appends the document with a newline at its end.
void yaml_write(struct bytes *out, const json_t *root);

#endif
