// SPDX-License-Identifier: Apache-2.0
//
// IP addresses, ports and CIDR blocks as plain values, and their text. IPv4 is kept as an
// IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2), so that one comparison serves both families
// and a mapped address can't slip past an IPv4 rule. Names are not resolved. A zone (RFC 4007) is
// refused in text that people write; an address that the kernel named keeps it.
#ifndef TABARD_BASE_ADDR_H
#define TABARD_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

#define ADDR_TEXT_MAX     64  // "[ipv6]:port" with its NUL
#define HOST_NAME_LEN_MAX 253 // RFC 1035, section 2.3.4, without the root's dot

struct ip {
    uint8_t bytes[16];
};

struct addr {
    struct ip ip;
    uint32_t scope; // of an IPv6 link-local address: the number of its interface; 0: none
    uint16_t port;  // host order
};

struct cidr {
    struct ip ip;
    uint8_t prefix_bits; // 0 to 128, of the mapped form: an IPv4 /24 is 120
};

struct host_port {
    char name[HOST_NAME_LEN_MAX + 2]; // with the root's dot, if it was written
    uint16_t port;
};

bool ip_is_v4(const struct ip *ip);
bool ip_is_loopback(const struct ip *ip);    // 127.0.0.0/8, ::1
bool ip_is_unspecified(const struct ip *ip); // 0.0.0.0, ::
bool ip_is_link_local6(const struct ip *ip); // fe80::/10 (RFC 4291, section 2.5.6)
bool ip_equal(const struct ip *a, const struct ip *b);
bool addr_equal(const struct addr *a, const struct addr *b);

// ip_parse reads "10.1.2.3" or "fd00::1" (no zone, no brackets, no leading zeros in IPv4 octets).
// false sets err.
bool ip_parse(struct ip *out, const char *text, struct err *err);

// addr_parse reads "10.1.2.3:80" or "[fd00::1]:80". Port 0 is accepted only with port_zero_ok.
// false sets err.
bool addr_parse(struct addr *out, const char *text, bool port_zero_ok, struct err *err);

// host_port_parse reads "policyd.example:15012": labels of letters, digits, '-' and '_' (RFC 1123,
// section 2.1; '_' as resolvers take it), and a port from 1 to 65535. A last label of digits alone
// is refused, since resolvers read such names as addresses. false sets err.
bool host_port_parse(struct host_port *out, const char *text, struct err *err);

// cidr_parse reads "10.1.0.0/16", "fd00::/8" or a bare address (all bits). Host bits that are set
// are an error, and the message names the block that was meant. false sets err.
bool cidr_parse(struct cidr *out, const char *text, struct err *err);

// cidr_contains says whether ip is in the block. An IPv6 block, "::/0" too, holds no IPv4 address.
bool cidr_contains(const struct cidr *cidr, const struct ip *ip);
// ip_masked keeps the first prefix_bits bits (0 to 128, of the mapped form) and clears the rest.
struct ip ip_masked(const struct ip *ip, unsigned prefix_bits);

// port_check says whether `port` is 1 to 65535; false sets err.
bool port_check(uint32_t port, struct err *err);

// ip_text, addr_text and cidr_text write the text into buf, of at least ADDR_TEXT_MAX bytes, and
// return buf. addr_text names a scope's interface, as in [fe80::1%eth0]:80, or gives its number.
const char *ip_text(const struct ip *ip, char *buf);
const char *addr_text(const struct addr *addr, char *buf);
const char *cidr_text(const struct cidr *cidr, char *buf);

// addr_from_sockaddr reads the kernel's form, with the scope of a link-local address; false: the
// family is neither IPv4 nor IPv6. addr_to_sockaddr writes it and returns its length.
bool addr_from_sockaddr(struct addr *out, const struct sockaddr *sa);
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out);

// addr_unix writes the path of a Unix socket in the kernel's form. false sets err: it is too long.
bool addr_unix(struct sockaddr_un *out, const char *path, struct err *err);

#endif
