// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/audit.h"

#include <stdlib.h>

#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/denials/denial_list.h"
#include "tabard/v1/admin.pb-c.h"

char *audit_text(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect)
{
    Tabard__V1__Audit audit = TABARD__V1__AUDIT__INIT;
    size_t num = inspect->n_denials;
    audit.enforcement = report_enforcement(facts);
    audit.generation = facts->generation;
    audit.applied_unix_ms = facts->applied_unix_ms;
    audit.spiffe_id = (char *)facts->spiffe_id;
    audit.denials_dropped = inspect->denials_dropped;
    // The copies borrow their texts from the proxy's answer.
    Tabard__V1__Denial *copies = must_alloc(num, sizeof *copies);
    audit.denials = must_alloc(num, sizeof *audit.denials);
    for (size_t i = 0; i < num; i++) {
        copies[i] = *inspect->denials[i];
        audit.denials[i] = &copies[i];
    }
    audit.n_denials = denial_list_merge(audit.denials, num);
    char *text = pb_text_to_json(&audit.base);
    free(audit.denials);
    free(copies);
    return text;
}
