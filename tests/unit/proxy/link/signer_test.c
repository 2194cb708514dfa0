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
    signer = (struct signer){.link = &agent_link};
    job = (struct sign_job){.on_done = on_done};
    num_done = 0;
    return fds[1];
}

static void end(uv_loop_t *loop, int agent_fd)
{
    signer_cancel(&signer, &job);
    link_close(&agent_link);
    uv_run(loop, UV_RUN_DEFAULT);
    signer_cleanup(&signer);
    cr_assert(uv_loop_close(loop) == 0);
    close(agent_fd);
}

static bool ask(void)
{
    static const uint8_t key_id[CONTRACT_KEY_ID_LEN];
    static const uint8_t input[INPUT_LEN];
    return signer_ask(&signer, &job, key_id, ED25519, input, sizeof input);
}

static void answer(uint32_t slot, uint32_t turn)
{
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    uint8_t signature[] = "signature";
    result.id = (uint64_t)turn << 32 | (slot + 1);
    result.signature = (ProtobufCBinaryData){.data = signature, .len = sizeof signature};
    signer_on_result(&signer, &result);
}

Test(signer, peers_that_come_and_go_cannot_fill_the_link_to_an_agent_that_is_slow, .timeout = 20)
{
    uv_loop_t loop;
    int agent_fd = begin(&loop);
    unsigned num_asked = 0;
    for (unsigned i = 0; i < 4 * SIGN_JOBS_MAX; i++) {
        num_asked += ask();
        signer_cancel(&signer, &job);
    }
    cr_assert(agent_link.pipe.is_open, "the agent counts as gone only if it is");
    cr_assert(num_asked == SIGN_JOBS_MAX && signer.num_abandoned == SIGN_JOBS_MAX);
    for (uint32_t slot = 0; slot < SIGN_JOBS_MAX; slot++) {
        answer(slot, 1);
        answer(slot, 1); // said twice: nobody's
    }
    cr_assert(signer.num_abandoned == 0);
    cr_assert(ask());
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
    uint32_t num_free = 0;
    for (uint32_t at = signer.first_free; at != 0 && num_free <= signer.num_slots; num_free++) {
        at = signer.slots[at - 1].next_free;
    }
    cr_assert(num_free == signer.num_slots, "each slot is free once");
    end(&loop, agent_fd);
}
