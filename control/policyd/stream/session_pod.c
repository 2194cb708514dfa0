// SPDX-License-Identifier: Apache-2.0
//
// The pod that a stream belongs to: which one, whether it is still there, and what it is now.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/policyd/stream/session.h"

const char *session_find_pod(const struct session *session, const struct account_pod *pod)
{
    const struct pods *pods = &session->service->pods;
    return pods->key(pods->ctx, pod);
}

bool session_bind(struct session *session, const struct account_pod *pod, struct err *err)
{
    if (session->pod == NULL) {
        session->pod = must_alloc(1, sizeof *pod);
        *session->pod = *pod;
        return true;
    }
    return strcmp(session->pod->uid, pod->uid) == 0 ||
           err_set(err, "the token is of the pod %s/%s, and this stream of %s/%s", pod->ns,
                   pod->name, session->pod->ns, session->pod->name);
}

const char *session_pod_text(const struct session *session, char buf[SESSION_POD_TEXT_BYTES])
{
    const struct account_pod *pod = session->pod;
    buf[0] = '\0';
    if (pod != NULL) {
        snprintf(buf, SESSION_POD_TEXT_BYTES, " pod=%s/%s uid=%s", pod->ns, pod->name, pod->uid);
    }
    return buf;
}

void session_check_pod(struct session *session)
{
    struct err err = {{0}, {0}};
    if (session->reviewed != NULL) {
        session_first_again(session);
        return;
    }
    if (session->pod == NULL || session->key == NULL) {
        return;
    }
    const char *key = session_find_pod(session, session->pod);
    if (key == NULL) {
        session_finish(session, SERVICE_END_POD_GONE, GRPC_UNAUTHENTICATED,
                       "the pod is gone, or is not in the mesh any more");
        return;
    }
    // The fleet that names what the pod is now may come a little later.
    if (strcmp(key, session->key) != 0 &&
        world_move(&session->service->world, &session->viewer, key, &err)) {
        free(session->key);
        session->key = must_strdup(key);
        session_advance(session);
    }
}
