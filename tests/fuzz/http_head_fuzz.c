// SPDX-License-Identifier: Apache-2.0
//
// What an application answers to a probe: any bytes, and where its redirection leads. Whatever is
// followed must be sendable in a request line, and must stay at the address.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "control/agent/probes/http_head.h"
#include "control/agent/probes/http_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_target target;
    struct http_head head;
    struct ip ip;
    invariant(addr_parse(&target.addr, "10.1.2.3:8080", false, NULL));
    invariant(http_target_set_path(&target, "/x/a?q"));
    ip = target.addr.ip;
    enum http_head_result result = http_head_parse(&head, data, size, NULL);
    invariant(size < HTTP_HEAD_BYTES_MAX || result != HTTP_HEAD_MORE);
    if (result == HTTP_HEAD_DONE) {
        invariant(head.status >= 101 && head.status <= 599);
        if (http_target_redirect(&target, head.location) == HTTP_REDIRECT_FOLLOW) {
            invariant(ip_equal(&target.addr.ip, &ip) && target.addr.port != 0);
            invariant(target.path[0] == '/' && strpbrk(target.path, " \r\n\t#") == NULL);
        }
    }
    return 0;
}
