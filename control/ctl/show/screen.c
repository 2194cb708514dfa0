// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // fopencookie
#include "control/ctl/show/screen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"

struct stream {
    int fd;
    bool is_passed_through;
    struct screen_state state;
};

static struct stream streams[] = {{.fd = STDOUT_FILENO}, {.fd = STDERR_FILENO}};

static void push_byte(struct bytes *out, unsigned char byte, bool is_order)
{
    if (is_order) {
        bytes_push_format(out, "\\x%02x", byte);
    } else {
        bytes_push(out, &byte, 1);
    }
}

// Takes a byte that continues no character: ASCII, or the first of a character.
static void push_first(struct bytes *out, struct screen_state *state, unsigned char byte)
{
    if (byte == 0xc2) { // U+0080 to U+00BF: the half of them are control characters
        state->held = byte;
        return;
    }
    state->num_awaited = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc3 ? 1 : 0;
    bool is_control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    push_byte(out, byte, is_control || (byte >= 0x80 && byte < 0xc3) || byte > 0xf4);
}

void screen_push(struct bytes *out, struct screen_state *state, const char *text, size_t len,
                 bool is_end)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool continues = (byte & 0xc0) == 0x80;
        if (state->held != 0) {
            bool is_order = byte < 0xa0 || !continues;
            push_byte(out, state->held, is_order);
            state->held = 0;
            if (continues) {
                push_byte(out, byte, is_order);
                continue;
            }
        } else if (state->num_awaited > 0 && continues) {
            state->num_awaited--;
            push_byte(out, byte, false);
            continue;
        }
        push_first(out, state, byte);
    }
    if (is_end) {
        if (state->held != 0) {
            push_byte(out, state->held, true);
        }
        *state = (struct screen_state){0};
    }
}

static bool write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        text += written < 0 ? 0 : written;
        len -= written < 0 ? 0 : (size_t)written;
    }
    return true;
}

static ssize_t on_write(void *cookie, const char *text, size_t len)
{
    struct stream *stream = cookie;
    if (stream->is_passed_through) {
        return write_all(stream->fd, text, len) ? (ssize_t)len : 0;
    }
    struct bytes clean = {0};
    screen_push(&clean, &stream->state, text, len, false);
    bool ok = write_all(stream->fd, (const char *)clean.at, clean.len);
    bytes_cleanup(&clean);
    return ok ? (ssize_t)len : 0; // 0 is a failure to stdio
}

void screen_begin(void)
{
    static const cookie_io_functions_t functions = {.write = on_write};
    FILE *out = must_have(fopencookie(&streams[0], "w", functions));
    FILE *complaints = must_have(fopencookie(&streams[1], "w", functions));
    setvbuf(out, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
    setvbuf(complaints, NULL, _IOLBF, BUFSIZ);
    stdout = out;
    stderr = complaints;
}

void screen_pass_through(void)
{
    fflush(stdout);
    streams[0].is_passed_through = true;
}

static void clean_text(char **text)
{
    struct bytes clean = {0};
    struct screen_state state = {0};
    if (*text == NULL || *text == protobuf_c_empty_string) {
        return;
    }
    screen_push(&clean, &state, *text, strlen(*text), true);
    struct bytes line = {0};
    for (size_t i = 0; i < clean.len; i++) {
        push_byte(&line, clean.at[i], clean.at[i] == '\n' || clean.at[i] == '\t');
    }
    bytes_cleanup(&clean);
    free(*text);
    *text = bytes_take_text(&line);
}

static void clean_value(const ProtobufCFieldDescriptor *field, void *at)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        clean_text(at);
    } else if (*(ProtobufCMessage **)at != NULL) {
        screen_clean(*(ProtobufCMessage **)at);
    }
}

void screen_clean(ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        void *at = (char *)message + field->offset;
        const void *quantity = (const char *)message + field->quantifier_offset;
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            for (size_t k = 0; k < *(const size_t *)quantity; k++) {
                clean_value(field, *(char **)at + k * sizeof(void *));
            }
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
                   *(const uint32_t *)quantity == field->id) {
            clean_value(field, at);
        }
    }
}
