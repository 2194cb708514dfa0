// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/version.h"

#include <unistd.h>

#include "control/policyd/stream/version_impl.h"

void version_cleanup(struct version *version)
{
    if (version->fd > 0) {
        close(version->fd);
    }
    *version = (struct version){.fd = -1};
}

bool version_draw(struct version *version, uint64_t now_us, struct err *err)
{
    return version->kind->draw(version, now_us, err);
}

enum version_reach version_reach(struct version *version, uint64_t held, uint64_t *ticket,
                                 uint64_t now_us)
{
    return version->kind->reach(version, held, ticket, now_us);
}

uint64_t version_least(const struct version *version, uint64_t held)
{
    return version->kind->is_floored ? held : 0;
}
