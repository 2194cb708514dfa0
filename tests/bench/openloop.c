// SPDX-License-Identifier: Apache-2.0
//
// Small HTTP requests at a fixed rate, whatever the answers do (open loop): each request has its
// time, and its latency is counted from that time, so a stall is paid by every request that was due
// in it. Usage: openloop PORT RATE CONNECTIONS SECONDS (on 127.0.0.1). All connections are opened,
// and used once, before the clock starts. Prints one JSON object. Bounded by SECONDS and 5 more for
// the last answers.
#define _GNU_SOURCE // epoll_pwait2
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 10000
#define REQUESTS_MAX    50000000
#define REPLY_LEN_MAX   65536
#define EVENTS_MAX      256
#define TAIL_NS         5000000000u

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

struct connection {
    int fd;
    uint32_t got;   // bytes of the answer so far
    int64_t due_ns; // when its request was due
    int32_t next_free;
};

struct run {
    struct connection *connections;
    int32_t first_free;
    uint32_t reply_len; // every answer is as long as the first
    uint32_t num_total;
    uint32_t num_sent;
    uint32_t num_done;
    uint64_t *latencies_ns;
    uint64_t *lateness_ns; // of our own sending, where a connection was free
    uint32_t num_lateness;
};

static void die(const char *what)
{
    fprintf(stderr, "openloop: %s: %s\n", what, errno != 0 ? strerror(errno) : "unexpected");
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint32_t read_first_reply(int fd)
{
    static char reply[REPLY_LEN_MAX + 1];
    size_t len = 0;
    for (;;) {
        ssize_t got = read(fd, reply + len, REPLY_LEN_MAX - len);
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            die("the first answer on a connection");
        }
        len += (size_t)got;
        reply[len] = '\0';
        const char *body = strstr(reply, "\r\n\r\n");
        const char *length = strcasestr(reply, "\r\ncontent-length:");
        if (body != NULL && length != NULL) {
            size_t whole = (size_t)(body + 4 - reply) + strtoul(length + 17, NULL, 10);
            if (strncmp(reply, "HTTP/1.1 200", 12) != 0 || whole > REPLY_LEN_MAX) {
                errno = 0;
                die("the first answer's status or length");
            }
            if (len >= whole) {
                return (uint32_t)whole;
            }
        }
    }
}

static void open_connection(struct run *run, int32_t index, uint16_t port, int epoll_fd)
{
    struct connection *connection = &run->connections[index];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        write(fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1) {
        die("connect");
    }
    uint32_t reply_len = read_first_reply(fd);
    if (run->reply_len != 0 && run->reply_len != reply_len) {
        errno = 0;
        die("answers of different lengths");
    }
    run->reply_len = reply_len;
    *connection = (struct connection){.fd = fd, .next_free = run->first_free};
    run->first_free = index;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

// Sends what is due, as far as connections are free. Returns when the next request is due.
static int64_t send_due(struct run *run, int64_t start_ns, double interval_ns)
{
    for (;;) {
        int64_t due_ns = start_ns + (int64_t)((double)run->num_sent * interval_ns);
        int64_t now = now_ns();
        if (run->num_sent == run->num_total || due_ns > now || run->first_free < 0) {
            return due_ns;
        }
        struct connection *connection = &run->connections[run->first_free];
        run->first_free = connection->next_free;
        connection->due_ns = due_ns;
        connection->got = 0;
        if (write(connection->fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1) {
            die("write");
        }
        run->lateness_ns[run->num_lateness++] = (uint64_t)(now - due_ns);
        run->num_sent++;
    }
}

static void on_readable(struct run *run, struct connection *connection)
{
    static char buffer[REPLY_LEN_MAX];
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        die("a connection ended");
    }
    connection->got += (uint32_t)got;
    if (connection->got == run->reply_len) {
        run->latencies_ns[run->num_done++] = (uint64_t)(now_ns() - connection->due_ns);
        connection->next_free = run->first_free;
        run->first_free = (int32_t)(connection - run->connections);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// In microseconds, of a sorted array.
static double percentile_us(const uint64_t *values, uint32_t num, double share)
{
    if (num == 0) {
        return 0;
    }
    uint32_t index = (uint32_t)(share * num);
    return (double)values[index < num ? index : num - 1] / 1000;
}

static void print_result(struct run *run)
{
    qsort(run->latencies_ns, run->num_done, sizeof *run->latencies_ns, compare);
    qsort(run->lateness_ns, run->num_lateness, sizeof *run->lateness_ns, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"due\": %u, \"done\": %u, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, \"late_p99_us\": %.1f, \"cpu_s\": %.3f}\n",
           run->num_total, run->num_done, percentile_us(run->latencies_ns, run->num_done, 0.5),
           percentile_us(run->latencies_ns, run->num_done, 0.99),
           percentile_us(run->latencies_ns, run->num_done, 0.999),
           percentile_us(run->latencies_ns, run->num_done, 1),
           percentile_us(run->lateness_ns, run->num_lateness, 0.99),
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
}

static void drive(struct run *run, int epoll_fd, double interval_ns)
{
    int64_t start_ns = now_ns();
    int64_t end_ns = start_ns + (int64_t)(run->num_total * interval_ns) + TAIL_NS;
    while (run->num_done < run->num_total && now_ns() < end_ns) {
        int64_t wake_ns = send_due(run, start_ns, interval_ns);
        if (run->num_sent == run->num_total || run->first_free < 0) {
            wake_ns = end_ns; // only an answer helps
        }
        int64_t wait_ns = wake_ns - now_ns();
        wait_ns = wait_ns < 0 ? 0 : wait_ns;
        struct timespec timeout = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
        struct epoll_event events[EVENTS_MAX];
        int num = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &timeout, NULL);
        for (int i = 0; i < num; i++) {
            on_readable(run, events[i].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned long numbers[4] = {0};
    for (int i = 0; i < 4 && i + 1 < argc; i++) {
        numbers[i] = strtoul(argv[i + 1], NULL, 10);
    }
    uint64_t num_total = (uint64_t)numbers[1] * numbers[3];
    if (argc != 5 || numbers[2] == 0 || numbers[2] > CONNECTIONS_MAX || num_total == 0 ||
        num_total > REQUESTS_MAX) {
        fprintf(stderr, "usage: openloop PORT RATE CONNECTIONS SECONDS\n");
        return 2;
    }
    struct run run = {.first_free = -1, .num_total = (uint32_t)num_total};
    run.connections = calloc(numbers[2], sizeof *run.connections);
    run.latencies_ns = calloc(num_total, sizeof *run.latencies_ns);
    run.lateness_ns = calloc(num_total, sizeof *run.lateness_ns);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (run.connections == NULL || run.latencies_ns == NULL || run.lateness_ns == NULL ||
        epoll_fd < 0) {
        die("start");
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    for (int32_t i = 0; i < (int32_t)numbers[2]; i++) {
        open_connection(&run, i, (uint16_t)numbers[0], epoll_fd);
    }
    puts("ready");
    fflush(stdout);
    drive(&run, epoll_fd, 1e9 / (double)numbers[1]);
    print_result(&run);
    return run.num_done == run.num_total ? 0 : 1;
}
