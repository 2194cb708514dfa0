// SPDX-License-Identifier: Apache-2.0
//
// The join token that admitted a stream: held until the sidecar has accepted what it came for. A
// sidecar that can't (its clock is off, say) comes again, and the token is all that it has.
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/now.h"
#include "control/policyd/stream/session.h"

bool session_hold_token(struct session *session)
{
    struct err err = {{0}, {0}};
    if (session->proof != ADMIT_BY_JOIN_TOKEN) {
        return true;
    }
    enum token_result result =
        token_hold(&session->token, session->service->dir, now_date_s(), &err);
    if (result != TOKEN_OK) {
        session->token = (struct token_name){""};
        session->loses_claim = true;
        session_refuse_admission(session, admit_token_result(result), &err);
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
    session->token = (struct token_name){""};
    if (result != TOKEN_OK) {
        session->loses_claim = true;
        session_refuse_admission(session, admit_token_result(result), &err);
    }
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
