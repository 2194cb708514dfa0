// SPDX-License-Identifier: Apache-2.0
//
// The application's probes, which the agent makes in the kubelet's place (tabard/v1/probes.proto).
// The agent reads the table once, at its start, and asks it for each request of a page below
// PROBES_PAGE_PREFIX. Who asks for a page while the application is being asked already gets the
// same answer: whoever reaches the page can't have the application asked more than PROBES_RUNS_MAX
// times at once for one probe. The loop's thread.
#ifndef TABARD_CONTROL_AGENT_PROBES_PROBES_H
#define TABARD_CONTROL_AGENT_PROBES_PROBES_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/err.h"

#define PROBES_RUNS_MAX 4 // of one probe, each at another address

struct probes; // opaque

// Says what came of a question: once, from the loop or from inside probes_free. `why` is borrowed
// for the call, and holds what the application chose.
typedef void probes_on_answer(void *ctx, bool is_good, const char *why);

// probes_load reads probes.yaml. NULL sets err, located in the file.
struct probes *probes_load(uv_loop_t *loop, const char *path, struct err *err);

// probes_free answers who waits. NULL is allowed.
void probes_free(struct probes *probes);

// probes_ask asks the application at `ip`. false: there is no such page, and on_answer won't come.
bool probes_ask(struct probes *probes, const char *page, const struct ip *ip,
                probes_on_answer *on_answer, void *ctx);

// probes_timeout_max returns the longest that an answer takes, in seconds, and probes_num_pages how
// many pages there are. NULL is allowed.
uint32_t probes_timeout_max(const struct probes *probes);
uint32_t probes_num_pages(const struct probes *probes);

// probes_num returns how many questions to the application ended good or bad.
uint64_t probes_num(const struct probes *probes, bool is_good);

#endif
