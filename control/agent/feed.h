// SPDX-License-Identifier: Apache-2.0
//
// The sources at work: mesh.yaml's files, and the other sources that mesh.yaml asks for. They fill
// the slots of a board, and every change of it becomes one assembly for the rollout. The agent
// calls feed_start once, feed_settled for each answer of the rollout, feed_close in a drain or at
// the end. Owned by the agent; its loop thread; bounded by SOURCES_MAX.
#ifndef TABARD_CONTROL_AGENT_FEED_H
#define TABARD_CONTROL_AGENT_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "control/agent/snapshot/assemble.h"
#include "control/agent/snapshot/board.h"
#include "control/agent/snapshot/source.h"

#define FEED_RETRY_MS 3000 // what is held and not good is tried again: time too makes things right

struct feed_hooks {
    void *ctx;
    // A new assembly. The callee may take it over and leave the zero state; what it leaves is
    // cleaned up.
    void (*offer)(void *ctx, struct assembly *assembly);
    // What is in force in the proxy; NULL: nothing is.
    const struct assembly *(*in_force)(void *ctx);
    void (*failed)(void *ctx, const char *text); // an update was refused before it could be offered
};

// A source beside the files.
struct feed_source {
    struct feed *feed;              // borrowed
    const struct source_kind *kind; // borrowed
    size_t row;                     // of the board; the files have row 0
    void *source;                   // owned; NULL: mesh.yaml doesn't ask for it
};

// Zero state: feed_close does nothing.
struct feed {
    struct feed_hooks hooks;
    uv_loop_t *loop; // borrowed
    uv_timer_t news; // on_news runs from here, never inside the callback that brought the news
    struct source_file *files; // owned; NULL when closed
    struct feed_source sources[SOURCES_MAX];
    size_t num_sources;
    struct board board;
    char failure[1024]; // why what is held is not good, if nothing was told or offered since
};

// feed_start takes the zero state, which must stay where it is, and begins to read mesh.yaml.
void feed_start(struct feed *feed, uv_loop_t *loop, const char *mesh_path,
                const struct feed_hooks *hooks);
void feed_reload(struct feed *feed); // reads mesh.yaml now; nothing when closed

// feed_settled notes what became of a source's try (rollout.h) and passes it on in the next turn
// of the loop.
void feed_settled(struct feed *feed, size_t source, uint64_t ticket, const char *error);

// feed_facts fills in what the first source beside the files shows the operator, and returns its
// name; NULL: mesh.yaml asks for none.
const char *feed_facts(const struct feed *feed, struct source_facts *out);

// feed_num_files_held returns how many files are still being written, so that what they held before
// counts.
size_t feed_num_files_held(const struct feed *feed);

// feed_close ends the sources; no hook is called any more. feed_cleanup frees the rest after the
// loop has run out.
void feed_close(struct feed *feed);
void feed_cleanup(struct feed *feed);

#endif
