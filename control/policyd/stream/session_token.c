// SPDX-License-Identifier: Apache-2.0
//
// The join token that admitted a stream: held until the sidecar has accepted what it came for. A
// sidecar that can't (its clock is off, say) comes again, and the token is all that it has.
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/now.h"
#include "control/policyd/stream/session.h"

// The token is somebody else's, or used up, and so is what it admitted to.
static void lose_token(struct session *session, enum token_result result, struct err *err)
{
    session->token = (struct token_name){.text = ""};
    session->loses_claim = true;
    session_refuse_admission(session, admit_token_result(result), err);
}

bool session_hold_token(struct session *session)
{
    struct err err = {{0}, {0}};
    if (session->proof != ADMIT_BY_JOIN_TOKEN) {
        return true;
    }
    enum token_result result =
        token_hold(&session->token, session->service->dir, now_date_s(), &err);
    session->token_due_ms = uv_now(session->service->loop) + TOKEN_KEEP_SECONDS * 1000;
    if (result != TOKEN_OK) {
        lose_token(session, result, &err);
        return false;
    }
    if (session->first->certificate_request == NULL) {
        session_spend_token(session); // there is nothing else that it could accept
    }
    return !session->is_over;
}

void session_spend_token(struct session *session)
{
    struct err err = {{0}, {0}};
    if (session->token.text[0] == '\0') {
        return;
    }
    enum token_result result = token_spend(&session->token, session->service->dir, &err);
    session->token = (struct token_name){.text = ""};
    if (result != TOKEN_OK) {
        lose_token(session, result, &err);
    }
}

void session_keep_token(struct session *session, uint64_t now)
{
    struct err err = {{0}, {0}};
    if (session->token.text[0] == '\0' || !session->has_joined || session->is_over ||
        now < session->token_due_ms) {
        return;
    }
    session->token_due_ms = now + TOKEN_KEEP_SECONDS * 1000;
    enum token_result result =
        token_keep(&session->token, session->service->dir, now_date_s(), &err);
    if (result != TOKEN_OK) {
        lose_token(session, result, &err);
    }
}

bool session_count_certificate(struct session *session)
{
    struct err err = {{0}, {0}};
    bool is_spent = false;
    if (session->token.text[0] == '\0') {
        return true;
    }
    enum token_result result =
        token_count(&session->token, session->service->dir, now_date_s(), &is_spent, &err);
    if (result != TOKEN_OK) {
        lose_token(session, result, &err);
        return false;
    }
    if (is_spent) {
        session->token = (struct token_name){.text = ""};
        log_warn("msg=\"join token used up: as many certificates as it may bring were taken, and "
                 "none was accepted before\" stream=%" PRIu64 " id=%s",
                 session->number, session->id);
    }
    return true;
}

void session_give_token_back(struct session *session)
{
    if (session->token.text[0] == '\0' || !session->has_joined) {
        return;
    }
    log_info("msg=\"join token given back: nothing that it admitted to was accepted\" "
             "stream=%" PRIu64 " id=%s certificate=%s refusal=%s",
             session->number, session->id, session->issued.len > 0 ? "not_accepted" : "not_issued",
             session->num_nacks > 0 ? "yes" : "no");
    token_give_back(&session->token, session->service->dir);
}
