// SPDX-License-Identifier: Apache-2.0
//
// inject.yaml (tabard/v1/inject.proto), read and checked. policyd and `tabardctl inject` read it
// once and pass it to inject_pod, which needs it to have come from here.
#ifndef TABARD_CONTROL_KUBE_INJECT_INJECT_CONFIG_H
#define TABARD_CONTROL_KUBE_INJECT_INJECT_CONFIG_H

#include <stddef.h>

#include "base/err.h"
#include "tabard/v1/inject.pb-c.h"

// inject_config_parse reads the text of inject.yaml and fills in the defaults. NULL sets err,
// located in the file. Free it with inject_config_free.
Tabard__V1__InjectConfig *inject_config_parse(const char *text, size_t text_len,
                                              const char *file_name, struct err *err);
void inject_config_free(Tabard__V1__InjectConfig *config);

#endif
