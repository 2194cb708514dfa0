// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/flags.h"
#include "base/pb/pb_text.h"
#include "control/ctl/ask.h"
#include "control/ctl/ctl.h"
#include "control/ctl/show/screen.h"
#include "control/ctl/show/when.h"
#include "proto/contract.h"
#include "tabard/v1/admin.pb-c.h"

#define CONNECTIONS_DEFAULT 20
#define DEADLINE_MS         5000

const char ctl_status_usage[] =
    "usage: tabardctl status [--admin PATH] [--connections N] [--json]\n"
    "\n"
    "  --admin PATH     the agent's admin socket (" CONTRACT_ADMIN_PATH ")\n"
    "  --connections N  how many open connections to list (20)\n"
    "  --json           the agent's answer as it is\n"
    "\n"
    "Exit status: 0 ready, 1 no agent or not ready, 2 for a wrong flag.\n";

static void print_connections(const Tabard__V1__Status *status)
{
    if (status->n_connections > 0) {
        printf("\n%-8s %-9s %-12s %-23s %-23s %9s %9s %8s  %s\n", "id", "direction", "step",
               "source", "destination", "up", "down", "age", "peer, policy");
    }
    for (size_t i = 0; i < status->n_connections; i++) {
        const Tabard__V1__Connection *conn = status->connections[i];
        printf("%-8" PRIu64 " %-9s %-12s %-23s %-23s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 "s  %s",
               conn->id, conn->direction, conn->step, conn->source, conn->destination,
               conn->bytes_up, conn->bytes_down, conn->age_ms / 1000,
               conn->peer[0] == '\0' ? "-" : conn->peer);
        if (conn->claimed[0] != '\0') {
            printf(" (claims to be %s)", conn->claimed);
        }
        if (conn->policy[0] != '\0') {
            printf(", %s", conn->policy);
        }
        if (conn->deciding_case == TABARD__V1__CONNECTION__DECIDING_RULE) {
            printf("#%u", conn->rule);
        }
        if (conn->would[0] != '\0') {
            printf(" (would be %s)", conn->would);
        }
        printf("\n");
    }
    if (status->num_connections > status->n_connections) {
        printf("%s%" PRIu64 " more; --connections N lists more\n",
               status->n_connections > 0 ? "... and " : "\nopen connections: ",
               status->num_connections - status->n_connections);
    }
}

static void print_policy_agent(const Tabard__V1__PolicyAgentStatus *agent)
{
    printf("policy from: %s, version %" PRIu64 "%s\n", agent->address, agent->version,
           agent->connected ? "" : ", not connected");
    if (!agent->connected && agent->version != 0) {
        printf("             confirmed %" PRId64 " s ago\n", agent->state_age_seconds);
    }
    if (agent->last_error[0] != '\0') {
        printf("             last error: %s\n", agent->last_error);
    }
}

static void print_interception(const Tabard__V1__InterceptionStatus *interception)
{
    char when[32];
    printf("interception: %s%s%s\n", interception->state, interception->why[0] == '\0' ? "" : ": ",
           interception->why);
    if (interception->losses > 0) {
        printf("             lost %" PRIu64 " times, last %s, for %" PRIu64
               " ms in all, put back %" PRIu64 " times; %" PRIu64 " to %" PRIu64
               " connections passed by\n",
               interception->losses, when_date(interception->lost_unix_ms, when, sizeof when),
               interception->lost_ms, interception->put_back, interception->passed,
               interception->opened_while_lost > interception->passed
                   ? interception->opened_while_lost
                   : interception->passed);
    }
}

// One line of what is in force, and one for each layer that isn't whole.
static void print_sandbox(const char *program, Tabard__V1__SandboxLayer *const *layers, size_t num)
{
    const char *between = "";
    printf("sandbox:     %s: ", program);
    for (size_t i = 0; i < num; i++) {
        if (layers[i]->in_force) {
            printf("%s%s", between, layers[i]->name);
            between = ", ";
        }
    }
    printf("%s\n", between[0] == '\0' ? "none" : "");
    for (size_t i = 0; i < num; i++) {
        if (!layers[i]->in_force) {
            printf("             %s MISSING: %s\n", layers[i]->name, layers[i]->why);
        } else if (layers[i]->why[0] != '\0') {
            printf("             %s: %s\n", layers[i]->name, layers[i]->why);
        }
    }
}

// Prints who said what the line before tells, and ends it; an older agent doesn't say.
static void print_by(const char *who)
{
    printf("%s%s\n", who[0] == '\0' ? "" : "; by ", who);
}

// What is unusual of the enforcement, and the key exchange.
static void print_settings(const Tabard__V1__Status *status)
{
    if (status->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE) {
        printf("enforcement: OBSERVE: what policy denies is served and counted (tabardctl audit)");
        print_by(status->enforcement_by);
    }
    if (status->key_exchange == TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM) {
        printf("key exchange: POST_QUANTUM: whoever lacks X25519MLKEM768 is refused");
        print_by(status->key_exchange_by);
    } else if (status->key_exchange == TABARD__V1__SETTINGS__KEY_EXCHANGE__ANY) {
        printf("key exchange: ANY: X25519MLKEM768 with whoever has it");
        print_by(status->key_exchange_by);
    }
}

