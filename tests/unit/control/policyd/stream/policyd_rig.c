// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/policyd/stream/policyd_rig.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "certs/ca/ca_store.h"
#include "control/host/listen.h"

#define QUIET_MS (20 * SERVICE_COALESCE_MS)

static struct fleet *read_fleet(const char *pattern)
{
    char text[4096];
    size_t len = 0;
    struct err err = {0};
    for (const char *c = pattern; *c != '\0'; c++) {
        cr_assert_lt(len, sizeof text - 12);
        if (*c == '@') {
            len += (size_t)snprintf(text + len, 12, "%u", (unsigned)getuid());
        } else {
            text[len++] = *c;
        }
    }
    const struct fleet_piece piece = {.name = "a", .text = text, .len = len};
    struct fleet *fleet = fleet_new(&piece, 1, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    return fleet;
}

static struct ca_trust *read_trust(const struct policyd_rig *rig, const char *crls)
{
    char pem[16384];
    struct err err = {0};
    temp_read(rig->ca_dir, "ca.pem", pem, sizeof pem);
    const struct ca_trust_texts texts = {.ca = pem, .crls = crls};
    struct ca_trust *trust = ca_trust_new(&texts, NULL, time(NULL), &err);
    cr_assert_not_null(trust, "%s", err.text);
    return trust;
}

static void serve(struct policyd_rig *rig, struct err *err)
{
    const struct grpc_server_config config = {.loop = &rig->loop,
                                              .methods = &service_method,
                                              .num_methods = 1,
                                              .limits = grpc_limits_default(),
                                              .ctx = &rig->service};
    rig->server = grpc_server_new(&config, err);
    cr_assert_not_null(rig->server, "%s", err->text);
    int fd = listen_unix(rig->path, err);
    cr_assert(fd >= 0 && grpc_server_listen(rig->server, fd, NULL, err), "%s", err->text);
    const struct grpc_channel_config channel = {.loop = &rig->loop,
                                                .target = {.unix_path = rig->path},
                                                .limits = grpc_limits_default(),
                                                .ctx = rig};
    rig->channel = grpc_channel_new(&channel, err);
    cr_assert(rig->channel != NULL && grpc_channel_connect(rig->channel, err), "%s", err->text);
}

void policyd_rig_start(struct policyd_rig *rig, const char *fleet)
{
    struct err err = {0};
    struct service *service = &rig->service;
    signal(SIGPIPE, SIG_IGN); // as the daemon does
    snprintf(rig->ca_dir, sizeof rig->ca_dir, "%s/ca", temp_folder);
    snprintf(rig->path, sizeof rig->path, "%s/policyd.sock", temp_folder);
    cr_assert_eq(uv_loop_init(&rig->loop), 0);
    cr_assert(
        ca_store_create(rig->ca_dir, NULL, MINT_KEY_P256, "demo.example", time(NULL), 86400, &err),
        "%s", err.text);
    service_init(service, &rig->loop, temp_folder, read_fleet(fleet), read_trust(rig, NULL));
    cr_assert(version_open(&service->version, temp_folder, service_now_us(), &err), "%s", err.text);
    service->issuer = issuer_new(&rig->loop, rig->ca_dir);
    service->registry = registry_dir_new(&rig->loop, temp_folder, &service->world.registry,
                                         service_permits, service, &err);
    cr_assert_not_null(service->registry, "%s", err.text);
    serve(rig, &err);
}

void policyd_rig_stop(struct policyd_rig *rig)
{
    struct service *service = &rig->service;
    service->is_stopping = true;
    grpc_channel_free(rig->channel);
    grpc_server_free(rig->server);
    service_stop(service);
    reviews_close(service->reviews);
    registry_dir_close(service->registry);
    issuer_close(service->issuer);
    loop_end(&rig->loop);
    service_cleanup(service);
}

void policyd_rig_set_fleet(struct policyd_rig *rig, const char *fleet)
{
    service_set_fleet(&rig->service, read_fleet(fleet), uv_hrtime());
}

void policyd_rig_set_trust(struct policyd_rig *rig, const char *crls)
{
    service_set_trust(&rig->service, read_trust(rig, crls), uv_hrtime());
}

const char *policyd_rig_owner(struct policyd_rig *rig, const char *address)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, address, NULL));
    const char *id = registry_owner(&rig->service.world.registry, &ip);
    return id != NULL ? id : "";
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct sidecar *sidecar = grpc_call_ctx(call);
    if (sidecar->response != NULL) {
        tabard__v1__subscribe_response__free_unpacked(sidecar->response, NULL);
    }
    sidecar->response = tabard__v1__subscribe_response__unpack(NULL, len, bytes);
    cr_assert_not_null(sidecar->response);
    sidecar->num_responses++;
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct sidecar *sidecar = grpc_call_ctx(call);
    sidecar->call = NULL;
    sidecar->code = status->code;
    snprintf(sidecar->words, sizeof sidecar->words, "%s", status->message);
}

void sidecar_open(struct sidecar *sidecar, struct policyd_rig *rig)
{
    static const struct grpc_call_hooks hooks = {.on_message = on_message, .on_end = on_end};
    const struct grpc_call_start start = {.path = SERVICE_PATH, .hooks = &hooks, .ctx = sidecar};
    struct err err = {0};
    sidecar->rig = rig;
    sidecar->call = grpc_channel_call(rig->channel, &start, &err);
    cr_assert_not_null(sidecar->call, "%s", err.text);
}

