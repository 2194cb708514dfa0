// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "certs/identity.h"
#include "control/ctl/ctl.h"
#include "control/ctl/rules.h"
#include "proto/contract.h"

const char ctl_explain_usage[] =
    "usage: tabardctl explain [flags] --from SPIFFE-ID|none --source IP --port N\n"
    "       tabardctl explain [flags] --to IP:PORT\n"
    "\n"
    "Says what a sidecar would do: with a caller who proves SPIFFE-ID (or none), comes from IP "
    "and\n"
    "wants the service's port N; or with a call of the service to IP:PORT. Policies and routes "
    "are\n"
    "decided by the same code as in the sidecar; no key is read. What enforcement ENFORCE denies "
    "is\n"
    "said first, then what OBSERVE makes of it.\n"
    "\n"
    "  --config PATH  by this file (mesh.yaml)\n"
    "  --admin PATH   by what is in force in the sidecar with this admin socket, as in a pod\n"
    "                 " CONTRACT_ADMIN_PATH ", whoever it came from\n"
    "\n"
    "Exit status: 0 allowed or served, 3 denied, 1 when the configuration is bad or the agent "
    "does\n"
    "not answer, 2 for a wrong flag.\n";

struct question {
    const char *config_path; // borrowed, as all of these; NULL where admin_path is set
    const char *admin_path;
    const char *from;
    const char *source_text;
    const char *port_text;
    const char *to_text;
    struct spiffe_id peer;
    bool has_peer;
    struct ip source;
    uint16_t port;
    struct addr to;
};

static void print_audit(void *ctx, const char *policy, int rule, bool would_deny)
{
    (void)ctx;
    printf("audit: policy %s, rule %d, would %s\n", policy, rule, would_deny ? "deny" : "allow");
}

static bool is_trusted(const struct rules *rules, const struct spiffe_id *peer)
{
    for (size_t i = 0; i < rules->num_trust_domains; i++) {
        const char *domain = rules->trust_domains[i];
        if (strlen(domain) == peer->domain_len &&
            memcmp(domain, peer->domain, peer->domain_len) == 0) {
            return true;
        }
    }
    return false;
}

// Says why the connection ends in the handshake, before any policy is asked. false: it does not.
static bool ends_in_handshake(char *why, size_t why_len, const struct rules *rules,
                              const struct question *question, enum inbound_mode mode)
{
    if (mode == INBOUND_MTLS && !question->has_peer) {
        snprintf(why, why_len,
                 "port %u is MTLS, and a caller without a certificate is refused in the handshake",
                 question->port);
        return true;
    }
    if ((mode == INBOUND_MTLS || mode == INBOUND_PERMISSIVE) && question->has_peer &&
        !is_trusted(rules, &question->peer)) {
        snprintf(why, why_len,
                 "there is no trust bundle for the trust domain %.*s, so the handshake fails",
                 (int)question->peer.domain_len, question->peer.domain);
        return true;
    }
    return false;
}

// Says what OBSERVE makes of what ENFORCE denies, and returns the exit status.
static int explain_denial(const struct rules *rules, bool is_served_by_observe)
{
    if (!is_served_by_observe) {
        printf("enforcement OBSERVE denies it, too\n");
    } else if (rules->is_observing) {
        printf("served all the same, and counted: settings.enforcement is OBSERVE\n");
        return CTL_OK;
    } else {
        printf("with settings.enforcement OBSERVE it would be served, and counted\n");
    }
    return CTL_DENIED;
}

static int explain_inbound(const struct rules *rules, const struct question *question)
{
    static const char *const modes[] = {
        [INBOUND_MTLS] = "MTLS",
        [INBOUND_PERMISSIVE] = "PERMISSIVE",
        [INBOUND_PLAINTEXT] = "PLAINTEXT",
        [INBOUND_TLS_PASSTHROUGH] = "TLS_PASSTHROUGH",
    };
    const struct inbound inbound = route_inbound(rules->routes, question->port);
    const struct inbound observed = route_inbound(rules->observed, question->port);
    bool proves = inbound.mode == INBOUND_MTLS || inbound.mode == INBOUND_PERMISSIVE;
    const struct policy_request request = {
        .peer = question->has_peer && proves ? &question->peer : NULL,
        .source = question->source,
        .port = question->port,
    };
    if (question->has_peer && !proves) {
        printf("note: port %u is %s, where no caller proves an identity to the sidecar: decided as "
               "for none\n",
               question->port, modes[inbound.mode]);
    }
    char why[SPIFFE_TRUST_DOMAIN_LEN_MAX + 128];
    bool is_served_by_observe = !ends_in_handshake(why, sizeof why, rules, question, observed.mode);
    if (ends_in_handshake(why, sizeof why, rules, question, inbound.mode)) {
        printf("denied: %s\n", why);
        return explain_denial(rules, is_served_by_observe);
    }
    struct policy_decision decision = policy_decide(rules->policies, &request, print_audit, NULL);
    bool is_allowed = decision.verdict == POLICY_ALLOWED;
    if (decision.rule < 0) {
        printf("denied: by default, since no policy of mode ENFORCE matches\n");
    } else {
        printf("%s: by policy %s, rule %d\n", is_allowed ? "allowed" : "denied", decision.policy,
               decision.rule);
    }
    return is_allowed ? CTL_OK : explain_denial(rules, is_served_by_observe);
}

