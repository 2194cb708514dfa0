// SPDX-License-Identifier: Apache-2.0
//
// The control groups that this process is in (cgroups(7), versions 1 and 2), for whoever asks what
// they allow. It reads no limit itself. Any thread.
#ifndef TABARD_BASE_HOST_CGROUP_H
#define TABARD_BASE_HOST_CGROUP_H

#include <stdbool.h>

#define CGROUP_ROOT     "/sys/fs/cgroup"
#define CGROUP_TEXT_MAX 16384 // bytes of /proc/self/cgroup that are read

// Looks at the folder of one group. Returns whether that is enough.
typedef bool cgroup_look(void *ctx, const char *folder, bool is_v2);

// cgroup_own reads /proc/self/cgroup into buf and returns it; empty: there is none.
const char *cgroup_own(char buf[CGROUP_TEXT_MAX]);

// cgroup_each looks at the group of a controller ("cpu", "memory") and then at each above it, up to
// the root: in a container the group may be mounted as that. `groups` is the text of cgroup_own.
void cgroup_each(const char *root, const char *groups, const char *controller, cgroup_look *look,
                 void *ctx);

#endif
