// SPDX-License-Identifier: Apache-2.0
//
// How many CPUs this process may use at once, from which a program makes its default number of
// threads. A thread more than that would only be throttled in the middle of its work.
#ifndef TABARD_CONTROL_AGENT_CPUS_H
#define TABARD_CONTROL_AGENT_CPUS_H

// cpus_available returns the CPUs that the process may run on (sched_getaffinity), or what the
// quotas of its control group and those above it come to (cgroup v2, cpu.max; v1,
// cpu.cfs_quota_us), rounded up, if that is less. At least 1.
unsigned cpus_available(void);

// cpus_of_quota returns the least such quota, rounded up, below another root than /sys/fs/cgroup,
// with the text of /proc/self/cgroup, for tests. UINT_MAX: there is none.
unsigned cpus_of_quota(const char *root, const char *groups);

#endif
