// SPDX-License-Identifier: Apache-2.0
//
// The definitions of tabard.dev that belong to this version, by name and mark. Made by
// deploy/crds/generate.py; a change by hand is lost.
#ifndef TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H
#define TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H

// clang-format off
// X(name, mark): the mark is the annotation tabard.dev/definition of the object.
#define DEFINITIONS(X)                                   \
    X("meshpolicies.tabard.dev", "4ca1c20a216f66c2")     \
    X("meshdestinations.tabard.dev", "f4e60d835c4cad1c") \
    X("meshsettings.tabard.dev", "6a8d7a46d6f59f7e")
// clang-format on

#endif
