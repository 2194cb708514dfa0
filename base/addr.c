// SPDX-License-Identifier: Apache-2.0
#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/digits.h"

#define LABEL_LEN_MAX 63 // RFC 1035, section 2.3.4

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_is_v4(const struct ip *ip)
{
    return memcmp(ip->bytes, v4_mapped, sizeof v4_mapped) == 0;
}

bool ip_is_loopback(const struct ip *ip)
{
    static const struct ip v6_loopback = {{[15] = 1}};
    return ip_is_v4(ip) ? ip->bytes[12] == 127 : ip_equal(ip, &v6_loopback);
}

bool ip_is_unspecified(const struct ip *ip)
{
    static const struct ip v6_any = {{0}};
    static const uint8_t v4_any[4] = {0};
    return ip_is_v4(ip) ? memcmp(ip->bytes + 12, v4_any, 4) == 0 : ip_equal(ip, &v6_any);
}

bool ip_is_link_local6(const struct ip *ip)
{
    return ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && a->scope == b->scope && ip_equal(&a->ip, &b->ip);
}

bool ip_parse(struct ip *out, const char *text, struct err *err)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        memcpy(out->bytes, v4_mapped, sizeof v4_mapped);
        memcpy(out->bytes + 12, &v4, 4);
        return true;
    }
    if (strchr(text, '%') != NULL) {
        return err_set(err, "\"%s\" has a zone, which is not supported: leave out \"%s\"", text,
                       strchr(text, '%'));
    }
    if (inet_pton(AF_INET6, text, out->bytes) == 1) {
        return true;
    }
    return err_set(err, "\"%s\" is not an IP address (as in 10.1.2.3 or fd00::1)", text);
}

