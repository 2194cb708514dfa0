// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/contract.h"
#include "proxy/link/signer.h"

enum {
    INPUT_LEN = 130,  // of a CertificateVerify with SHA-256
    ED25519 = 0x0807, // a SignatureScheme
};

static struct signer signer;
static struct sign_job job;
static struct sign_job others[3 * SIGN_ASKED_MAX];
static struct link agent_link;
static unsigned num_done;

static void on_done(void *owner)
{
    (void)owner;
    num_done++;
}

static void on_message(void *ctx, const Tabard__V1__ToProxy *message)
{
    (void)ctx;
    (void)message;
}

static void on_gone(void *ctx)
{
    (void)ctx;
    signer_fail_all(&signer);
}

// A signer whose agent reads nothing. Returns the agent's end.
static int begin(uv_loop_t *loop)
{
    int fds[2];
    cr_assert(uv_loop_init(loop) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    cr_assert(link_init(&agent_link, loop, fds[0], LINK_SIGN, on_message, on_gone, NULL, NULL));
    signer_init(&signer, &agent_link);
    job = (struct sign_job){.on_done = on_done};
    num_done = 0;
    return fds[1];
}

static void end(uv_loop_t *loop, int agent_fd)
{
    signer_cancel(&signer, &job);
    link_close(&agent_link);
    uv_run(loop, UV_RUN_DEFAULT);
    cr_assert(signer.num_queued == 0);
    cr_assert(uv_loop_close(loop) == 0);
    close(agent_fd);
}

static bool ask_for(struct sign_job *of)
{
    static const uint8_t key_id[CONTRACT_KEY_ID_LEN];
    static const uint8_t input[INPUT_LEN];
    return signer_ask(&signer, of, key_id, ED25519, input, sizeof input);
}

static bool ask(void)
{
    return ask_for(&job);
}

static void answer(uint32_t slot, uint32_t turn)
{
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    uint8_t signature[] = "signature";
    result.id = (uint64_t)turn << 32 | (slot + 1);
    result.signature = (ProtobufCBinaryData){.data = signature, .len = sizeof signature};
    signer_on_result(&signer, &result);
}

Test(signer, peers_that_come_and_go_leave_the_agent_no_more_than_it_had_begun, .timeout = 20)
{
    uv_loop_t loop;
    int agent_fd = begin(&loop);
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert(ask());
        signer_cancel(&signer, &job);
    }
    cr_assert(signer.num_asked == SIGN_ASKED_MAX && signer.num_queued == 0);
    cr_assert(ask() && signer.num_queued == 1, "it waits for its turn");
    for (uint32_t slot = 0; slot < SIGN_ASKED_MAX; slot++) {
        answer(slot, 1);
        answer(slot, 1); // said twice: nobody's
    }
    cr_assert(signer.num_asked == 1 && signer.num_queued == 0 && job.state == SIGN_WAITING);
    answer(job.slot, 2);
    cr_assert(num_done == 1 && job.state == SIGN_DONE && signer_num_pending(&signer) == 0);
    end(&loop, agent_fd);
}

Test(signer, those_who_call_and_those_who_are_called_take_turns_the_oldest_first, .timeout = 20)
{
    uv_loop_t loop;
    int agent_fd = begin(&loop);
    const unsigned num = SIGN_ASKED_MAX + 4;
    for (unsigned i = 0; i < num; i++) {
        others[i] = (struct sign_job){.on_done = on_done, .lane = SIGN_FOR_CALLERS};
        cr_assert(ask_for(&others[i]));
    }
    job.lane = SIGN_FOR_CALLS;
    cr_assert(ask() && signer.num_queued == 5);
    answer(0, 1);
    answer(1, 1);
    cr_assert(list_is_linked(&job.link) + list_is_linked(&others[SIGN_ASKED_MAX].link) == 0,
              "one of each lane was asked for");
    cr_assert(list_is_linked(&others[SIGN_ASKED_MAX + 1].link));
    signer_fail_all(&signer);
    for (unsigned i = 0; i < num; i++) {
        cr_assert(others[i].state == SIGN_FAILED || others[i].state == SIGN_DONE);
        signer_cancel(&signer, &others[i]);
    }
    cr_assert(num_done == num + 1 && signer_num_pending(&signer) == 0);
    end(&loop, agent_fd);
}

Test(signer, a_late_answer_meets_nobody_else, .timeout = 20)
{
    uv_loop_t loop;
    int agent_fd = begin(&loop);
    cr_assert(ask());
    uint32_t slot = job.slot;
    signer_cancel(&signer, &job);
    cr_assert(ask());
    cr_assert(job.slot != slot);
    answer(slot, 1);
    cr_assert(num_done == 0 && job.state == SIGN_WAITING);
    answer(job.slot, 1);
    cr_assert(num_done == 1 && job.state == SIGN_DONE);
    end(&loop, agent_fd);
}

Test(signer, a_link_that_breaks_under_a_request_fails_it_once, .timeout = 20)
{
    uv_loop_t loop;
    int agent_fd = begin(&loop);
    agent_link.pipe.spec.unsent_bytes_max = 0; // as if so much were waiting
    cr_assert(!ask());
    cr_assert(!agent_link.pipe.is_open && job.state == SIGN_FAILED);
    cr_assert(signer.num_asked == 0, "each slot is free once");
    end(&loop, agent_fd);
}
