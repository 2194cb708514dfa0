// SPDX-License-Identifier: Apache-2.0
//
// mesh.yaml and every file that it names, read together: either all of one moment, or an error.
// Owned by the caller; any thread, one at a time; bounded by MESH_FILES_BYTES_MAX. It watches
// nothing (see source_file), and of what it reads it judges only the form of mesh.yaml (see
// assemble).
#ifndef TABARD_CONTROL_AGENT_SOURCES_FILES_MESH_FILES_H
#define TABARD_CONTROL_AGENT_SOURCES_FILES_MESH_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pb/pb_text.h"
#include "control/agent/snapshot/source.h"
#include "control/host/files.h"
#include "tabard/v1/mesh.pb-c.h"

#define MESH_FILE_BYTES_MAX  (8u << 20)
#define MESH_FILES_BYTES_MAX (64u << 20) // of all of them

struct mesh_files {
    struct files files; // mesh.yaml is the first; the others are tagged with their field
    Tabard__V1__MeshConfig *config; // owned; NULL until mesh.yaml parsed
    struct pb_text_marks *marks;    // owned
    unsigned filled_by_others;      // a bit for each part, as source_field.fills
};

// mesh_files_read reads everything, and what the other sources' fields name; fields ends with NULL.
// With `before`, the files of the reading before (no files: none), it waits for writers as long as
// files.h says; without, NULL, it takes what stands still at this moment.
// It refuses a mesh.yaml that holds what a source fills which it asks for. Files that are replaced
// or rewritten meanwhile are read again, a few times. false sets err, located in mesh.yaml where a
// field is to blame ("mesh.yaml:2:17: identity.key: web.key: No such file or directory"); *out then
// still holds the paths and stamps that were looked at, for files_moved and watching. Clean it up
// in both cases.
bool mesh_files_read(struct mesh_files *out, const struct files *before, const char *path,
                     const struct source_field *const *fields, struct err *err);

// mesh_files_cleanup frees everything, wiping what it read first, and leaves the zero state.
void mesh_files_cleanup(struct mesh_files *files);

// mesh_files_name reads the file `name`, which the field `where` names. An empty name is refused
// where `needed` says what the file is for; where `needed` is NULL, none is read. The bytes of one
// that is_secret lie where keys do. false sets err, located.
bool mesh_files_name(struct mesh_files *files, const char *where, const char *name,
                     const char *needed, bool is_secret, struct err *err);

// mesh_files_named returns the file that a field names; NULL: none.
const struct files_entry *mesh_files_named(const struct mesh_files *files, const char *where);

// mesh_config_has says whether a field of mesh.yaml that holds a message or a list is there.
bool mesh_config_has(const Tabard__V1__MeshConfig *config, const char *field);

// mesh_files_path gives the path of a name in mesh.yaml, relative to its own folder; to be free()d.
char *mesh_files_path(const struct mesh_files *files, const char *name);

// mesh_files_locate makes an error of the field err->where into "mesh.yaml:line:column: path:
// text". It returns false.
bool mesh_files_locate(const struct mesh_files *files, struct err *err);

#endif