static int explain_outbound(const struct rules *rules, const struct question *question)
{
    char buf[ADDR_TEXT_MAX];
    const struct route route = route_outbound(rules->routes, &question->to);
    addr_text(&question->to, buf);
    switch (route.mode) {
    case ROUTE_DENY:
        printf("denied: no destination lists %s, and settings.unlisted_outbound is not PLAINTEXT\n",
               buf);
        return explain_denial(rules, true);
    case ROUTE_PLAINTEXT:
        if (route.name[0] == '\0') {
            printf("allowed: no destination lists %s; it goes in plaintext, as "
                   "settings.unlisted_outbound says\n",
                   buf);
        } else {
            printf("allowed: %s is destination %s, in plaintext\n", buf, route.name);
        }
        return CTL_OK;
    case ROUTE_MTLS:
        break;
    }
    printf("allowed: %s is destination %s, over mutual TLS; the server must prove", buf,
           route.name);
    for (size_t i = 0; i < route.num_identities; i++) {
        printf("%s %.*s", i == 0 ? "" : " or", (int)route.identities[i].text_len,
               route.identities[i].text);
    }
    printf("\n");
    return CTL_OK;
}

static bool read_inbound(struct question *question, struct err *err)
{
    if (question->from == NULL || question->source_text == NULL || question->port_text == NULL) {
        return err_set(err, "%s is missing; --help says what is needed",
                       question->from == NULL          ? "--from"
                       : question->source_text == NULL ? "--source"
                                                       : "--port");
    }
    question->has_peer = strcmp(question->from, "none") != 0;
    if (question->has_peer &&
        !spiffe_workload_parse(&question->peer, question->from, strlen(question->from), err)) {
        return err_prefix(err, "--from: \"%.200s\"", question->from);
    }
    return ip_parse(&question->source, question->source_text, err) || err_prefix(err, "--source");
}

static bool set_port(void *ctx, const char *value, struct err *err)
{
    struct question *question = ctx;
    struct addr addr;
    char text[32];
    question->port_text = value;
    // addr_parse has the one reader of ports.
    snprintf(text, sizeof text, "0.0.0.0:%.16s", value);
    if (strlen(value) > 5 || !addr_parse(&addr, text, false, NULL)) {
        return err_set(err, "\"%.100s\" is not a TCP port (1 to 65535)", value);
    }
    question->port = addr.port;
    return true;
}

static bool read_question(struct question *question, int argc, char **argv, struct err *err)
{
    const struct flag flags[] = {
        {.name = "config", .value = &question->config_path},
        {.name = "admin", .value = &question->admin_path},
        {.name = "from", .value = &question->from},
        {.name = "source", .value = &question->source_text},
        {.name = "port", .set = set_port, .ctx = question},
        {.name = "to", .value = &question->to_text},
    };
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err)) {
        return false;
    }
    if (question->config_path != NULL && question->admin_path != NULL) {
        return err_set(err, "--config asks a file, and --admin a sidecar that runs: one of them");
    }
    if (question->to_text == NULL) {
        return read_inbound(question, err);
    }
    if (question->from != NULL || question->source_text != NULL || question->port_text != NULL) {
        return err_set(err,
                       "--to asks about a call of the service itself: leave out --from, --source "
                       "and --port");
    }
    return addr_parse(&question->to, question->to_text, false, err) || err_prefix(err, "--to");
}

int ctl_explain(int argc, char **argv)
{
    struct question question = {0};
    struct rules rules = {0};
    struct err err = {{0}, {0}};
    if (!read_question(&question, argc, argv, &err)) {
        err_prefix(&err, "explain");
        return ctl_fail(CTL_USAGE, &err);
    }
    int status = CTL_FAILED;
    bool is_open =
        question.admin_path != NULL
            ? rules_ask(&rules, question.admin_path, &err)
            : rules_read(&rules, question.config_path != NULL ? question.config_path : "mesh.yaml",
                         &err);
    if (!is_open) {
        ctl_fail(status, &err);
    } else if (question.to_text != NULL) {
        status = explain_outbound(&rules, &question);
    } else {
        status = explain_inbound(&rules, &question);
    }
    rules_cleanup(&rules);
    return status;
}
