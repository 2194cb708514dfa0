// SPDX-License-Identifier: Apache-2.0
#include "certs/cert.h"

#include <string.h>

bool cert_time_read(time_t *out, const ASN1_TIME *time)
{
    int64_t seconds;
    if (time == NULL || !ASN1_TIME_to_posix(time, &seconds)) {
        return false;
    }
    *out = (time_t)seconds;
    return true;
}

const char *cert_time_text(time_t time, char *buf)
{
    struct tm utc;
    if (gmtime_r(&time, &utc) == NULL ||
        strftime(buf, CERT_TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        strcpy(buf, "?");
    }
    return buf;
}

bool cert_serial_read(struct cert_serial *out, const ASN1_INTEGER *number)
{
    *out = (struct cert_serial){0};
    int len = ASN1_STRING_length(number);
    if (len < 0 || len > CERT_SERIAL_LEN_MAX) {
        return false;
    }
    out->len = (uint8_t)len;
    out->is_negative = ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER;
    if (len > 0) {
        memcpy(out->bytes, ASN1_STRING_get0_data(number), (size_t)len);
    }
    return true;
}

bool cert_uris_read(struct cert_uris *out, const X509 *cert)
{
    int critical = 0;
    *out =
        (struct cert_uris){.names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL)};
    if (out->names == NULL) {
        return critical == -1; // there is none
    }
    for (size_t i = 0; i < sk_GENERAL_NAME_num(out->names); i++) {
        out->num += sk_GENERAL_NAME_value(out->names, i)->type == GEN_URI;
    }
    return true;
}

void cert_uris_cleanup(struct cert_uris *uris)
{
    GENERAL_NAMES_free(uris->names);
    *uris = (struct cert_uris){0};
}

const char *cert_uri(const struct cert_uris *uris, size_t index, size_t *out_len)
{
    const GENERAL_NAME *name;
    size_t at = 0;
    do {
        name = sk_GENERAL_NAME_value(uris->names, at++);
    } while (name->type != GEN_URI || index-- > 0);
    *out_len = (size_t)ASN1_STRING_length(name->d.ia5);
    return (const char *)ASN1_STRING_get0_data(name->d.ia5);
}

const char *cert_name_text(const X509_NAME *name, char *buf)
{
    if (X509_NAME_oneline(name, buf, CERT_NAME_TEXT_MAX) == NULL) {
        buf[0] = '\0';
    }
    return buf;
}

bool cert_err_prefix(struct err *err, size_t depth, const X509 *cert)
{
    char subject[CERT_NAME_TEXT_MAX];
    if (depth == 0) {
        return err_prefix(err, "the leaf");
    }
    if (cert == NULL) {
        return err_prefix(err, "certificate %zu of the chain", depth);
    }
    return err_prefix(err, "certificate %zu of the chain (%s)", depth,
                      cert_name_text(X509_get_subject_name(cert), subject));
}
