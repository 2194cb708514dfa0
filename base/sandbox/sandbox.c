// SPDX-License-Identifier: Apache-2.0
#include "base/sandbox/sandbox.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static const char *const modes[] = {
    [SANDBOX_ON] = "on", [SANDBOX_OFF] = "off", [SANDBOX_REQUIRED] = "required"};

static const char *const layers[] = {[SANDBOX_USER] = "user",
                                     [SANDBOX_NO_NEW_PRIVILEGES] = "no_new_privileges",
                                     [SANDBOX_CAPABILITIES] = "capabilities",
                                     [SANDBOX_NOT_DUMPABLE] = "not_dumpable",
                                     [SANDBOX_KEYS] = "keys_locked",
                                     [SANDBOX_LIMITS] = "limits",
                                     [SANDBOX_FILES] = "landlock_files",
                                     [SANDBOX_PORTS] = "landlock_ports",
                                     [SANDBOX_SCOPES] = "landlock_scopes",
                                     [SANDBOX_SYSTEM_CALLS] = "seccomp"};

_Static_assert(sizeof layers / sizeof layers[0] == SANDBOX_NUM_LAYERS, "each layer has a name");

bool sandbox_mode_parse(enum sandbox_mode *out, const char *text, struct err *err)
{
    for (int i = 0; i <= SANDBOX_REQUIRED; i++) {
        if (strcmp(text, modes[i]) == 0) {
            *out = (enum sandbox_mode)i;
            return true;
        }
    }
    return err_set(err, "\"%.100s\" is not " SANDBOX_MODES_TEXT, text);
}

const char *sandbox_mode_text(enum sandbox_mode mode)
{
    return modes[mode];
}

const char *sandbox_layer_text(enum sandbox_layer layer)
{
    return layers[layer];
}

bool sandbox_layer_parse(enum sandbox_layer *out, const char *text)
{
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        if (strcmp(text, layers[i]) == 0) {
            *out = (enum sandbox_layer)i;
            return true;
        }
    }
    return false;
}

void sandbox_set(struct sandbox_facts *facts, enum sandbox_layer layer, enum sandbox_state state,
                 const char *why)
{
    facts->layers[layer].state = state;
    snprintf(facts->layers[layer].why, sizeof facts->layers[layer].why, "%s", why);
}

void sandbox_all_off(struct sandbox_facts *facts, const enum sandbox_layer *off, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        sandbox_set(facts, off[i], SANDBOX_MISSING, "--sandbox=off");
    }
}

bool sandbox_check(const struct sandbox_facts *facts, enum sandbox_mode mode, struct err *err)
{
    for (int i = 0; mode == SANDBOX_REQUIRED && i < SANDBOX_NUM_LAYERS; i++) {
        if (facts->layers[i].state == SANDBOX_MISSING && i != SANDBOX_USER) {
            return err_set(err, "--sandbox=required, and the layer %s is missing: %s", layers[i],
                           facts->layers[i].why);
        }
    }
    return true;
}

void sandbox_log(const struct sandbox_facts *facts)
{
    char in_force[256] = "";
    size_t len = 0;
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        if (facts->layers[i].state == SANDBOX_IN_FORCE) {
            len += (size_t)snprintf(in_force + len, sizeof in_force - len, "%s%s",
                                    len > 0 ? "," : "", layers[i]);
        } else if (facts->layers[i].state == SANDBOX_MISSING) {
            char quoted[2 * SANDBOX_WHY_MAX];
            log_warn("msg=\"a layer of the sandbox is missing\" layer=%s why=%s", layers[i],
                     log_quote(quoted, sizeof quoted, facts->layers[i].why));
        }
    }
    log_info("msg=sandbox layers=%s", len > 0 ? in_force : "none");
}
