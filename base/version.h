// SPDX-License-Identifier: Apache-2.0
//
// The version of Tabard.
#ifndef TABARD_BASE_VERSION_H
#define TABARD_BASE_VERSION_H

#define TABARD_VERSION "0.1.0"

#endif
