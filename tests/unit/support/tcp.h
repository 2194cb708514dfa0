// SPDX-License-Identifier: Apache-2.0
//
// Blocking sockets on 127.0.0.1 for tests: the service that calls, and the application that is
// called. What can't fail on a sound machine fails the test.
#ifndef TABARD_TESTS_UNIT_SUPPORT_TCP_H
#define TABARD_TESTS_UNIT_SUPPORT_TCP_H

#include <stdbool.h>
#include <stdint.h>

// tcp_listen listens on a port that the kernel chooses, *out_port.
int tcp_listen(uint16_t *out_port);

// tcp_free_port returns a port that nobody has and that the kernel gives no caller (ip(7),
// ip_local_port_range), so that it is still free when the test binds it.
uint16_t tcp_free_port(void);

// tcp_connect returns -1 when nobody listens there.
int tcp_connect(uint16_t port);

// tcp_call connects to a proxy whose connection ends at `app_fd`, which listens, and sends a byte
// through: the connection has passed every step then.
void tcp_call(uint16_t port, int app_fd, int *out_caller, int *out_app);

// tcp_passes says whether a byte that goes in at one end comes out at the other. It waits for it.
bool tcp_passes(int from, int to);

// tcp_is_over waits for a byte or the end, and says whether it was the end.
bool tcp_is_over(int fd);

#endif