static void print_limits(const Tabard__V1__LimitsInForce *limits)
{
    printf("limits:      %u connections, %u of one identity, %u callers without ClientHello, "
           "%u handshakes, %" PRIu64 " MiB of buffers; room: ",
           limits->connections, limits->identity_connections, limits->hellos, limits->handshakes,
           limits->buffer_bytes >> 20);
    if (limits->memory_bytes > 0) {
        printf("%" PRIu64 " MiB of memory, ", limits->memory_bytes >> 20);
    }
    printf("%u descriptors\n", limits->descriptors);
}

static void print_status(const Tabard__V1__Status *status, int64_t now)
{
    char when[32];
    char distance[32];
    if (status->ready) {
        printf("ready\n");
    } else {
        printf("not ready: %s\n", status->not_ready_because);
    }
    printf("agent:       %s\n", status->version);
    printf("proxy:       ");
    if (status->proxy_pid == 0) {
        printf("not running");
    } else {
        printf("pid %u", status->proxy_pid);
    }
    printf(", %" PRIu64 " restart%s\n", status->proxy_restarts,
           status->proxy_restarts == 1 ? "" : "s");
    printf("identity:    %s\n", status->spiffe_id[0] == '\0' ? "none yet" : status->spiffe_id);
    if (status->certificate_not_after_unix != 0) {
        printf("certificate: %s, ends %s (%s), serial %s\n", status->certificate_key,
               when_date(status->certificate_not_after_unix * 1000, when, sizeof when),
               when_distance(status->certificate_not_after_unix - now, distance, sizeof distance),
               status->certificate_serial);
    }
    printf("snapshot:    generation %" PRIu64 ", in force since %s\n", status->generation,
           when_date(status->applied_unix_ms, when, sizeof when));
    print_settings(status);
    if (status->interception != NULL) {
        print_interception(status->interception);
    }
    if (status->n_agent_sandbox > 0) {
        print_sandbox("agent", status->agent_sandbox, status->n_agent_sandbox);
    }
    if (status->n_proxy_sandbox > 0) {
        print_sandbox("proxy", status->proxy_sandbox, status->n_proxy_sandbox);
    }
    if (status->limits != NULL) {
        print_limits(status->limits);
    }
    if (status->policy_agent != NULL) {
        print_policy_agent(status->policy_agent);
    }
    if (status->last_error[0] != '\0') {
        printf("last error:  %s (%s)\n", status->last_error,
               when_date(status->last_error_unix_ms, when, sizeof when));
    }
    for (size_t i = 0; i < status->n_listeners; i++) {
        const Tabard__V1__Listener *listener = status->listeners[i];
        printf("%s%-12s %s", i == 0 ? "listens:     " : "             ", listener->kind,
               listener->address);
        if (listener->configured[0] != '\0' &&
            strcmp(listener->configured, listener->address) != 0) {
            printf(" (configured %s)", listener->configured);
        }
        printf("\n");
    }
    print_connections(status);
}

int ctl_status(int argc, char **argv)
{
    const char *path = CONTRACT_ADMIN_PATH;
    unsigned num_connections = CONNECTIONS_DEFAULT;
    bool as_json = false;
    struct err err = {{0}, {0}};
    const struct flag flags[] = {
        {.name = "admin", .value = &path},
        {.name = "connections", .number = &num_connections, .max = 999999},
        {.name = "json", .out_given = &as_json},
    };
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, &err)) {
        err_prefix(&err, "status");
        return ctl_fail(CTL_USAGE, &err);
    }
    char target[64];
    size_t len = 0;
    snprintf(target, sizeof target, "/status?connections=%u", num_connections);
    char *text = ask(path, target, DEADLINE_MS, &len, &err);
    if (text == NULL) {
        err_prefix(&err, "status");
        return ctl_fail(CTL_FAILED, &err);
    }
    size_t num_unknown = 0;
    Tabard__V1__Status *status = (Tabard__V1__Status *)pb_text_parse_known(
        &tabard__v1__status__descriptor, text, len, "the agent's answer", &num_unknown, &err);
    if (status == NULL) {
        free(text);
        err_prefix(&err, "status: %s", path);
        return ctl_fail(CTL_FAILED, &err);
    }
    if (as_json) {
        screen_pass_through();
        fwrite(text, 1, len, stdout);
    } else {
        screen_clean(&status->base);
        print_status(status, (int64_t)time(NULL));
        ctl_tell_unknown(num_unknown);
    }
    int result = status->ready ? CTL_OK : CTL_FAILED;
    tabard__v1__status__free_unpacked(status, NULL);
    free(text);
    return result;
}
