// SPDX-License-Identifier: Apache-2.0
//
// The definitions of tabard.dev that belong to this version, by name and mark. Made by
// deploy/crds/generate.py; a change by hand is lost.
#ifndef TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H
#define TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H

// clang-format off
// X(name, mark): the mark is the annotation tabard.dev/definition of the object.
#define DEFINITIONS(X)                                   \
    X("meshpolicies.tabard.dev", "4741be22a9a13ae9")     \
    X("meshdestinations.tabard.dev", "3b2956138b9e04c7") \
    X("meshsettings.tabard.dev", "3929fbe789e4780d")
// clang-format on

#endif
