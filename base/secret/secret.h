// SPDX-License-Identifier: Apache-2.0
//
// The memory that private keys lie in, of a program that has any: locked, so that it never reaches
// swap, left out of core files, empty in a child, and wiped when it is given back. The program
// opens it once (process_keep_secrets), before its first key, and before it gives up privileges:
// CAP_IPC_LOCK locks more than RLIMIT_MEMLOCK allows. After that any thread may use it.
//
// SECRET_BYTES are reserved. They are used from the front, which is what is locked where not all
// can be; whoever opened it is told of the first allocation beyond that. Where it was not opened,
// or nothing is left, memory comes from malloc, and is wiped all the same.
#ifndef TABARD_BASE_SECRET_H
#define TABARD_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

// Sixteen keys of ML-DSA-65, some 32 KiB each, and what signing takes. Pages that were never used
// take no memory.
#define SECRET_BYTES (1 << 20)

// Of the stack, wiped behind secret_end: more than a library's frames for reading a key or signing.
#define SECRET_STACK_BYTES (16 << 10)

struct secret_facts {
    size_t locked_len; // of SECRET_BYTES, from the front
    bool is_left_out;  // of core files and of children; false: this kernel can't
};

// secret_open reserves the memory, and aborts if there is none. on_overflow is called once, on any
// thread, when the first allocation lies beyond what is locked.
struct secret_facts secret_open(void (*on_overflow)(size_t locked_len));

// secret_alloc returns memory of len bytes or more, aligned for anything, which is not zeroed, or
// NULL if there is none. secret_free wipes and frees it, and takes what malloc gave, too, and NULL.
void *secret_alloc(size_t len) __attribute__((malloc));
void secret_free(void *ptr);

// secret_len returns how many bytes an allocation of secret_alloc or malloc has room for; of NULL,
// 0.
size_t secret_len(void *ptr);

// Between secret_begin and secret_end whatever BoringSSL allocates on this thread comes from here
// (certs/memory.c). Each use of a private key stands between both, and they may be nested.
// secret_end also wipes the stack below its caller, where functions that have returned may have
// left a part of a key.
void secret_begin(void);
void secret_end(void);
bool secret_is_begun(void);

#endif
