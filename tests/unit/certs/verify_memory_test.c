// SPDX-License-Identifier: Apache-2.0
//
// Shows what a lack of memory does to a verification. This program's own malloc fails once, when it
// is told to; a sanitizer brings one that can't be replaced.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/certs/fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_OWN_MALLOC false
static long num_until_failure;
#else
#define HAS_OWN_MALLOC true
static long num_until_failure; // 0: none fails

static bool fails_now(void)
{
    return num_until_failure > 0 && --num_until_failure == 0;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t num, size_t size);
void *__libc_realloc(void *ptr, size_t size);

void *malloc(size_t size)
{
    return fails_now() ? NULL : __libc_malloc(size);
}

void *calloc(size_t num, size_t size)
{
    return fails_now() ? NULL : __libc_calloc(num, size);
}

void *realloc(void *ptr, size_t size)
{
    return fails_now() ? NULL : __libc_realloc(ptr, size);
}
#endif

// Verifies in a process of its own, where the n-th allocation fails. Returns the status that
// waitpid gives; exit status 0: the chain is good, 1: no allocation was left to fail.
static int verify_without(long n, const struct trust_bundles *bundles, X509 *leaf, X509 *issuer)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct verified_peer peer;
        struct err err = {0};
        CRYPTO_BUFFER *chain[2];
        X509 *certs[] = {leaf, issuer};
        for (size_t i = 0; i < 2; i++) {
            uint8_t *der;
            size_t len;
            mint_cert_der(&der, &len, certs[i]);
            chain[i] = CRYPTO_BUFFER_new(der, len, NULL);
        }
        num_until_failure = n;
        enum verify_failure failure = verify_peer(&peer, chain, 2, bundles, NOW, &err);
        if (failure != VERIFY_OK) {
            dprintf(STDERR_FILENO, "%ld: %s: %s\n", n, verify_failure_text(failure), err.text);
            _exit(2);
        }
        _exit(num_until_failure > 0 ? 1 : 0);
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

Test(verify_memory, a_good_chain_is_never_called_bad_for_want_of_memory, .timeout = 120)
{
    if (!HAS_OWN_MALLOC) {
        cr_skip_test("a sanitizer brings its own malloc");
    }
    struct world w;
    world_init(&w);
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, crl, NULL);
    long num_aborts = 0;
    long n = 1;
    int status;
    for (; !WIFEXITED(status = verify_without(n, bundles, leaf, w.intermediate.cert)) ||
           WEXITSTATUS(status) != 1;
         n++) {
        bool has_aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        num_aborts += has_aborted;
        cr_expect(has_aborted || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                  "allocation %ld: status %d", n, status);
    }
    cr_expect_gt(n, 100, "%ld allocations", n);
    cr_expect_gt(num_aborts, 50, "%ld aborts of %ld", num_aborts, n);
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    X509_free(leaf);
    world_cleanup(&w);
}
