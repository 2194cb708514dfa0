// SPDX-License-Identifier: Apache-2.0
#include "certs/cert_time.h"

#include <stddef.h>

#define DAY_SECONDS 86400

// The distance from 1970, because BoringSSL of API 17 has no function that gives seconds.
bool cert_time_read(time_t *out, const ASN1_TIME *time)
{
    int days = 0;
    int seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool ok = epoch != NULL && time != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    if (ok) {
        *out = (time_t)days * DAY_SECONDS + seconds;
    }
    return ok;
}
