// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/nft.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/must.h"

// Asks nf_tables for its generation, which changes nothing, and returns the errno of the answer.
static int probe(int fd)
{
    struct {
        struct nlmsghdr header;
        struct nfgenmsg message;
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                   .nlmsg_flags = NLM_F_REQUEST},
        .message = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
    };
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    if (send(fd, &request, sizeof request, 0) < 0) {
        return errno;
    }
    ssize_t len = recv(fd, &answer, sizeof answer, 0);
    if (len < (ssize_t)sizeof answer.header) {
        return len < 0 ? errno : EPROTO;
    }
    if (answer.header.nlmsg_type != NLMSG_ERROR) {
        return 0;
    }
    const struct nlmsgerr *error = NLMSG_DATA(&answer.header);
    return len >= (ssize_t)NLMSG_LENGTH(sizeof *error) ? -error->error : EPROTO;
}

bool nft_check(struct err *err)
{
    static const struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) {
        return err_set(err, "this kernel has no nf_tables (netlink: %s)", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int error = probe(fd);
    close(fd);
    if (error == EPERM) {
        return err_set(err, "needs CAP_NET_ADMIN in this network namespace: %s", strerror(error));
    }
    return error == 0 || err_set(err, "this kernel has no nf_tables (%s)", strerror(error));
}

// The first line of what libnftables said, without its "Error: ".
static const char *first_line(const char *said, char *buf, size_t buf_len)
{
    const char *at = strstr(said, "Error: ");
    at = at == NULL ? said : at + strlen("Error: ");
    snprintf(buf, buf_len, "%.*s", (int)strcspn(at, "\n"), at);
    return buf;
}

static bool fail_nft(const char *said, struct err *err)
{
    char line[256];
    first_line(said, line, sizeof line);
    if (strstr(said, strerror(EOPNOTSUPP)) != NULL ||
        strstr(said, strerror(EAFNOSUPPORT)) != NULL || strstr(said, strerror(ENOENT)) != NULL) {
        return err_set(err,
                       "this kernel lacks a part of nf_tables' NAT for IPv4 and IPv6 (nf_tables, "
                       "nft_chain_nat, nft_redir, nft_ct): %s",
                       line);
    }
    return err_set(err, "nftables: %s", line[0] == '\0' ? "refused without saying why" : line);
}

static bool run(const char *text, char **out_said, struct err *err)
{
    struct nft_ctx *nft = must_have(nft_ctx_new(NFT_CTX_DEFAULT));
    bool is_buffered = nft_ctx_buffer_output(nft) == 0 && nft_ctx_buffer_error(nft) == 0;
    must_have(is_buffered ? nft : NULL);
    nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_STATELESS); // counters without what they counted
    bool good = true;
    if (nft_run_cmd_from_buffer(nft, text) != 0) {
        good = fail_nft(nft_ctx_get_error_buffer(nft), err);
    } else if (out_said != NULL) {
        *out_said = must_strdup(nft_ctx_get_output_buffer(nft));
    }
    nft_ctx_free(nft);
    return good;
}

bool nft_load(const char *text, struct err *err)
{
    return run(text, NULL, err);
}

bool nft_list(char **out, const char *table, struct err *err)
{
    char command[128];
    snprintf(command, sizeof command, "list table %s\n", table);
    return run(command, out, err);
}
