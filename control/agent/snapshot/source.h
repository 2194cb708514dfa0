// SPDX-License-Identifier: Apache-2.0
//
// The interface of a source of configuration. mesh.yaml's files are the first source. A field of
// mesh.yaml asks for each other one: its source_field says what that field means, its source_kind
// is the source at work. control/agent/sources/sources.h is the table of both. The file source
// calls name_files and access_new while it reads, off the loop; the feed calls the rest on the
// loop: start, configure each time mesh.yaml was read, settled after an offer, close.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_SOURCE_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "control/agent/snapshot/slots.h"

#define SOURCES_MAX 8 // the files, and those of the table

struct mesh_files;

struct source_field {
    const char *name;   // of the source, in sentences: "policy agent"
    const char *field;  // of MeshConfig
    unsigned fills;     // a bit for each part that the source fills: 1 << SNAPSHOT_RULES
    unsigned stands_in; // of these, the parts that mesh.yaml may fill until the source does
    // Reads the files that the field names. false sets err, located in mesh.yaml.
    bool (*name_files)(struct mesh_files *files, struct err *err);
    // Takes the field out of mesh.yaml and checks it. NULL sets err, located in mesh.yaml.
    void *(*access_new)(struct mesh_files *files, time_t now, struct err *err);
    void (*access_free)(void *access);                 // NULL is allowed
    const char *(*access_address)(const void *access); // where the source is, for sentences
};

enum offer_result {
    OFFER_TRIED,
    OFFER_REFUSED,
    // Peers who trust the offer's bundles would not accept the certificate in it: it is revoked, or
    // of no root of theirs. With another certificate the offer may be good.
    OFFER_REFUSED_CERTIFICATE,
};

struct source_hooks {
    void *ctx;
    // What the source says from now on. The source is not told what comes of it; it is tried until
    // it works.
    void (*put)(void *ctx, const struct slots *slots);
    // Something new to be tried. The source's `settled` is called once with what became of it, and
    // until then the source puts and offers nothing. Once in force, it is what the source says from
    // now on; if it is refused, it is forgotten. All but OFFER_TRIED set err, at the field of
    // Snapshot that is to blame: it is not good, and `settled` won't be called.
    enum offer_result (*offer)(void *ctx, const struct slots *slots, struct err *err);
    void (*refused)(void *ctx, const char *text); // notes why something never became an offer
};

struct source_facts {
    const char *address;
    bool is_connected; // to another end that stands behind what is in force, and answers
    uint64_t version;  // of what the source holds; 0: nothing
    int64_t state_age_s;
    uint64_t silent_s; // since the other end's host was last heard of; 0: there is no stream
    uint64_t num_failures;
    uint64_t num_nacks;
    uint64_t num_store_failures;
    const char *last_error; // empty: none
};

struct uv_loop_s;

struct source_kind {
    const struct source_field *field;
    void *(*start)(struct uv_loop_s *loop, const struct source_hooks *hooks);
    // Takes over the access; `identity` (NULL: none) is what mesh.yaml's own files prove.
    void (*configure)(void *source, void *access, struct part *identity);
    void (*settled)(void *source, const char *error);
    void (*facts)(const void *source,
                  struct source_facts *out); // texts borrowed until the next call
    void (*close)(void *source);             // no hook is called any more; NULL is allowed
};

#endif
