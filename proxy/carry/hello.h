// SPDX-License-Identifier: Apache-2.0
//
// Says whether the bytes that a caller has sent so far are a TLS ClientHello, and whether all of it
// is there, so that a caller costs no TLS object before that; and of one that is not for us, which
// protocols it offers. What else a ClientHello says is BoringSSL's to read. Pure; takes nothing
// from the ring.
#ifndef TABARD_PROXY_CARRY_HELLO_H
#define TABARD_PROXY_CARRY_HELLO_H

#include "proxy/carry/ring.h"

// What a ClientHello may take on the wire. One with every group and extension that clients send
// today takes less than 3 KiB.
#define HELLO_BYTES_MAX (16u << 10)

enum hello_state {
    HELLO_UNDECIDED, // fewer than HELLO_DECIDES bytes, and they could be the beginning of one
    HELLO_PART,      // the beginning of one
    HELLO_WHOLE,     // all of one, or so wrong behind its beginning that BoringSSL will refuse it
    HELLO_NONE,      // another beginning
    HELLO_TOO_LONG,  // longer than HELLO_BYTES_MAX
};

// As many bytes tell a ClientHello from anything else.
#define HELLO_DECIDES 6

// hello_look looks at the bytes of `in`. The first six decide whether they are a ClientHello: a
// handshake record, of a version 3.0 to 3.4 and of 1 to 2^14 bytes, and in it a handshake message
// of that kind (RFC 8446, sections 5.1 and 4). Fewer decide that they are none as soon as one of
// them does not fit. The message may lie in several records. One of SSL 2.0's form is none: whoever
// sends it speaks no TLS 1.3.
enum hello_state hello_look(const struct ring *in);

// hello_alpn copies the list of application protocols of a whole ClientHello (RFC 7301,
// section 3.1; each name behind its length) to out, of HELLO_BYTES_MAX bytes, and returns its
// length. 0: there is none, or the ClientHello is not as RFC 8446, section 4.1.2, has it.
size_t hello_alpn(const struct ring *in, uint8_t *out);

#endif
