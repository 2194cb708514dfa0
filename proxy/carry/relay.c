// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/relay.h"

#include "proxy/carry/tls.h"

// Moves plain bytes. Where the target has no block of its own, the source's changes hands.
static size_t move_plain(struct ring *from, struct ring *to)
{
    if (to->bytes == NULL) {
        size_t moved = from->len;
        *to = *from;
        *from = (struct ring){0};
        return moved;
    }
    size_t first_len;
    const uint8_t *first = ring_head(from, &first_len);
    size_t moved = ring_write(to, first, first_len);
    ring_pull(from, moved);
    return moved;
}

// One turn from source to target. TLS_EOF: the source's clean end, with nothing left before it.
static enum tls_result move(struct flow *flow, size_t *out_len)
{
    struct side *source = flow->source;
    struct side *target = flow->target;
    *out_len = 0;
    if (source->ssl != NULL) {
        if (source->has_close_notify) {
            return TLS_EOF;
        }
        if (!tls_has_bytes(source) || ring_space(&target->out) == 0) {
            return TLS_WAIT;
        }
        return tls_read(source, target, &target->out, out_len);
    }
    if (source->in.len == 0) {
        return source->is_eof ? TLS_EOF : TLS_WAIT;
    }
    enum tls_result result = TLS_OK;
    if (target->ssl != NULL) {
        result = tls_write(target, &source->in, out_len);
    } else {
        *out_len = move_plain(&source->in, &target->out);
    }
    side_settle(source, &source->in);
    return result;
}

enum reason relay_reset_of(const struct side *side)
{
    return side->is_mesh ? REASON_PEER_RESET : REASON_LOCAL_RESET;
}

static enum reason pass_end_on(struct flow *flow)
{
    struct side *target = flow->target;
    if (target->ssl == NULL || tls_close_notify(target)) {
        flow->is_ending = true;
        target->wants_finish = true;
        side_flush(target);
    }
    return REASON_NONE;
}

enum reason relay_step(struct flow *flow, const char **out_detail)
{
    struct side *source = flow->source;
    struct side *target = flow->target;
    *out_detail = NULL;
    tls_begin_turn(source);
    for (;;) {
        size_t moved = 0;
        enum tls_result result = flow->is_ending ? TLS_WAIT : move(flow, &moved);
        flow->num_bytes += moved;
        side_flush(target);
        if (result == TLS_TRUNCATED) {
            return REASON_TRUNCATED;
        }
        if (result == TLS_FAILED) {
            return tls_reason(out_detail);
        }
        if (target->error != 0 || source->error != 0) {
            const struct side *failed = target->error != 0 ? target : source;
            *out_detail = side_error_text(failed);
            return relay_reset_of(failed);
        }
        if (result == TLS_EOF) {
            return pass_end_on(flow);
        }
        if (moved == 0) {
            return REASON_NONE;
        }
    }
}

bool relay_wants_read(const struct flow *flow)
{
    const struct side *source = flow->source;
    return source->in.len == 0 && !source->has_close_notify && flow->target->out.len == 0;
}

bool relay_is_done(const struct flow *flow)
{
    return flow->is_ending && flow->target->is_finished;
}

bool relay_is_parting(const struct flow *up, const struct flow *down, enum reason reason)
{
    if (reason != REASON_LOCAL_RESET && reason != REASON_PEER_RESET) {
        return false;
    }
    bool is_to_failed = up->target->is_mesh == (reason == REASON_PEER_RESET);
    const struct flow *to = is_to_failed ? up : down;
    const struct flow *from = is_to_failed ? down : up;
    return relay_is_done(to) && !from->is_ending;
}
