// SPDX-License-Identifier: Apache-2.0
#include "certs/key.h"

#include <openssl/bytestring.h>
#include <openssl/nid.h>
#include <openssl/obj.h>

static const char *nid_text(int nid)
{
    const char *name = nid == NID_undef ? NULL : OBJ_nid2sn(nid);
    return name == NULL ? "an unknown algorithm" : name;
}

// Takes an AlgorithmIdentifier without parameters (absent or NULL), or with `out_parameters`.
static bool read_algorithm(CBS *in, int *out_nid, CBS *out_parameters)
{
    CBS sequence, oid;
    if (!CBS_get_asn1(in, &sequence, CBS_ASN1_SEQUENCE) ||
        !CBS_get_asn1(&sequence, &oid, CBS_ASN1_OBJECT)) {
        return false;
    }
    *out_nid = OBJ_cbs2nid(&oid);
    if (out_parameters != NULL) {
        *out_parameters = sequence;
        return true;
    }
    CBS null;
    return CBS_len(&sequence) == 0 || (CBS_get_asn1(&sequence, &null, CBS_ASN1_NULL) &&
                                       CBS_len(&null) == 0 && CBS_len(&sequence) == 0);
}

// The parameters of RSA-PSS (RFC 4055, section 3.1).
struct pss {
    int digest_nid;
    int mask_nid; // the digest of MGF1
    uint64_t salt_len;
    uint64_t trailer;
};

static bool read_field(CBS *in, unsigned number, CBS *out, int *out_is_present)
{
    return CBS_get_optional_asn1(in, out, out_is_present,
                                 CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | number);
}

static bool read_number(CBS *in, unsigned number, uint64_t *out)
{
    CBS field;
    int is_present = 0;
    return read_field(in, number, &field, &is_present) &&
           (!is_present || (CBS_get_asn1_uint64(&field, out) && CBS_len(&field) == 0));
}

static bool read_digest(CBS *in, int *out_nid)
{
    CBS field;
    int is_present = 0;
    return read_field(in, 0, &field, &is_present) &&
           (!is_present || (read_algorithm(&field, out_nid, NULL) && CBS_len(&field) == 0));
}

static bool read_mask(CBS *in, int *out_nid)
{
    CBS field, parameters;
    int is_present = 0;
    int nid = NID_undef;
    if (!read_field(in, 1, &field, &is_present) || !is_present) {
        return is_present == 0;
    }
    return read_algorithm(&field, &nid, &parameters) && CBS_len(&field) == 0 && nid == NID_mgf1 &&
           read_algorithm(&parameters, out_nid, NULL) && CBS_len(&parameters) == 0;
}

// A parameter that is absent has RFC 4055's default, which is SHA-1 for both digests.
static bool read_pss(struct pss *out, const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object;
    const void *value;
    int type;
    X509_ALGOR_get0(&object, &type, &value, algorithm);
    *out = (struct pss){.digest_nid = NID_sha1, .mask_nid = NID_sha1, .salt_len = 20, .trailer = 1};
    if (type != V_ASN1_SEQUENCE) {
        return false;
    }
    const ASN1_STRING *der = value;
    CBS in, fields;
    CBS_init(&in, ASN1_STRING_get0_data(der), (size_t)ASN1_STRING_length(der));
    return CBS_get_asn1(&in, &fields, CBS_ASN1_SEQUENCE) && CBS_len(&in) == 0 &&
           read_digest(&fields, &out->digest_nid) && read_mask(&fields, &out->mask_nid) &&
           read_number(&fields, 2, &out->salt_len) && read_number(&fields, 3, &out->trailer) &&
           CBS_len(&fields) == 0;
}

// In bytes, of a digest that is accepted; of any other, 0.
static uint64_t digest_len_of(int nid)
{
    return nid == NID_sha256 ? 32 : nid == NID_sha384 ? 48 : nid == NID_sha512 ? 64 : 0;
}

static bool check_pss(const X509_ALGOR *algorithm, struct err *err)
{
    struct pss pss;
    if (!read_pss(&pss, algorithm)) {
        return err_set(err, "signed with RSA-PSS whose parameters can't be read");
    }
    uint64_t digest_len = digest_len_of(pss.digest_nid);
    if (digest_len == 0) {
        return err_set(err, "signed with RSA-PSS and %s; accepted are SHA-256, SHA-384 and SHA-512",
                       nid_text(pss.digest_nid));
    }
    if (pss.mask_nid != pss.digest_nid) {
        return err_set(
            err,
            "signed with RSA-PSS whose mask is made with %s and whose digest is %s; both "
            "must be the same",
            nid_text(pss.mask_nid), nid_text(pss.digest_nid));
    }
    if (pss.salt_len != digest_len) {
        return err_set(err,
                       "signed with RSA-PSS and a salt of %llu bytes; it must be as long as the "
                       "digest, %llu bytes",
                       (unsigned long long)pss.salt_len, (unsigned long long)digest_len);
    }
    return pss.trailer == 1 || err_set(err, "signed with RSA-PSS whose trailer field is not 1");
}

bool key_signature_check(const X509_ALGOR *algorithm, struct err *err)
{
    const ASN1_OBJECT *object;
    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    int nid = OBJ_obj2nid(object);
    switch (nid) {
    case NID_ML_DSA_44:
    case NID_ML_DSA_65:
    case NID_ED25519:
    case NID_ecdsa_with_SHA256:
    case NID_ecdsa_with_SHA384:
    case NID_ecdsa_with_SHA512:
    case NID_sha256WithRSAEncryption:
    case NID_sha384WithRSAEncryption:
    case NID_sha512WithRSAEncryption:
        return true;
    case NID_rsassaPss:
        return check_pss(algorithm, err);
    default:
        return err_set(err,
                       "signed with %s; accepted are ML-DSA-44, ML-DSA-65, Ed25519, and ECDSA or "
                       "RSA with SHA-256 or better",
                       nid_text(nid));
    }
}
