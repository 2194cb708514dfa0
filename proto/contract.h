// SPDX-License-Identifier: Apache-2.0
//
// The numbers and names on which two of Tabard's programs must agree, beside the messages that they
// exchange. A constant that one program alone needs stands in that program.
#ifndef TABARD_PROTO_CONTRACT_H
#define TABARD_PROTO_CONTRACT_H

// The agent starts the proxy with its control socket as this descriptor, with one socket for the
// signatures of each worker as those that follow (tabard/v1/dataplane.proto), and after these with
// one for its last words: the number of the system call for which it ends, 4 bytes of this machine.
#define CONTRACT_CONTROL_FD           3
#define CONTRACT_TELL_FD(num_workers) (CONTRACT_CONTROL_FD + 1 + (int)(num_workers))
#define CONTRACT_WORKERS_MAX          256

// The longest frames on these sockets, without the prefix. A longer one ends the connection.
#define CONTRACT_TO_PROXY_BYTES_MAX   (64u << 20) // control: a snapshot of the largest mesh
#define CONTRACT_FROM_PROXY_BYTES_MAX (16u << 20) // control: an InspectResult
#define CONTRACT_SIGN_BYTES_MAX       (64u << 10) // a worker's, both ways

// How many Inspects the agent may wait for at once.
#define CONTRACT_INSPECTS_MAX 128

#define CONTRACT_KEY_ID_LEN        32   // SHA-256 of the SubjectPublicKeyInfo
#define CONTRACT_SIGNATURE_LEN_MAX 3309 // of ML-DSA-65 (FIPS 204, table 2); RSA 4096 has 512

// Settings.drain_seconds. Kubernetes kills a pod 30 s after it has told it to end.
#define CONTRACT_DRAIN_SECONDS_DEFAULT 25

// Where the sidecar listens, and as which user its proxy runs, unless configured otherwise:
// `tabardctl intercept` redirects to the first two and exempts the others.
#define CONTRACT_OUTBOUND_PORT 15001
#define CONTRACT_INBOUND_PORT  15006
#define CONTRACT_METRICS_PORT  15020
#define CONTRACT_HEALTH_PORT   15021
#define CONTRACT_PROXY_UID     1337

// What `tabardctl intercept up --caller-addresses` marks answers to a caller's own address with, so
// that they come back to the proxy; the routing table that the mark leads to.
#define CONTRACT_RETURN_MARK  1337
#define CONTRACT_RETURN_TABLE 133

#define CONTRACT_ADMIN_PATH "/run/tabard/admin.sock" // where tabardctl asks the agent

// The same numbers for usages and messages.
#define CONTRACT_CONTROL_FD_TEXT    CONTRACT_TEXT(CONTRACT_CONTROL_FD)
#define CONTRACT_WORKERS_MAX_TEXT   CONTRACT_TEXT(CONTRACT_WORKERS_MAX)
#define CONTRACT_OUTBOUND_PORT_TEXT CONTRACT_TEXT(CONTRACT_OUTBOUND_PORT)
#define CONTRACT_INBOUND_PORT_TEXT  CONTRACT_TEXT(CONTRACT_INBOUND_PORT)
#define CONTRACT_METRICS_PORT_TEXT  CONTRACT_TEXT(CONTRACT_METRICS_PORT)
#define CONTRACT_HEALTH_PORT_TEXT   CONTRACT_TEXT(CONTRACT_HEALTH_PORT)
#define CONTRACT_PROXY_UID_TEXT     CONTRACT_TEXT(CONTRACT_PROXY_UID)

#define CONTRACT_TEXT(number)  CONTRACT_TEXT_(number) // the macro's value, not its name
#define CONTRACT_TEXT_(number) #number

#endif
