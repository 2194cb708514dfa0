// SPDX-License-Identifier: Apache-2.0
//
// What probes.yaml (tabard/v1/probes.proto) may hold: the injector that writes it and the agent
// that reads it ask the same function. Pure.
#ifndef TABARD_CONTROL_AGENT_PROBES_PROBES_CHECK_H
#define TABARD_CONTROL_AGENT_PROBES_PROBES_CHECK_H

#include <stdbool.h>

#include "base/err.h"
#include "tabard/v1/probes.pb-c.h"

#define PROBES_MAX         256
#define PROBES_PAGE_PREFIX "/app-health/"
#define PROBES_TIMEOUT_MAX 3600 // seconds
#define PROBES_HEADERS_MAX 64
#define PROBES_PATH_MAX    2048

// probes_check refuses, with err.where naming the field: too many probes; a page that doesn't begin
// with PROBES_PAGE_PREFIX, or that stands there twice; a probe without a kind; what is no port; a
// header that would not be one header. false sets err.
bool probes_check(const Tabard__V1__Probes *probes, struct err *err);

#endif