bool addr_parse(struct addr *out, const char *text, bool port_zero_ok, struct err *err)
{
    char host[ADDR_TEXT_MAX];
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    if (colon == NULL || (bracketed && (colon == text || colon[-1] != ']'))) {
        return err_set(err, "\"%s\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)",
                       text);
    }
    size_t host_len = bracketed ? (size_t)(colon - text) - 2 : (size_t)(colon - text);
    if (host_len >= sizeof host) {
        return err_set(err, "\"%.80s\" is too long for an address and port", text);
    }
    memcpy(host, bracketed ? text + 1 : text, host_len);
    host[host_len] = '\0';
    struct in6_addr v6;
    if (!bracketed && inet_pton(AF_INET6, text, &v6) == 1) {
        return err_set(err, "\"%s\" has no port, or no brackets before it: write [fd00::1]:80",
                       text);
    }
    if (!bracketed && strchr(host, ':') != NULL) {
        return err_set(err, "\"%s\": an IPv6 address wants brackets before its port, [%s]:%s", text,
                       host, colon + 1);
    }
    if (!ip_parse(&out->ip, host, err)) {
        return false;
    }
    if (bracketed && strchr(host, ':') == NULL) {
        return err_set(err, "\"%s\": only an IPv6 address takes brackets", text);
    }
    uint64_t port = 0;
    if (!digits_read(&port, colon + 1, strlen(colon + 1), DIGITS_REFUSE_ZEROS, 65535) ||
        (port == 0 && !port_zero_ok)) {
        return err_set(err, "\"%s\": \"%s\" is not a TCP port (1 to 65535)", text, colon + 1);
    }
    out->port = (uint16_t)port;
    out->scope = 0;
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Says whether len bytes are a label, and in *out_is_number whether they are digits alone.
static bool is_label(const char *text, size_t len, bool *out_is_number)
{
    *out_is_number = true;
    if (len == 0 || len > LABEL_LEN_MAX || text[0] == '-' || text[len - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_letter(text[i]) && !is_digit(text[i]) && text[i] != '-' && text[i] != '_') {
            return false;
        }
        *out_is_number = *out_is_number && is_digit(text[i]);
    }
    return true;
}

static bool is_name(const char *name, size_t len)
{
    bool is_number = true;
    if (len > 0 && name[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len > HOST_NAME_LEN_MAX) {
        return false;
    }
    for (size_t at = 0; at <= len;) {
        const char *dot = memchr(name + at, '.', len - at);
        size_t label_len = dot != NULL ? (size_t)(dot - name) - at : len - at;
        if (!is_label(name + at, label_len, &is_number)) {
            return false;
        }
        at += label_len + 1;
    }
    return !is_number;
}

bool host_port_parse(struct host_port *out, const char *text, struct err *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    uint64_t port = 0;
    if (colon == NULL || !is_name(text, len)) {
        return err_set(err, "\"%.300s\" is not a host and port (as in policyd.example:15012)",
                       text);
    }
    if (!digits_read(&port, colon + 1, strlen(colon + 1), DIGITS_REFUSE_ZEROS, 65535) ||
        port == 0) {
        return err_set(err, "\"%.300s\": \"%s\" is not a TCP port (1 to 65535)", text, colon + 1);
    }
    memcpy(out->name, text, len);
    out->name[len] = '\0';
    out->port = (uint16_t)port;
    return true;
}

struct ip ip_masked(const struct ip *ip, unsigned prefix_bits)
{
    struct ip result = *ip;
    for (unsigned i = 0; i < 16; i++) {
        unsigned from = i * 8;
        if (from >= prefix_bits) {
            result.bytes[i] = 0;
        } else if (prefix_bits - from < 8) {
            result.bytes[i] &= (uint8_t)(0xff00u >> (prefix_bits - from));
        }
    }
    return result;
}

bool cidr_parse(struct cidr *out, const char *text, struct err *err)
{
    char host[ADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t host_len = slash == NULL ? strlen(text) : (size_t)(slash - text);
    if (host_len >= sizeof host) {
        return err_set(err, "\"%.80s\" is too long for an address block", text);
    }
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    if (!ip_parse(&out->ip, host, err)) {
        return false;
    }
    uint32_t bits_max = strchr(host, ':') == NULL ? 32 : 128;
    uint64_t bits = bits_max;
    if (slash != NULL &&
        !digits_read(&bits, slash + 1, strlen(slash + 1), DIGITS_REFUSE_ZEROS, bits_max)) {
        return err_set(err, "\"%s\": \"%s\" is not a prefix length (0 to %u)", text, slash + 1,
                       bits_max);
    }
    out->prefix_bits = (uint8_t)(bits + 128 - bits_max);
    struct cidr meant = {.ip = ip_masked(&out->ip, out->prefix_bits),
                         .prefix_bits = out->prefix_bits};
    if (!ip_equal(&meant.ip, &out->ip)) {
        char buf[ADDR_TEXT_MAX];
        return err_set(err, "\"%s\" has host bits set: write %s, or the address alone", text,
                       cidr_text(&meant, buf));
    }
    return true;
}

bool cidr_contains(const struct cidr *cidr, const struct ip *ip)
{
    unsigned whole = cidr->prefix_bits / 8;
    unsigned rest = cidr->prefix_bits % 8;
    // A block of fewer than 96 bits is an IPv6 block. It holds no IPv4 address, although ::/0
    // covers the mapped form of each.
    if (cidr->prefix_bits < 96 && ip_is_v4(ip)) {
        return false;
    }
    if (memcmp(cidr->ip.bytes, ip->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 ||
           ((cidr->ip.bytes[whole] ^ ip->bytes[whole]) & (uint8_t)(0xff00u >> rest)) == 0;
}

bool port_check(uint32_t port, struct err *err)
{
    if (port < 1 || port > 65535) {
        return err_set(err, "%u is not a TCP port (1 to 65535)", port);
    }
    return true;
}

const char *ip_text(const struct ip *ip, char *buf)
{
    if (ip_is_v4(ip)) {
        inet_ntop(AF_INET, ip->bytes + 12, buf, ADDR_TEXT_MAX);
    } else {
        inet_ntop(AF_INET6, ip->bytes, buf, ADDR_TEXT_MAX);
    }
    return buf;
}

// As if_indextoname(3), which makes a local socket for it: a proxy in its sandbox has none but
// TCP's.
static bool interface_name(uint32_t index, char out_name[IF_NAMESIZE])
{
    struct ifreq request = {.ifr_ifindex = (int)index};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    bool ok = fd >= 0 && ioctl(fd, SIOCGIFNAME, &request) == 0;
    if (fd >= 0) {
        close(fd);
    }
    snprintf(out_name, IF_NAMESIZE, "%.15s", request.ifr_name);
    return ok;
}

const char *addr_text(const struct addr *addr, char *buf)
{
    char host[ADDR_TEXT_MAX];
    char name[IF_NAMESIZE];
    ip_text(&addr->ip, host);
    if (ip_is_v4(&addr->ip)) {
        snprintf(buf, ADDR_TEXT_MAX, "%.45s:%u", host, addr->port);
    } else if (addr->scope == 0) {
        snprintf(buf, ADDR_TEXT_MAX, "[%.45s]:%u", host, addr->port);
    } else if (interface_name(addr->scope, name)) {
        snprintf(buf, ADDR_TEXT_MAX, "[%.39s%%%.15s]:%u", host, name, addr->port);
    } else {
        snprintf(buf, ADDR_TEXT_MAX, "[%.39s%%%u]:%u", host, addr->scope, addr->port);
    }
    return buf;
}

const char *cidr_text(const struct cidr *cidr, char *buf)
{
    char host[ADDR_TEXT_MAX];
    // A block of fewer than 96 bits is an IPv6 block, ::/0 for instance.
    bool v4 = ip_is_v4(&cidr->ip) && cidr->prefix_bits >= 96;
    snprintf(buf, ADDR_TEXT_MAX, "%.45s/%d", ip_text(&cidr->ip, host),
             v4 ? cidr->prefix_bits - 96 : cidr->prefix_bits);
    return buf;
}

bool addr_from_sockaddr(struct addr *out, const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
        memcpy(out->ip.bytes, v4_mapped, sizeof v4_mapped);
        memcpy(out->ip.bytes + 12, &v4->sin_addr, 4);
        out->scope = 0;
        out->port = ntohs(v4->sin_port);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
        memcpy(out->ip.bytes, &v6->sin6_addr, 16);
        out->scope = ip_is_link_local6(&out->ip) ? v6->sin6_scope_id : 0;
        out->port = ntohs(v6->sin6_port);
        return true;
    }
    return false;
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (ip_is_v4(&addr->ip)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, addr->ip.bytes + 12, 4);
        v4->sin_port = htons(addr->port);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    memcpy(&v6->sin6_addr, addr->ip.bytes, 16);
    v6->sin6_scope_id = addr->scope;
    v6->sin6_port = htons(addr->port);
    return sizeof *v6;
}

bool addr_unix(struct sockaddr_un *out, const char *path, struct err *err)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof out->sun_path) {
        return err_set(err, "a socket's path has at most %zu bytes", sizeof out->sun_path - 1);
    }
    memcpy(out->sun_path, path, strlen(path) + 1);
    return true;
}
