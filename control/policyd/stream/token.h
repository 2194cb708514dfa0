// SPDX-License-Identifier: Apache-2.0
//
// Join tokens: 32 random bytes as text, of which only the SHA-256 is kept, as the name of a file in
// DIR/tokens that says for whom and until when. token_find reads it. An admission holds it:
// token_hold moves the file to DIR/tokens/held, under its name and its holder's, so that nobody but
// the holder moves it on: token_spend to DIR/tokens/used once the sidecar has accepted what it came
// for, or token_give_back to where it was. token_count notes each certificate that is handed out
// meanwhile, behind the line, and spends the token with the last that there may be. Each move
// succeeds once, whichever of the policyds that share the folder tries. The holder keeps its hold
// young by token_keep; a policyd that dies leaves one behind, which token_find ends when it is
// TOKEN_HOLD_SECONDS old. Nothing is kept in memory; any thread. admit.h decides whom it admits.
#ifndef TABARD_CONTROL_POLICYD_STREAM_TOKEN_H
#define TABARD_CONTROL_POLICYD_STREAM_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/identity.h"

#define TOKEN_TEXT_MAX       80 // with its NUL
#define TOKEN_PREFIX         "tabard-join-"
#define TOKEN_MINUTES        60
#define TOKEN_MINUTES_MAX    (7 * 24 * 60)
#define TOKEN_HOLD_SECONDS   60    // that a hold counts which nobody keeps
#define TOKEN_KEEP_SECONDS   15    // after which its holder keeps it
#define TOKEN_MEMORY_SECONDS 86400 // how long an expired or used one is told from an unknown one
#define TOKEN_CERTIFICATES_MAX                                                                     \
    8 // that one token brings, accepted or not: a sidecar whose clock is off asks again

// token_make makes a token for a SPIFFE id, good until expires. false sets err.
bool token_make(char out[TOKEN_TEXT_MAX], const char *dir, const char *spiffe_id, time_t expires,
                struct err *err);

enum token_result { TOKEN_OK, TOKEN_UNKNOWN, TOKEN_USED, TOKEN_HELD, TOKEN_EXPIRED, TOKEN_BROKEN };

// The name of a token's file, and of who holds it. Zero state: no token.
struct token_name {
    char text[65];
    char holder[17]; // drawn by token_hold
};

// token_find looks a token up. TOKEN_OK fills out_id and *out; anything else sets err to words.
enum token_result token_find(struct token_name *out, char out_id[SPIFFE_ID_LEN_MAX + 1],
                             const char *dir, const char *token, time_t now, struct err *err);

// token_hold keeps what token_find has found for one sidecar, from `now` on, and makes *name its
// holder. token_keep says that it is still there. token_spend uses up what is held. Anything but
// TOKEN_OK, where somebody else was faster, sets err.
enum token_result token_hold(struct token_name *name, const char *dir, time_t now, struct err *err);
enum token_result token_keep(const struct token_name *name, const char *dir, time_t now,
                             struct err *err);
enum token_result token_spend(const struct token_name *name, const char *dir, struct err *err);

// token_count counts a certificate before it is handed out to the holder; *out_is_spent: it is the
// last, and the token is used up. Anything but TOKEN_OK sets err: it must not be handed out.
enum token_result token_count(const struct token_name *name, const char *dir, time_t now,
                              bool *out_is_spent, struct err *err);

// token_give_back makes a token good again that its holder still holds.
void token_give_back(const struct token_name *name, const char *dir);

// token_sweep removes what was used or has expired more than TOKEN_MEMORY_SECONDS ago, and ends the
// holds that policyds which died have left.
void token_sweep(const char *dir, time_t now);

#endif
