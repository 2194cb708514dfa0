// SPDX-License-Identifier: Apache-2.0
//
// One sidecar's stream: who it is, which response it has not answered yet, and how far it is
// behind. At most one response is under way; changes meanwhile are counted, not queued (world.h). A
// session belongs to its call and goes with it; the loop's thread only; bounded by SERVICE_*.
// Nobody but session*.c, service*.c and their tests includes it.
#ifndef TABARD_CONTROL_POLICYD_STREAM_SESSION_H
#define TABARD_CONTROL_POLICYD_STREAM_SESSION_H

#include "base/bucket.h"
#include "certs/cert.h"
#include "control/policyd/stream/service.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define SESSION_NODE_MAX   64  // of a node's id, in the log
#define SESSION_NACK_BYTES 200 // that are kept of a refusal

struct session {
    struct viewer viewer; // first: a viewer is its session
    struct service *service;
    struct grpc_call *call;
    struct list link;             // in the service's sessions
    struct list stranger_link;    // in its strangers, until it is admitted
    struct share_stream in_share; // of its identity
    uint64_t number;              // in the log, and of its file in the registry
    char *id;                     // owned; NULL: not admitted yet
    char *key;                    // owned; of its workload (fleet_key); NULL with id
    // Its first request, owned, until it was decided about; what the review of its token said,
    // owned, while its pod is still unknown, and how long that may last.
    Tabard__V1__SubscribeRequest *first;
    struct account_answer *reviewed;
    uint64_t pod_due_ms;
    bool is_paused;              // the call, while the first request waits
    struct reviews_item *review; // under way: of the first request's token, or a signing request's
    struct account_pod *pod;     // owned; NULL: no token has said which pod it is
    struct bytes csr;            // that waits for the review of its token
    uid_t uid;
    enum admit_proof proof;
    char node[SESSION_NODE_MAX];
    struct claim *claim;   // its addresses; NULL: none
    struct issue_job *job; // its signing request under way, or NULL
    uint64_t job_since_ms;
    struct bucket csrs;
    uint32_t num_csrs;
    uint32_t num_csrs_refused;
    uint64_t limited_ms;           // when it was told last to ask again later; 0: never
    bool has_certificate;          // in answer
    uint32_t num_nacks;            // in a row
    char nack[SESSION_NACK_BYTES]; // the text of the last one of these
    bool is_due_again;             // and that is now
    uint64_t again_ms;             // when what it refused is sent once more; 0: nothing is
    struct token_name token;       // that admitted it and is held; "": none is, any more
    uint64_t token_due_ms;         // when its hold is kept young
    bool brings_certificate;       // the response that waits for its result
    struct bytes answer; // to its signing request: a field that the next response takes along
    uint64_t nonce;      // of the last response
    bool is_waiting;     // for that one's result
    bool has_sent;       // a response, or waits no longer with the first one for the certificate
    bool has_joined;     // all was checked, and the token held
    bool has_said_goodbye;
    bool is_over;      // we have finished the call
    bool loses_claim;  // its addresses don't stay when it is gone
    uint64_t due_ms;   // until when a first request or a result may come; 0: none is awaited
    struct push *push; // that the awaited result belongs to, or NULL
    uint64_t held;     // the version that it held when it came
    uint64_t ticket;   // of version_reach
    bool is_unequal;   // what we have may be older than what it holds, so no state is sent yet
    time_t admitted_unix;
    struct cert_serial issued; // of the last certificate that it got here; empty: none
    X509 *issuer;              // counted: that certificate's; NULL: none
};

// session_finish ends a stream with words for the sidecar, a line in the log, and a count.
void session_finish(struct session *session, enum service_end end, enum grpc_code code,
                    const char *text);

// session_advance sends the next response if one is due and no other awaits its result.
void session_advance(struct session *session);

// session_compare says whether the sidecar may be sent a state: whether ours is as new as its own.
void session_compare(struct session *session);

// session_first takes over a stream's first request, and goes on with it at once or once its token
// is reviewed.
void session_first(struct session *session, Tabard__V1__SubscribeRequest *request);

// session_sign takes a signing request; is_reviewed: the token in it was, just now.
void session_sign(struct session *session, const Tabard__V1__CertificateRequest *request,
                  bool is_reviewed);

// session_signs says whether a signing request is under way.
bool session_signs(const struct session *session);

// session_check_pod ends the stream if its pod is gone, moves it to the view of the workload that
// its pod is now, and goes on with a first request whose pod has come to be known.
void session_check_pod(struct session *session);

// session_first_again goes on with a first request whose pod was unknown.
void session_first_again(struct session *session);

// session_find_pod returns the key of the workload that a pod is, borrowed; NULL: it isn't there.
const char *session_find_pod(const struct session *session, const struct account_pod *pod);

// session_bind notes which pod a token was given to. false sets err: the stream is another pod's.
bool session_bind(struct session *session, const struct account_pod *pod, struct err *err);

// session_pod_text writes " pod=NS/NAME uid=UID" for the log, or nothing, and returns buf.
#define SESSION_POD_TEXT_BYTES                                                                     \
    (ACCOUNT_NAMESPACE_BYTES + ACCOUNT_NAME_BYTES + ACCOUNT_UID_BYTES + 16)
const char *session_pod_text(const struct session *session, char buf[SESSION_POD_TEXT_BYTES]);

// session_free_request wipes the tokens of a request and frees it; NULL is allowed.
void session_free_request(Tabard__V1__SubscribeRequest *request);

// session_refuse_admission ends a stream that is not admitted, or no longer.
void session_refuse_admission(struct session *session, enum admit_result result, struct err *err);

// session_hold_token keeps the join token that admits the sidecar, which nothing can refuse any
// more but the sidecar itself, and spends it at once for one that asks for no certificate. false:
// the stream was refused.
bool session_hold_token(struct session *session);

// session_spend_token uses the token up: the sidecar has accepted its certificate. Ends the stream
// if another sidecar used it up meanwhile.
void session_spend_token(struct session *session);

// session_keep_token keeps the hold of a token young; the service's tick calls it.
void session_keep_token(struct session *session, uint64_t now);

// session_count_certificate counts a certificate that a token has brought and nobody has accepted
// yet, before it is handed out. false: it must not be, and the stream was ended.
bool session_count_certificate(struct session *session);

// session_give_token_back lets a token that is held admit again, since its stream ends.
void session_give_token_back(struct session *session);

// session_end_oldest ends the oldest stream of an identity. false: all have ended.
bool session_end_oldest(struct share *share);

// service_make_room says whether one stream more may start. Where there are SERVICE_STREAMS_MAX, it
// ends the one that has been a stranger for longest, else one of the identity that has the most.
bool service_make_room(struct service *service);

// service_linger keeps the addresses of a stream that is over for SERVICE_LINGER_MS, or gives them
// up at once: when the sidecar said goodbye, or may not have them any more.
void service_linger(struct service *service, struct session *session);

#endif
