// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/sidecars.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/ctl/kube/members.h"

#define NAME_LEN_MAX 600 // a namespace, a kind and a name, of at most 253 characters each

static void free_texts(struct array *texts)
{
    char **items = texts->items;
    for (uint32_t i = 0; i < texts->num; i++) {
        free(items[i]);
    }
    array_cleanup(texts);
}

void sidecars_cleanup(struct sidecars *sidecars)
{
    struct sidecar *items = sidecars->list.items;
    for (uint32_t i = 0; i < sidecars->list.num; i++) {
        free(items[i].namespace);
        free(items[i].pod);
        free(items[i].workload);
    }
    array_cleanup(&sidecars->list);
    keymap_cleanup(&sidecars->by_address);
    free_texts(&sidecars->owners);
    free_texts(&sidecars->texts);
}

// Names the workload of a pod by the owner that the pod knows. A Deployment owns its pods through a
// ReplicaSet, whose name is the Deployment's and the hash of the template.
static void name_workload(char *out, size_t out_len, const char *pod, const char *kind,
                          const char *owner, const char *hash)
{
    size_t owner_len = strlen(owner);
    size_t hash_len = strlen(hash);
    if (owner_len == 0) {
        snprintf(out, out_len, "pod/%s", pod);
        return;
    }
    bool is_deployment_s = strcmp(kind, "ReplicaSet") == 0 && hash_len > 0 &&
                           owner_len > hash_len + 1 &&
                           strcmp(owner + owner_len - hash_len, hash) == 0;
    if (is_deployment_s) {
        snprintf(out, out_len, "deployment/%.*s", (int)(owner_len - hash_len - 1), owner);
        return;
    }
    snprintf(out, out_len, "%s/%s", kind, owner);
    for (char *at = out; *at != '/' && *at != '\0'; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
}

// Notes whose the addresses are, which stand in one field. Nobody's are those of pods on the host's
// network, which have it in common: the first one's name stands for it.
static void add_addresses(struct sidecars *sidecars, char *addresses, const char *namespace,
                          const char *name)
{
    char owner[NAME_LEN_MAX];
    snprintf(owner, sizeof owner, "%s/%s", namespace, name);
    char **kept = array_add(&sidecars->owners, sizeof *kept);
    *kept = must_strdup(owner);
    for (char *address; (address = strsep(&addresses, " ")) != NULL;) {
        if (*address == '\0' || strcmp(address, "None") == 0) {
            continue;
        }
        char **text = array_add(&sidecars->texts, sizeof *text);
        *text = must_strdup(address);
        struct keymap_key key = keymap_key_of(*text, strlen(*text), 0);
        bool is_new;
        uint32_t *number = keymap_put(&sidecars->by_address, &key, &is_new);
        if (is_new) {
            *number = sidecars->owners.num - 1;
        }
    }
}

void sidecars_add_pods(struct sidecars *sidecars, char *pods, const char *namespace)
{
    enum { NAMESPACE, NAME, PHASE, ADDRESSES, KIND, OWNER, HASH, RUNNING_SINCE, NUM };
    char *fields[NUM];
    while (members_next(&pods, fields, NUM)) {
        char workload[NAME_LEN_MAX];
        if (strcmp(fields[PHASE], "Running") != 0 && strcmp(fields[PHASE], "Pending") != 0) {
            continue; // its address may be another pod's by now
        }
        name_workload(workload, sizeof workload, fields[NAME], fields[KIND], fields[OWNER],
                      fields[HASH]);
        add_addresses(sidecars, fields[ADDRESSES], fields[NAMESPACE], workload);
        bool is_wanted = namespace == NULL || strcmp(fields[NAMESPACE], namespace) == 0;
        if (is_wanted && *fields[RUNNING_SINCE] != '\0') {
            struct sidecar *sidecar = array_add(&sidecars->list, sizeof *sidecar);
            *sidecar = (struct sidecar){.namespace = must_strdup(fields[NAMESPACE]),
                                        .pod = must_strdup(fields[NAME]),
                                        .workload = must_strdup(workload)};
        }
    }
}

void sidecars_add_services(struct sidecars *sidecars, char *services)
{
    enum { NAMESPACE, NAME, ADDRESSES, NUM };
    char *fields[NUM];
    while (members_next(&services, fields, NUM)) {
        char name[NAME_LEN_MAX];
        snprintf(name, sizeof name, "service/%s", fields[NAME]);
        add_addresses(sidecars, fields[ADDRESSES], fields[NAMESPACE], name);
    }
}

const char *sidecars_owner(const struct sidecars *sidecars, const char *address)
{
    struct keymap_key key = keymap_key_of(address, strlen(address), 0);
    const uint32_t *number = keymap_find(&sidecars->by_address, &key);
    return number == NULL ? NULL : ((char *const *)sidecars->owners.items)[*number];
}
