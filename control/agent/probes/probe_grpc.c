// SPDX-License-Identifier: Apache-2.0
//
// A probe by gRPC's health checking protocol (tabard's copy: grpc/health/v1/health.proto).
#include <stdlib.h>

#include "base/must.h"
#include "control/agent/probes/probe_call_impl.h"
#include "grpc/health/v1/health.pb-c.h"

#define CHECK_PATH "/grpc.health.v1.Health/Check"

static void on_message(struct grpc_call *grpc, const uint8_t *bytes, size_t len)
{
    struct probe_call *call = grpc_call_ctx(grpc);
    Grpc__Health__V1__HealthCheckResponse *response =
        grpc__health__v1__health_check_response__unpack(NULL, len, bytes);
    if (response == NULL) {
        probe_call_decide(call, false, "the answer is no HealthCheckResponse");
        return;
    }
    const ProtobufCEnumValue *status = protobuf_c_enum_descriptor_get_value(
        &grpc__health__v1__health_check_response__serving_status__descriptor,
        (int)response->status);
    call->is_serving =
        response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    if (!call->is_serving) {
        probe_call_decide(call, false, "the service says %s",
                          status == NULL ? "something unknown" : status->name);
    }
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
}

static void on_end(struct grpc_call *grpc, const struct grpc_status *status)
{
    struct probe_call *call = grpc_call_ctx(grpc);
    if (status->code == GRPC_OK) {
        probe_call_decide(call, call->is_serving,
                          call->is_serving ? "the service says SERVING"
                                           : "the call ended without an answer");
    } else {
        probe_call_decide(
            call, false, "%s: %s%s", grpc_code_name(status->code), status->message,
            status->code == GRPC_UNIMPLEMENTED ? " (the server has no grpc.health.v1.Health)" : "");
    }
}

static const struct grpc_call_hooks hooks = {.on_message = on_message, .on_end = on_end};

static void ask(struct probe_call *call)
{
    const struct grpc_call_start start = {.path = CHECK_PATH, .hooks = &hooks, .ctx = call};
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct err err = {{0}, {0}};
    request.service = call->config.probe->grpc->service;
    size_t len = grpc__health__v1__health_check_request__get_packed_size(&request);
    uint8_t *bytes = must_alloc(1, len + 1);
    grpc__health__v1__health_check_request__pack(&request, bytes);
    struct grpc_call *grpc = grpc_channel_call(call->channel, &start, &err);
    if (grpc == NULL || !grpc_call_send(grpc, bytes, len, &err)) {
        probe_call_decide(call, false, "%s", err.text);
    } else {
        grpc_call_half_close(grpc);
    }
    free(bytes);
}

void probe_grpc_start(struct probe_call *call)
{
    struct addr addr = {.ip = call->config.ip, .port = (uint16_t)call->config.probe->grpc->port};
    char authority[ADDR_TEXT_MAX];
    struct err err = {{0}, {0}};
    struct grpc_channel_config config = {.loop = call->config.loop,
                                         .target = {.addr = addr},
                                         .authority = addr_text(&addr, authority),
                                         .user_agent = "kube-probe/tabard",
                                         .limits = grpc_limits_default(),
                                         .ctx = call};
    config.limits.message_bytes_max = 4096;
    call->channel = grpc_channel_new(&config, &err);
    if (call->channel == NULL || !grpc_channel_connect(call->channel, &err)) {
        probe_call_decide(call, false, "%s", err.text);
        return;
    }
    ask(call);
}
