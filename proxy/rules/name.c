// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/name.h"

#include <string.h>

bool name_check(const char *name, size_t len_max, struct err *err)
{
    size_t len = strlen(name);
    if (len == 0) {
        return err_set_at(err, "name", "there is no name");
    }
    if (len > len_max) {
        return err_set_at(err, "name", "the name has %zu bytes, over the limit of %zu", len,
                          len_max);
    }
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~' || strchr("\"'\\#=", name[i]) != NULL) {
            return err_set_at(err, "name",
                              "byte %zu of \"%s\" is not allowed in a name: no spaces, quotes, "
                              "backslashes, # or =, and ASCII only",
                              i + 1, name);
        }
    }
    return true;
}

bool name_add(struct keymap *names, const char *name, size_t len_max, const char *list,
              uint32_t number, struct err *err)
{
    if (!name_check(name, len_max, err)) {
        return false;
    }
    bool is_new = false;
    struct keymap_key key = keymap_key_of(name, strlen(name), 0);
    uint32_t *other = keymap_put(names, &key, &is_new);
    if (!is_new) {
        return err_set_at(err, "name", "the name \"%s\" is that of %s[%u] too", name, list, *other);
    }
    *other = number;
    return true;
}
