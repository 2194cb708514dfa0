// SPDX-License-Identifier: Apache-2.0
//
// A manifest of any bytes, as somebody pipes it into `tabardctl inject`: its pieces are the whole
// of it, and what can be read is written so that it is read back as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/kube/yaml/yaml_docs.h"
#include "control/kube/yaml/yaml_read.h"
#include "control/kube/yaml/yaml_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_piece(const struct yaml_doc *doc)
{
    struct bytes text = {0};
    bool has_tags = false;
    json_t *root = yaml_read(doc->body, doc->body_len, doc->line, &has_tags, NULL);
    if (root == NULL) {
        return;
    }
    yaml_write(&text, root);
    json_t *again = yaml_read((const char *)text.at, text.len, 1, &has_tags, NULL);
    invariant(again != NULL && json_equal(root, again));
    bytes_cleanup(&text);
    json_decref(again);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_doc doc;
    const char *text = (const char *)data;
    size_t len = size;
    size_t line = 1;
    size_t sum = 0;
    while (yaml_docs_next(&doc, &text, &len, &line)) {
        invariant(doc.body == doc.marker + doc.marker_len);
        sum += doc.marker_len + doc.body_len;
        try_piece(&doc);
    }
    invariant(sum == size);
    return 0;
}
