// SPDX-License-Identifier: Apache-2.0
//
// A TCP peer whose host is gone without a word, or a wire that lets nothing through: the kernel
// asks (RFC 9293, section 3.8.4), and gives the connection up.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "net/http2/transport_impl.h"

#define PROBE_S 5 // between two questions

void transport_watch_silence(int fd)
{
    const int on = 1;
    const int idle_s = TRANSPORT_ASK_MS / 1000;
    const int probe_s = PROBE_S;
    const int num_probes = (TRANSPORT_SILENT_MS_MAX - TRANSPORT_ASK_MS) / 1000 / PROBE_S;
    const unsigned silent_ms = TRANSPORT_SILENT_MS_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof probe_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &num_probes, sizeof num_probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof silent_ms);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

uint64_t transport_silent_ms(const struct transport *transport)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    uv_os_fd_t fd = -1;
    if (transport->peer.is_unix || transport->is_closing ||
        uv_fileno(&transport->handle, &fd) != 0 ||
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        info.tcpi_state != TCP_ESTABLISHED) {
        return 0;
    }
    uint32_t ms = info.tcpi_last_ack_recv < info.tcpi_last_data_recv ? info.tcpi_last_ack_recv
                                                                     : info.tcpi_last_data_recv;
    return ms;
}
