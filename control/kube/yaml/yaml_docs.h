// SPDX-License-Identifier: Apache-2.0
//
// Splits a YAML stream into its documents without reading them, so that one that is left alone goes
// out byte for byte as it came in (YAML 1.2, section 9.2: a line that begins with "---" begins a
// document, whatever stands around it, and one that begins with "..." ends one). Pure.
#ifndef TABARD_CONTROL_KUBE_YAML_YAML_DOCS_H
#define TABARD_CONTROL_KUBE_YAML_YAML_DOCS_H

#include <stdbool.h>
#include <stddef.h>

// A piece of the stream: the marker, and what stands behind it up to the next one.
struct yaml_doc {
    const char *marker; // "---", or empty for what stands before the first marker
    size_t marker_len;
    const char *body; // borrowed, right behind the marker
    size_t body_len;
    size_t line;   // of the stream, where the piece begins, from 1
    bool is_empty; // nothing in it but blanks, comments and directives
};

// yaml_docs_next takes the next piece off *text, of *len bytes. *line is 1 before the first. false:
// nothing is left. All pieces in a row are the whole text.
bool yaml_docs_next(struct yaml_doc *out, const char **text, size_t *len, size_t *line);

#endif
