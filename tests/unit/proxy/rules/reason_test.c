// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/reason.h"

#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <string.h>

Test(reason, every_text_is_a_label_and_none_stands_twice, .timeout = 20)
{
    for (int i = 0; i < NUM_REASONS; i++) {
        const char *text = reason_text((enum reason)i);
        cr_assert(text != NULL && strspn(text, "abcdefghijklmnopqrstuvwxyz_") == strlen(text),
                  "reason %d", i);
        for (int k = 0; k < i; k++) {
            cr_assert(strcmp(text, reason_text((enum reason)k)) != 0, "%s stands twice", text);
        }
    }
}

Test(reason, what_the_verifier_finds_has_the_same_name_as_an_end, .timeout = 20)
{
    static const enum verify_failure failures[] = {
#define X(name, text, alert) VERIFY_##name,
        VERIFY_FAILURES(X)
#undef X
    };
    cr_assert(reason_of_failure(VERIFY_OK) == REASON_NONE);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        enum reason reason = reason_of_failure(failures[i]);
        cr_assert_str_eq(reason_text(reason), verify_failure_text(failures[i]));
        cr_assert(reason_alert(reason) != ALERT_NONE, "%s: the peer is told", reason_text(reason));
    }
}

Test(reason, alerts_have_the_numbers_that_tls_gives_them, .timeout = 20)
{
    cr_assert((int)ALERT_BAD_CERTIFICATE == SSL_AD_BAD_CERTIFICATE);
    cr_assert((int)ALERT_CERTIFICATE_REVOKED == SSL_AD_CERTIFICATE_REVOKED);
    cr_assert((int)ALERT_CERTIFICATE_EXPIRED == SSL_AD_CERTIFICATE_EXPIRED);
    cr_assert((int)ALERT_CERTIFICATE_UNKNOWN == SSL_AD_CERTIFICATE_UNKNOWN);
    cr_assert((int)ALERT_UNKNOWN_CA == SSL_AD_UNKNOWN_CA);
    cr_assert((int)ALERT_ACCESS_DENIED == SSL_AD_ACCESS_DENIED);
    cr_assert((int)ALERT_DECODE_ERROR == SSL_AD_DECODE_ERROR);
    cr_assert((int)ALERT_INSUFFICIENT_SECURITY == SSL_AD_INSUFFICIENT_SECURITY);
    cr_assert((int)ALERT_INTERNAL_ERROR == SSL_AD_INTERNAL_ERROR);
    cr_assert((int)ALERT_CERTIFICATE_REQUIRED == SSL_AD_CERTIFICATE_REQUIRED);
}

Test(reason, only_what_a_flood_brings_is_logged_seldom, .timeout = 20)
{
    for (int i = 0; i < NUM_REASONS; i++) {
        enum reason reason = (enum reason)i;
        cr_assert(reason_is_logged_seldom(reason) ==
                      (reason == REASON_LIMIT_HELLOS || reason == REASON_LIMIT_HANDSHAKES ||
                       reason == REASON_LIMIT_IDENTITY),
                  "%s", reason_text(reason));
    }
}

Test(reason, a_peer_whose_data_is_cut_off_is_told_by_an_alert, .timeout = 20)
{
    // The peer's own doing, or BoringSSL's, which says its alerts itself; or before any TLS.
    static const enum reason untold[] = {
        REASON_NONE,
        REASON_FINISHED,
        REASON_PEER_CLOSED,
        REASON_PEER_RESET,
        REASON_PEER_ALERT,
        REASON_PLAINTEXT_ON_MTLS,
        REASON_TLS_ON_PLAINTEXT,
        REASON_TLS_VERSION,
        REASON_NO_SHARED_SIGNATURE,
        REASON_ALPN_REFUSED,
        REASON_TLS_ERROR,
        REASON_HANDSHAKE_TIMEOUT,
        REASON_NO_ORIGIN,
        REASON_LOOP,
        REASON_LOOPBACK,
        REASON_NOT_LOCAL,
        REASON_LIMIT_HELLOS,
        REASON_LIMIT_HANDSHAKES,
    };
    for (int i = 0; i < NUM_REASONS; i++) {
        bool is_untold = false;
        for (size_t k = 0; k < sizeof untold / sizeof untold[0]; k++) {
            is_untold = is_untold || (int)untold[k] == i;
        }
        cr_expect((reason_alert((enum reason)i) == ALERT_NONE) == is_untold, "%s",
                  reason_text((enum reason)i));
    }
}
