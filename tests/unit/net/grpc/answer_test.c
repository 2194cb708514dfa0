// SPDX-License-Identifier: Apache-2.0
//
// Every way in which a server may answer a call, and what our client makes of it.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net/grpc/raw.h"

TestSuite(answer, .timeout = 60);

static struct raw raw; // large

// The answers that a server may give to one call, in a small language.
enum act {
    END,
    RESPONSE,
    MESSAGE,
    MESSAGE_END,
    HALF,
    HALF_END,
    TRAILERS,
    RESET,
    HEADERS,
    HEADERS_END
};

struct step {
    enum act act;
    const char *text;  // a message, a grpc-status
    const char *words; // a grpc-message
    uint32_t code;     // of a RESET
    const char *pairs[9];
};

static void play(const struct step *step, int32_t stream)
{
    uint8_t code[4] = {0, 0, 0, (uint8_t)step->code};
    switch (step->act) {
    case RESPONSE:
        raw_response(&raw, stream);
        break;
    case MESSAGE:
        raw_message(&raw, 0, stream, step->text);
        break;
    case MESSAGE_END:
        raw_message(&raw, NGHTTP2_FLAG_END_STREAM, stream, step->text);
        break;
    case HALF:
        raw_frame(&raw, NGHTTP2_DATA, 0, stream, "\0\0\0\0\x09half", 9);
        break;
    case HALF_END:
        raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "\0\0\0\0\x09half", 9);
        break;
    case TRAILERS:
        raw_trailers(&raw, stream, step->text, step->words);
        break;
    case RESET:
        raw_frame(&raw, NGHTTP2_RST_STREAM, 0, stream, code, sizeof code);
        break;
    case HEADERS:
        raw_headers(&raw, 0, stream, step->pairs);
        break;
    case HEADERS_END:
        raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, stream, step->pairs);
        break;
    case END:
        break;
    }
}

struct answer {
    const char *name;
    struct step steps[6];
    unsigned num_messages;
    enum grpc_code code;
    const char *words; // in the status's message
    bool is_unprocessed;
};

#define RESPONDS                                                                                   \
    {                                                                                              \
        .act = RESPONSE                                                                            \
    }
#define SAYS(text_)                                                                                \
    {                                                                                              \
        .act = MESSAGE, .text = (text_)                                                            \
    }
#define ENDS(code_)                                                                                \
    {                                                                                              \
        .act = TRAILERS, .text = (code_)                                                           \
    }
#define RESETS(code_)                                                                              \
    {                                                                                              \
        .act = RESET, .code = (code_)                                                              \
    }
#define HEADS(...)                                                                                 \
    {                                                                                              \
        .act = HEADERS, .pairs = { __VA_ARGS__ }                                                   \
    }
#define HEADS_AND_END(...)                                                                         \
    {                                                                                              \
        .act = HEADERS_END, .pairs = { __VA_ARGS__ }                                               \
    }
#define GRPC_TYPE "content-type", "application/grpc"

