// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_node.h"

#include <uv.h>

#include "base/version.h"

static size_t host_addresses(struct pa_node *node)
{
    uv_interface_address_t *interfaces = NULL;
    int num_interfaces = 0;
    size_t num = 0;
    if (uv_interface_addresses(&interfaces, &num_interfaces) != 0) {
        return 0;
    }
    for (int i = 0; i < num_interfaces && num < PA_ACCESS_ADDRESSES_MAX; i++) {
        struct addr addr;
        const struct sockaddr *sa = (const struct sockaddr *)&interfaces[i].address;
        bool is_link_local = sa->sa_family == AF_INET6 &&
                             IN6_IS_ADDR_LINKLOCAL(&interfaces[i].address.address6.sin6_addr);
        if (!interfaces[i].is_internal && !is_link_local && addr_from_sockaddr(&addr, sa)) {
            ip_text(&addr.ip, node->addresses[num]);
            node->list[num] = node->addresses[num];
            num++;
        }
    }
    uv_free_interface_addresses(interfaces, num_interfaces);
    return num;
}

void pa_node_fill(struct pa_node *node, const struct pa_access *access, bool has_issued,
                  Tabard__V1__Node *out)
{
    static char *capabilities[] = {(char *)"destination_deltas"};
    out->id = access->node_id;
    out->version = (char *)TABARD_VERSION;
    out->n_capabilities = 1;
    out->capabilities = capabilities;
    out->n_addresses = access->config->n_addresses;
    out->addresses = access->config->addresses;
    if (out->n_addresses == 0) {
        out->n_addresses = host_addresses(node);
        out->addresses = node->list;
    }
    // The join token is single-use and only for a sidecar that cannot prove itself by a
    // certificate. No certificate is ever shown over a Unix socket, so there it is always sent.
    bool shows_issued = access->unix_path == NULL && has_issued;
    if (access->join_token != NULL && !shows_issued) {
        out->join_token = access->join_token;
    }
}
