// SPDX-License-Identifier: Apache-2.0
//
// What is read from mesh.yaml and its files: the slots that they fill, and the other sources that
// mesh.yaml asks for. The file source reads one at each change, `tabardctl check` reads one. Any
// thread, one at a time.
#ifndef TABARD_CONTROL_AGENT_SOURCES_FILES_MESH_H
#define TABARD_CONTROL_AGENT_SOURCES_FILES_MESH_H

#include <stdbool.h>
#include <time.h>

#include "base/err.h"
#include "control/agent/snapshot/assemble.h"
#include "control/agent/snapshot/source.h"
#include "control/agent/sources/files/mesh_files.h"

// Zero state: {0}.
struct mesh {
    struct slots slots;
    struct assembly assembly; // of the slots, if all are filled; else the zero state
    // What access_new made of each field of the table; NULL: the field is not in mesh.yaml.
    void *accesses[SOURCES_MAX];              // owned
    const struct source_field *const *fields; // borrowed, for ever
};

// mesh_read makes slots of the files and checks them, all or nothing. It takes what it needs out
// of files->config: afterwards files is only good for watching and mesh_files_cleanup.
// false sets err, located in mesh.yaml; *out is then the zero state.
bool mesh_read(struct mesh *out, struct mesh_files *files, const struct source_field *const *fields,
               time_t now, struct err *err);

// mesh_load reads the mesh.yaml at `path` and its files in one go.
bool mesh_load(struct mesh *out, const char *path, const struct source_field *const *fields,
               time_t now, struct err *err);
void mesh_cleanup(struct mesh *mesh);

#endif
