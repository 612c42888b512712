/* A signing key for tests only (P-256, PKCS#8, as Apple's .p8 files are).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_APNS_KEY_H
#define SORI_TESTS_LIB_APNS_KEY_H

#define APNS_KEY_PEM                                                     \
    "-----BEGIN PRIVATE KEY-----\n"                                      \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/nF+x4FfUiUwrzaV\n" \
    "OeNir19qGw5wGPEpGmCDDYe6OEChRANCAATcX6dMmlyZ9wl6PRINtbT/NtPkMGyY\n" \
    "PjhTa8hWrrkeLOzEy2cIBtLdN+jzsmz3B62Yuegdj/K9ag0g+4FFsP1b\n"         \
    "-----END PRIVATE KEY-----\n"

#endif
