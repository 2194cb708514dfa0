// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "certs/key.h"

// Pieces of DER: AlgorithmIdentifiers, and the fields of RSA-PSS's parameters.
#define MD5                         "300c06082a864886f70d02050500"
#define SHA1                        "300906052b0e03021a0500"
#define SHA256                      "300d06096086480165030402010500"
#define SHA256_BARE                 "300b0609608648016503040201"
#define SHA384                      "300d06096086480165030402020500"
#define SHA512                      "300d06096086480165030402030500"
#define SHA224                      "300d06096086480165030402040500"
#define HASH(len, algorithm)        "a0" len algorithm
#define MASK(len, inner, algorithm) "a1" len "30" inner "06092a864886f70d010108" algorithm
#define PSS(len, inner, parameters) "30" len "06092a864886f70d01010a30" inner parameters
#define SALT(bytes)                 "a2030201" bytes
#define TRAILER(byte)               "a3030201" byte

static const struct {
    const char *name;
    const char *der;   // an AlgorithmIdentifier
    const char *words; // NULL: accepted
} rows[] = {
    {"Ed25519", "300506032b6570", NULL},
    {"ML-DSA-44", "300b0609608648016503040311", NULL},
    {"ML-DSA-65", "300b0609608648016503040312", NULL},
    {"ML-DSA-87", "300b0609608648016503040313", "id-ml-dsa-87"},
    {"ML-DSA-44 with SHA-512 before it", "300b0609608648016503040320", "an unknown algorithm"},
    {"ECDSA with SHA-1", "300906072a8648ce3d0401", "ecdsa-with-SHA1"},
    {"ECDSA with SHA-224", "300a06082a8648ce3d040301", "ecdsa-with-SHA224"},
    {"ECDSA with SHA-256", "300a06082a8648ce3d040302", NULL},
    {"ECDSA with SHA-384", "300a06082a8648ce3d040303", NULL},
    {"ECDSA with SHA-512", "300a06082a8648ce3d040304", NULL},
    {"RSA with MD5", "300d06092a864886f70d0101040500", "RSA-MD5"},
    {"RSA with SHA-1", "300d06092a864886f70d0101050500", "RSA-SHA1"},
    {"RSA with SHA-224", "300d06092a864886f70d01010e0500", "RSA-SHA224"},
    {"RSA with SHA-256", "300d06092a864886f70d01010b0500", NULL},
    {"RSA with SHA-384", "300d06092a864886f70d01010c0500", NULL},
    {"RSA with SHA-512", "300d06092a864886f70d01010d0500", NULL},
    {"an algorithm that nobody knows", "300606042a030405", "an unknown algorithm"},
    {"PSS with SHA-256", PSS("41", "34", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("20")),
     NULL},
    {"PSS with SHA-256, without NULL",
     PSS("3d", "30", HASH("0d", SHA256_BARE) MASK("1a", "18", SHA256_BARE) SALT("20")), NULL},
    {"PSS with SHA-256 and the trailer said",
     PSS("46", "39", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("20") TRAILER("01")), NULL},
    {"PSS with SHA-384", PSS("41", "34", HASH("0f", SHA384) MASK("1c", "1a", SHA384) SALT("30")),
     NULL},
    {"PSS with SHA-512", PSS("41", "34", HASH("0f", SHA512) MASK("1c", "1a", SHA512) SALT("40")),
     NULL},
    {"PSS with SHA-256 and the default salt, which is 20",
     PSS("3c", "2f", HASH("0f", SHA256) MASK("1c", "1a", SHA256)),
     "a salt of 20 bytes; it must be as long as the digest, 32"},
    {"PSS with the longest salt of OpenSSL",
     PSS("42", "35", HASH("0f", SHA256) MASK("1c", "1a", SHA256) "a204020200de"),
     "a salt of 222 bytes"},
    {"PSS with SHA-384 and a salt for SHA-256",
     PSS("41", "34", HASH("0f", SHA384) MASK("1c", "1a", SHA384) SALT("20")),
     "a salt of 32 bytes; it must be as long as the digest, 48"},
    {"PSS with all defaults, which are SHA-1", PSS("0d", "00", ""), "SHA1"},
    {"PSS with SHA-1 said", PSS("39", "2c", HASH("0b", SHA1) MASK("18", "16", SHA1) SALT("14")),
     "SHA1"},
    {"PSS with MD5", PSS("3f", "32", HASH("0e", MD5) MASK("1b", "19", MD5) SALT("20")), "MD5"},
    {"PSS with SHA-224", PSS("41", "34", HASH("0f", SHA224) MASK("1c", "1a", SHA224) SALT("20")),
     "SHA224"},
    {"PSS with SHA-256 and the default mask, which is SHA-1",
     PSS("23", "16", HASH("0f", SHA256) SALT("20")), "mask is made with SHA1"},
    {"PSS with SHA-256 and a mask of SHA-1",
     PSS("3d", "30", HASH("0f", SHA256) MASK("18", "16", SHA1) SALT("20")),
     "mask is made with SHA1"},
    {"PSS with SHA-256 and a mask of SHA-512",
     PSS("41", "34", HASH("0f", SHA256) MASK("1c", "1a", SHA512) SALT("20")), "mask is made"},
    {"PSS with the default digest and a mask of SHA-256",
     PSS("30", "23", MASK("1c", "1a", SHA256) SALT("20")), "SHA1"},
    {"PSS without salt", PSS("41", "34", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("00")),
     "a salt of 0 bytes"},
    {"PSS with a negative salt",
     PSS("41", "34", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("ff")), "can't be read"},
    {"PSS with another trailer",
     PSS("46", "39", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("20") TRAILER("02")),
     "trailer"},
    {"PSS without parameters", "300b06092a864886f70d01010a", "can't be read"},
    {"PSS with NULL", "300d06092a864886f70d01010a0500", "can't be read"},
    {"PSS with bytes that follow",
     PSS("43", "36", HASH("0f", SHA256) MASK("1c", "1a", SHA256) SALT("20") "0500"),
     "can't be read"},
    {"PSS with a mask that is not MGF1",
     PSS("41", "34", HASH("0f", SHA256) "a11c301a06092a864886f70d010109" SHA256 SALT("20")),
     "can't be read"},
};

Test(key, a_signature_is_judged_by_its_algorithm_and_its_parameters, .timeout = 20)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t der[128];
        size_t len = strlen(rows[i].der) / 2;
        cr_assert_leq(len, sizeof der);
        for (size_t j = 0; j < len; j++) {
            cr_assert_eq(sscanf(rows[i].der + 2 * j, "%2hhx", &der[j]), 1);
        }
        const uint8_t *end = der;
        X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &end, (long)len);
        cr_assert_not_null(algorithm, "%s", rows[i].name);
        cr_assert_eq(end, der + len, "%s", rows[i].name);
        struct err err = {0};
        bool is_accepted = key_signature_check(algorithm, &err);
        cr_expect_eq(is_accepted, rows[i].words == NULL, "%s: %s", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL,
                  "%s: \"%s\" lacks \"%s\"", rows[i].name, err.text, rows[i].words);
        X509_ALGOR_free(algorithm);
    }
}