void sidecar_cleanup(struct sidecar *sidecar)
{
    cr_assert_null(sidecar->call);
    if (sidecar->response != NULL) {
        tabard__v1__subscribe_response__free_unpacked(sidecar->response, NULL);
    }
    *sidecar = (struct sidecar){0};
}

void sidecar_send_bytes(struct sidecar *sidecar, const char *bytes, size_t len)
{
    struct err err = {0};
    cr_assert(grpc_call_send(sidecar->call, (const uint8_t *)bytes, len, &err), "%s", err.text);
}

void sidecar_send(struct sidecar *sidecar, const Tabard__V1__SubscribeRequest *request)
{
    size_t len = tabard__v1__subscribe_request__get_packed_size(request);
    uint8_t *bytes = malloc(len + 1);
    tabard__v1__subscribe_request__pack(request, bytes);
    sidecar_send_bytes(sidecar, (const char *)bytes, len);
    free(bytes);
}

void sidecar_ask(struct sidecar *sidecar, const char *id, const char *address, const uint8_t *csr,
                 size_t csr_len)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__Node__MetadataEntry wanted = TABARD__V1__NODE__METADATA_ENTRY__INIT;
    Tabard__V1__Node__MetadataEntry *metadata[] = {&wanted};
    Tabard__V1__CertificateRequest signing = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    char *addresses[] = {(char *)address};
    char *capabilities[] = {(char *)"destination_deltas"};
    wanted.key = (char *)"spiffe_id";
    wanted.value = (char *)id;
    node.id = (char *)"a-node";
    if (sidecar->token != NULL) {
        node.join_token = (char *)sidecar->token;
    }
    node.metadata = metadata;
    node.n_metadata = 1;
    node.addresses = addresses;
    node.n_addresses = address != NULL;
    node.capabilities = capabilities;
    node.n_capabilities = 1;
    request.node = &node;
    request.version_in_force = sidecar->held;
    if (csr_len > 0) {
        signing.csr = (ProtobufCBinaryData){.len = csr_len, .data = (uint8_t *)csr};
        request.certificate_request = &signing;
    }
    sidecar_send(sidecar, &request);
}

void sidecar_join(struct sidecar *sidecar, struct policyd_rig *rig, const char *id,
                  const char *address)
{
    sidecar_open(sidecar, rig);
    sidecar_ask(sidecar, id, address, NULL, 0);
    cr_assert_not_null(sidecar_take(sidecar)->state);
    const uint64_t num_acks = rig->service.stats.num_acks;
    sidecar_answer(sidecar, "");
    cr_assert(run_until(rig, rig->service.stats.num_acks > num_acks, POLICYD_WAIT_MS));
}

const Tabard__V1__SubscribeResponse *sidecar_take(struct sidecar *sidecar)
{
    cr_assert(run_until(sidecar->rig, sidecar->num_responses > sidecar->num_taken, POLICYD_WAIT_MS),
              "no response came: %s", sidecar->words);
    cr_assert_eq(sidecar->num_responses, ++sidecar->num_taken, "more than one came");
    return sidecar->response;
}

bool sidecar_is_quiet(struct sidecar *sidecar)
{
    return !run_until(sidecar->rig,
                      sidecar->num_responses > sidecar->num_taken || sidecar->call == NULL,
                      QUIET_MS);
}

void sidecar_answer(struct sidecar *sidecar, const char *error)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__Result result = TABARD__V1__RESULT__INIT;
    result.nonce = sidecar->response->nonce;
    result.error = (char *)error;
    request.result = &result;
    sidecar_send(sidecar, &request);
}

void sidecar_sign(struct sidecar *sidecar, const uint8_t *csr, size_t csr_len, const char *id)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__CertificateRequest signing = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    signing.csr = (ProtobufCBinaryData){.len = csr_len, .data = (uint8_t *)csr};
    signing.spiffe_id = (char *)id;
    request.certificate_request = &signing;
    sidecar_send(sidecar, &request);
}

void sidecar_expect_end(struct sidecar *sidecar, enum grpc_code code, const char *words,
                        enum service_end end)
{
    const struct service_stats *stats = &sidecar->rig->service.stats;
    cr_assert(run_until(sidecar->rig, sidecar->call == NULL, POLICYD_WAIT_MS), "it goes on");
    cr_expect_eq(sidecar->code, code, "%s: %s", grpc_code_name(sidecar->code), sidecar->words);
    cr_expect(strstr(sidecar->words, words) != NULL, "\"%s\" lacks \"%s\"", sidecar->words, words);
    cr_expect_eq(stats->ends[end], 1, "%s", service_end_text(end));
}

static void wait_gone(struct sidecar *sidecar, uint64_t num_before)
{
    const struct service_stats *stats = &sidecar->rig->service.stats;
    cr_assert(run_until(sidecar->rig, sidecar->call == NULL && stats->num_streams < num_before,
                        POLICYD_WAIT_MS));
}

void sidecar_leave(struct sidecar *sidecar)
{
    uint64_t num_before = sidecar->rig->service.stats.num_streams;
    grpc_call_half_close(sidecar->call);
    wait_gone(sidecar, num_before);
    cr_expect_eq(sidecar->code, GRPC_OK, "%s", sidecar->words);
}

void sidecar_vanish(struct sidecar *sidecar)
{
    uint64_t num_before = sidecar->rig->service.stats.num_streams;
    grpc_call_cancel(sidecar->call);
    wait_gone(sidecar, num_before);
}
