// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/support/tcp.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int tcp_listen(uint16_t *out_port)
{
    struct sockaddr_in sa = local(0);
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (const struct sockaddr *)&sa, len) == 0 && listen(fd, 16) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    *out_port = ntohs(sa.sin_port);
    return fd;
}

uint16_t tcp_free_port(void)
{
    unsigned low = 0;
    unsigned high = 0;
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    cr_assert(range != NULL && fscanf(range, "%u %u", &low, &high) == 2);
    fclose(range);
    bool is_free = false;
    uint16_t port = 0;
    for (int i = 0; !is_free && i < 10000; i++) {
        cr_assert(getrandom(&port, sizeof port, 0) == sizeof port);
        if (port < 16384 || (port >= low && port <= high)) {
            continue;
        }
        struct sockaddr_in sa = local(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        is_free = bind(fd, (const struct sockaddr *)&sa, sizeof sa) == 0;
        close(fd);
    }
    cr_assert(is_free, "no port from 16384 on is free outside of %u to %u", low, high);
    return port;
}

int tcp_connect(uint16_t port)
{
    struct sockaddr_in sa = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&sa, sizeof sa) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void tcp_call(uint16_t port, int app_fd, int *out_caller, int *out_app)
{
    *out_caller = tcp_connect(port);
    cr_assert(*out_caller >= 0);
    *out_app = accept(app_fd, NULL, NULL);
    cr_assert(*out_app >= 0 && tcp_passes(*out_caller, *out_app));
}

bool tcp_passes(int from, int to)
{
    char byte = 'x';
    return send(from, &byte, 1, MSG_NOSIGNAL) == 1 && recv(to, &byte, 1, 0) == 1;
}

bool tcp_is_over(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) <= 0;
}
