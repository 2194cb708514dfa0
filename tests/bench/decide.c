// SPDX-License-Identifier: Apache-2.0
//
// What one decision and one look-up cost, and what the indexes weigh, as policies and destinations
// grow. Each policy names its own peers and ports, as a policy agent would send them; half of the
// requests are allowed, half denied by default. Usage: decide. Prints one JSON object per line.
// Bounded by the tables in main and MEASURE_NS a row.
#define _GNU_SOURCE // vasprintf
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/addr.h"
#include "base/err.h"
#include "certs/identity.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"
#include "tabard/v1/mesh.pb-c.h"

#define MEASURE_NS     100000000
#define PRINCIPALS_NUM 4
#define REQUESTS_NUM   256

// Everything here lives until the program ends.
static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("decide: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *text_of(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return must(len < 0 ? NULL : text);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void fail(const char *what, const struct err *err)
{
    char text[1024];
    fprintf(stderr, "decide: %s: %s\n", what, err_text(err, text, sizeof text));
    exit(1);
}

static Tabard__V1__Policy *policy_new(unsigned number)
{
    Tabard__V1__Policy *policy = must(malloc(sizeof *policy));
    Tabard__V1__Policy__Rule *rule = must(malloc(sizeof *rule));
    tabard__v1__policy__init(policy);
    tabard__v1__policy__rule__init(rule);
    policy->name = text_of("policy-%u", number);
    policy->action = TABARD__V1__POLICY__ACTION__ALLOW;
    policy->mode = TABARD__V1__POLICY__MODE__ENFORCE;
    policy->n_ports = 1;
    policy->ports = must(malloc(sizeof *policy->ports));
    policy->ports[0] = 8000 + number % 100;
    policy->n_rules = 1;
    policy->rules = must(malloc(sizeof *policy->rules));
    policy->rules[0] = rule;
    rule->n_principals = PRINCIPALS_NUM;
    rule->principals = must(calloc(PRINCIPALS_NUM, sizeof *rule->principals));
    for (unsigned i = 0; i < PRINCIPALS_NUM; i++) {
        rule->principals[i] = text_of("spiffe://bench.example/ns/team-%u/sa/caller-%u", number, i);
    }
    return policy;
}

struct question {
    struct spiffe_id peer;
    struct policy_request request;
};

static void make_questions(struct question *questions, unsigned num_policies)
{
    for (unsigned i = 0; i < REQUESTS_NUM; i++) {
        struct question *question = &questions[i];
        struct err err = {0};
        unsigned number = (unsigned)((uint64_t)i * num_policies / REQUESTS_NUM);
        const char *who = i % 2 == 0 ? "caller-1" : "stranger";
        char *id = text_of("spiffe://bench.example/ns/team-%u/sa/%s", number, who);
        if (!spiffe_workload_parse(&question->peer, id, strlen(id), &err) ||
            !ip_parse(&question->request.source, "10.1.2.3", &err)) {
            fail("request", &err);
        }
        question->request.peer = &question->peer;
        question->request.port = (uint16_t)(8000 + number % 100);
    }
}

static void measure_policies(unsigned num)
{
    static struct question questions[REQUESTS_NUM];
    struct err err = {0};
    Tabard__V1__Policy **policies = must(calloc(num, sizeof *policies));
    for (unsigned i = 0; i < num; i++) {
        policies[i] = policy_new(i);
    }
    make_questions(questions, num);
    size_t before = heap_bytes();
    struct policy_index *index = policy_index_new(policies, num, &err);
    if (index == NULL) {
        fail("policies", &err);
    }
    size_t after = heap_bytes();
    uint64_t num_decided = 0;
    uint64_t num_allowed = 0;
    int64_t start = now_ns();
    int64_t took;
    do {
        for (unsigned i = 0; i < REQUESTS_NUM; i++) {
            num_allowed +=
                policy_decide(index, &questions[i].request, NULL, NULL).verdict == POLICY_ALLOWED;
        }
        num_decided += REQUESTS_NUM;
        took = now_ns() - start;
    } while (took < MEASURE_NS);
    if (num_allowed * 2 != num_decided) {
        err_set(&err, "half should have been allowed");
        fail("policies", &err);
    }
    printf("{\"case\": \"policy-%u\", \"ns_per_decision\": %.1f, \"bytes_per_policy\": %.0f}\n",
           num, (double)took / (double)num_decided, (double)(after - before) / num);
    policy_index_free(index);
}

static Tabard__V1__Destination *destination_new(unsigned number)
{
    Tabard__V1__Destination *destination = must(malloc(sizeof *destination));
    tabard__v1__destination__init(destination);
    destination->name = text_of("service-%u", number);
    destination->n_addresses = 1;
    destination->addresses = must(malloc(sizeof *destination->addresses));
    // One in ten is a block; the blocks and the single addresses share no bits.
    destination->addresses[0] =
        number % 10 == 0
            ? text_of("11.%u.%u.0/24", number / 10 / 256 % 256, number / 10 % 256)
            : text_of("10.%u.%u.%u", number / 65536 % 256, number / 256 % 256, number % 256);
    destination->n_ports = 1;
    destination->ports = must(malloc(sizeof *destination->ports));
    destination->ports[0] = 8080;
    destination->mode = TABARD__V1__DESTINATION__MODE__MTLS;
    destination->n_identities = 1;
    destination->identities = must(malloc(sizeof *destination->identities));
    destination->identities[0] = text_of("spiffe://bench.example/ns/prod/sa/service-%u", number);
    return destination;
}

static void make_addresses(struct addr *addresses, unsigned num_destinations)
{
    for (unsigned i = 0; i < REQUESTS_NUM; i++) {
        struct err err = {0};
        unsigned number = (unsigned)((uint64_t)i * num_destinations / REQUESTS_NUM);
        char *text = number % 10 == 0
                         ? text_of("11.%u.%u.7:8080", number / 10 / 256 % 256, number / 10 % 256)
                         : text_of("10.%u.%u.%u:8080", number / 65536 % 256, number / 256 % 256,
                                   number % 256);
        if (!addr_parse(&addresses[i], text, false, &err)) {
            fail("address", &err);
        }
        free(text);
    }
}

static void measure_destinations(unsigned num)
{
    static struct addr addresses[REQUESTS_NUM];
    struct err err = {0};
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.n_destinations = num;
    snapshot.destinations = must(calloc(num, sizeof *snapshot.destinations));
    for (unsigned i = 0; i < num; i++) {
        snapshot.destinations[i] = destination_new(i);
    }
    make_addresses(addresses, num);
    size_t before = heap_bytes();
    struct route_index *index = route_index_new(&snapshot, &err);
    if (index == NULL) {
        fail("destinations", &err);
    }
    size_t after = heap_bytes();
    uint64_t num_looked_up = 0;
    uint64_t num_found = 0;
    int64_t start = now_ns();
    int64_t took;
    do {
        for (unsigned i = 0; i < REQUESTS_NUM; i++) {
            num_found += route_outbound(index, &addresses[i]).mode == ROUTE_MTLS;
        }
        num_looked_up += REQUESTS_NUM;
        took = now_ns() - start;
    } while (took < MEASURE_NS);
    if (num_found != num_looked_up) {
        err_set(&err, "every address should have been found");
        fail("destinations", &err);
    }
    printf("{\"case\": \"destinations-%u\", \"ns_per_lookup\": %.1f, "
           "\"bytes_per_destination\": %.0f}\n",
           num, (double)took / (double)num_looked_up, (double)(after - before) / num);
    route_index_free(index);
}

int main(void)
{
    static const unsigned policies[] = {10, 100, 1000, 10000};
    static const unsigned destinations[] = {100, 1000, 10000, 100000};
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        measure_policies(policies[i]);
    }
    for (size_t i = 0; i < sizeof destinations / sizeof *destinations; i++) {
        measure_destinations(destinations[i]);
    }
    return 0;
}