static const struct answer answers[] = {
    {.name = "a usual answer",
     .steps = {RESPONDS, SAYS("a"), ENDS("0")},
     .num_messages = 1,
     .code = GRPC_OK,
     .words = ""},
    {.name = "trailers with words",
     .steps = {RESPONDS, {.act = TRAILERS, .text = "5", .words = "no %E2%82%AC"}},
     .code = GRPC_NOT_FOUND,
     .words = "no \xe2\x82\xac"},
    {.name = "trailers-only",
     .steps = {HEADS_AND_END(":status", "200", GRPC_TYPE, "grpc-status", "7", "grpc-message",
                             "go")},
     .code = GRPC_PERMISSION_DENIED,
     .words = "go"},
    {.name = "trailers-only without a status",
     .steps = {HEADS_AND_END(":status", "200", GRPC_TYPE)},
     .code = GRPC_UNKNOWN,
     .words = "without a status"},
    {.name = "1xx before the answer",
     .steps = {HEADS(":status", "103", "link", "x"), RESPONDS, SAYS("a"), ENDS("0")},
     .num_messages = 1,
     .code = GRPC_OK,
     .words = ""},
    {.name = "END_STREAM without trailers",
     .steps = {RESPONDS, {.act = MESSAGE_END, .text = "a"}},
     .num_messages = 1,
     .code = GRPC_UNKNOWN,
     .words = "without a status"},
    {.name = "half a message and END_STREAM",
     .steps = {RESPONDS, {.act = HALF_END}},
     .code = GRPC_INTERNAL,
     .words = "in the middle of a message"},
    {.name = "half a message and trailers that say OK",
     .steps = {RESPONDS, SAYS("a"), {.act = HALF}, ENDS("0")},
     .num_messages = 1,
     .code = GRPC_INTERNAL,
     .words = "in the middle of a message"},
    {.name = "half a message and trailers that say why",
     .steps = {RESPONDS, {.act = HALF}, ENDS("14")},
     .code = GRPC_UNAVAILABLE,
     .words = ""},
    {.name = "trailers without grpc-status",
     .steps = {RESPONDS, HEADS_AND_END("x", "y")},
     .code = GRPC_UNKNOWN,
     .words = "no grpc-status"},
    {.name = "a grpc-status that is no number",
     .steps = {RESPONDS, ENDS("fine")},
     .code = GRPC_UNKNOWN,
     .words = ""},
    {.name = "a grpc-status that is no code",
     .steps = {RESPONDS, ENDS("99")},
     .code = GRPC_UNKNOWN,
     .words = ""},
    {.name = "HTTP 404",
     .steps = {HEADS(":status", "404", "content-type", "text/html")},
     .code = GRPC_UNIMPLEMENTED,
     .words = "HTTP 404"},
    {.name = "HTTP 503 and its end",
     .steps = {HEADS_AND_END(":status", "503")},
     .code = GRPC_UNAVAILABLE,
     .words = "HTTP 503"},
    {.name = "HTTP 500 with a grpc-status",
     .steps = {HEADS_AND_END(":status", "500", "grpc-status", "9")},
     .code = GRPC_FAILED_PRECONDITION,
     .words = ""},
    {.name = "a foreign content-type",
     .steps = {HEADS(":status", "200", "content-type", "text/html"), SAYS("<html>")},
     .code = GRPC_UNKNOWN,
     .words = "content-type"},
    {.name = "RST_STREAM REFUSED_STREAM",
     .steps = {RESETS(NGHTTP2_REFUSED_STREAM)},
     .code = GRPC_UNAVAILABLE,
     .words = "REFUSED_STREAM",
     .is_unprocessed = true},
    {.name = "RST_STREAM CANCEL after a message",
     .steps = {RESPONDS, SAYS("a"), RESETS(NGHTTP2_CANCEL)},
     .code = GRPC_CANCELLED,
     .words = "CANCEL"},
    {.name = "RST_STREAM NO_ERROR before trailers",
     .steps = {RESPONDS, RESETS(NGHTTP2_NO_ERROR)},
     .code = GRPC_INTERNAL,
     .words = "NO_ERROR"},
    {.name = "RST_STREAM NO_ERROR after trailers",
     .steps = {RESPONDS, ENDS("0"), RESETS(NGHTTP2_NO_ERROR)},
     .code = GRPC_OK,
     .words = ""},
    {.name = "RST_STREAM ENHANCE_YOUR_CALM",
     .steps = {RESETS(NGHTTP2_ENHANCE_YOUR_CALM)},
     .code = GRPC_RESOURCE_EXHAUSTED,
     .words = "CALM"},
    {.name = "upper-case header names",
     .steps = {HEADS(":status", "200", "Content-Type", "x")},
     .code = GRPC_INTERNAL,
     .words = "PROTOCOL_ERROR"},
};

Test(answer, every_way_to_answer_gives_one_end_with_the_right_code)
{
    struct rig rig = {.num_ready = 0};
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct answer *row = &answers[i];
        struct seen seen = {.num_ends = 0};
        struct raw_frame frame;
        rig_unary(&rig, "Numbers", "x", 1, &seen);
        cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, -1, &frame), "%s", row->name);
        for (size_t j = 0; row->steps[j].act != END; j++) {
            play(&row->steps[j], frame.stream);
        }
        cr_assert(rig_wait(&rig, &seen.num_ends, 1), "%s: no end", row->name);
        cr_expect_eq(seen.status.code, row->code, "%s: %s %s", row->name,
                     grpc_code_name(seen.status.code), seen.message);
        cr_expect_not_null(strstr(seen.message, row->words), "%s: %s", row->name, seen.message);
        cr_expect_eq(seen.status.is_unprocessed, row->is_unprocessed, "%s", row->name);
        if (row->steps[1].act == MESSAGE && row->code == GRPC_CANCELLED) {
            cr_expect_leq(seen.num_messages, 1);
        } else {
            cr_expect_eq(seen.num_messages, row->num_messages, "%s", row->name);
        }
        rig_settle(&rig);
        cr_expect_eq(seen.num_ends, 1, "%s: more than one end", row->name);
    }
    cr_expect_eq(rig.num_down, 0, "%s", rig.down_why);
    raw_stop(&raw, &rig);
}
