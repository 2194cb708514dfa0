// SPDX-License-Identifier: Apache-2.0
//
// A policyd's service, with its CA, registry and versions in temp_folder, on a Unix socket, and
// sidecars that the test plays over real gRPC streams. All in one loop. A test zeroes a rig, calls
// policyd_rig_start, plays, and calls policyd_rig_stop. What goes wrong in the rig itself fails the
// test.
#ifndef TABARD_TESTS_UNIT_CONTROL_POLICYD_STREAM_POLICYD_RIG_H
#define TABARD_TESTS_UNIT_CONTROL_POLICYD_STREAM_POLICYD_RIG_H

#include "control/policyd/stream/service.h"
#include "net/grpc/client.h"
#include "tabard/v1/policy_agent.pb-c.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define POLICYD_WAIT_MS 10000

// The identities of POLICYD_FLEET. Each is granted to the test's own user, but for UNGRANTED. SHOP
// is called at 10.0.0.0/24; the others are called by nobody.
#define SHOP      "spiffe://demo.example/shop"
#define WEB       "spiffe://demo.example/web"
#define OPS       "spiffe://demo.example/ops"
#define UNGRANTED "spiffe://demo.example/nobody"

#define POLICYD_WORKLOADS                                                                          \
    "workloads:\n"                                                                                 \
    "- {spiffe_id: '" SHOP "', unix_uids: [@], addresses: ['10.0.0.0/24'], ports: [8080]}\n"       \
    "- {spiffe_id: '" WEB "', unix_uids: [@]}\n"                                                   \
    "- {spiffe_id: '" OPS "', unix_uids: [@]}\n"                                                   \
    "- {spiffe_id: '" UNGRANTED "', by_join_token: true}\n"

#define POLICYD_POLICY(name, caller)                                                               \
    "- {targets: ['" SHOP "'], policy: {name: " name                                               \
    ", action: ALLOW, mode: ENFORCE, rules: [{principals: ['" caller "']}]}}\n"

// WEB may call SHOP.
#define POLICYD_FLEET POLICYD_WORKLOADS "policies:\n" POLICYD_POLICY("web-may", WEB)

struct policyd_rig {
    uv_loop_t loop;
    struct service service;
    struct grpc_server *server;
    struct grpc_channel *channel;
    char ca_dir[TEMP_PATH_BYTES + 16];
    char path[TEMP_PATH_BYTES + 16]; // of the socket
};

// One stream. It answers nothing by itself. Zero state: {0}.
struct sidecar {
    struct policyd_rig *rig;
    struct grpc_call *call;                  // NULL: over
    Tabard__V1__SubscribeResponse *response; // owned: the last one
    unsigned num_responses, num_taken;
    enum grpc_code code; // of the end
    char words[400];
    uint64_t held;     // the version that it says it holds; 0: none
    const char *token; // borrowed: the join token that it shows; NULL: none
};

// In a fleet's text, @ stands for the test's own user.
void policyd_rig_start(struct policyd_rig *rig, const char *fleet);

// policyd_rig_stop closes the reviews, too, if the test has set some (service_set_cluster).
void policyd_rig_stop(struct policyd_rig *rig);
void policyd_rig_set_fleet(struct policyd_rig *rig, const char *fleet);

// policyd_rig_set_trust reads the CA's folder, with `crls` (PEM; NULL: none) beside it.
void policyd_rig_set_trust(struct policyd_rig *rig, const char *crls);

// policyd_rig_owner returns the identity that an address belongs to, or "".
const char *policyd_rig_owner(struct policyd_rig *rig, const char *address);

// sidecar_open begins a stream and says nothing. sidecar_cleanup needs it to be over.
void sidecar_open(struct sidecar *sidecar, struct policyd_rig *rig);
void sidecar_cleanup(struct sidecar *sidecar);

void sidecar_send(struct sidecar *sidecar, const Tabard__V1__SubscribeRequest *request);
void sidecar_send_bytes(struct sidecar *sidecar, const char *bytes, size_t len);

// sidecar_ask sends a first request, as `id`, at `address` (NULL: nowhere); with a signing request
// if `csr_len` is not 0.
void sidecar_ask(struct sidecar *sidecar, const char *id, const char *address, const uint8_t *csr,
                 size_t csr_len);

// sidecar_join opens a stream, asks, and answers the state that comes.
void sidecar_join(struct sidecar *sidecar, struct policyd_rig *rig, const char *id,
                  const char *address);

// sidecar_take waits for the next response. sidecar_is_quiet says that none comes for a while.
const Tabard__V1__SubscribeResponse *sidecar_take(struct sidecar *sidecar);
bool sidecar_is_quiet(struct sidecar *sidecar);

// sidecar_answer answers the response that was taken last; an empty error is an ACK.
void sidecar_answer(struct sidecar *sidecar, const char *error);

// sidecar_sign sends a signing request.
void sidecar_sign(struct sidecar *sidecar, const uint8_t *csr, size_t csr_len, const char *id);

// sidecar_expect_end waits for the stream's end, which must have this code and hold these words,
// and be counted as `end`.
void sidecar_expect_end(struct sidecar *sidecar, enum grpc_code code, const char *words,
                        enum service_end end);

// sidecar_leave says goodbye, sidecar_vanish just goes. Both wait until the service has noticed.
void sidecar_leave(struct sidecar *sidecar);
void sidecar_vanish(struct sidecar *sidecar);

#endif
