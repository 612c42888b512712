/* A fresh self-signed P-256 certificate and key in files of a temporary directory, for tests.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TEST_CERT_H
#define SORI_TEST_CERT_H

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct test_cert {
    char dir[64], cert[96], key[96];
};

/* Makes the two files. Returns 0, or -1 with nothing usable. */
static inline int test_cert_make(struct test_cert *c)
{
    snprintf(c->dir, sizeof c->dir, "/tmp/sori-cert-XXXXXX");
    if (!mkdtemp(c->dir))
        return -1;
    snprintf(c->cert, sizeof c->cert, "%s/cert.pem", c->dir);
    snprintf(c->key, sizeof c->key, "%s/key.pem", c->dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_NAME *n = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, n);
    X509_set_pubkey(x, key);
    int ok = X509_sign(x, key, EVP_sha256()) > 0;
    FILE *f = fopen(c->cert, "w");
    ok = ok && f && PEM_write_X509(f, x);
    if (f)
        fclose(f);
    f = fopen(c->key, "w");
    ok = ok && f && chmod(c->key, 0600) == 0 && /* else it is refused as a secret */
         PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    if (f)
        fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
    return ok ? 0 : -1;
}

static inline void test_cert_remove(struct test_cert *c)
{
    unlink(c->cert);
    unlink(c->key);
    rmdir(c->dir);
}

#endif
