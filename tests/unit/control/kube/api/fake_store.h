// SPDX-License-Identifier: Apache-2.0
//
// What a test's API server (fake_api.h) keeps: objects in collections, by the collection's path,
// each change with the next resourceVersion, told to every watch of it. It answers lists, watches,
// POST, and merge patches of an object or its status, with 404 and 409 where a real one would. It
// knows no selectors. fake_store_start, then the rest, then fake_store_stop. A mistake of the test
// aborts.
#ifndef TABARD_TESTS_UNIT_CONTROL_KUBE_API_FAKE_STORE_H
#define TABARD_TESTS_UNIT_CONTROL_KUBE_API_FAKE_STORE_H

#include <jansson.h>

#include "tests/unit/control/kube/api/fake_api.h"

struct fake_store {
    struct fake_api api;
    json_t *collections; // path -> name -> object; a name is "namespace/name" or a name
    unsigned version;
    unsigned num_conflicts;
    unsigned num_writes; // POST and PATCH that were done
    bool is_quiet;       // watches are not told
};

void fake_store_start(struct fake_store *store, uv_loop_t *loop, const char *folder);
void fake_store_stop(struct fake_store *store);

// fake_store_put makes an object or changes it, from JSON text; fake_store_delete deletes one.
void fake_store_put(struct fake_store *store, const char *path, const char *text);
void fake_store_delete(struct fake_store *store, const char *path, const char *name);

// fake_store_get returns an object, borrowed, or NULL. fake_store_tell tells the watches of one as
// it is.
json_t *fake_store_get(const struct fake_store *store, const char *path, const char *name);
void fake_store_tell(struct fake_store *store, const char *path, const char *type,
                     const json_t *object);

// fake_store_touch gives an object that the test has changed the next version, and tells of it.
void fake_store_touch(struct fake_store *store, const char *path, json_t *object);

#endif
