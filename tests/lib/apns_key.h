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

/* Another one. */
#define APNS_OTHER_KEY_PEM                                               \
    "-----BEGIN PRIVATE KEY-----\n"                                      \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUO1XB1742psvG8RM\n" \
    "US1QvezkwtL16RNHfVgV/2mIacuhRANCAAStqDy3WZ2O0EMDvUcjIaeW2lk1YB3Q\n" \
    "XIuNO4FgzLH/X3sLOjbilHN8ZlRnX6B6e0Cn3997iTm9G+ANkLKH5JgR\n"         \
    "-----END PRIVATE KEY-----\n"
/* On a curve that Apple does not take. */
#define APNS_P384_KEY_PEM                                                \
    "-----BEGIN PRIVATE KEY-----\n"                                      \
    "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBXUfH7ZwX5N0WsO4oK\n" \
    "ctJ+hyZygpN+PJ1JyTUKobiCL0XuNOWRpNnArwG6nwftr4uhZANiAAQV387XUwwF\n" \
    "Vx2EVxmvUJPqYsVqvUcfqX8AGy9dJ6jRWY/rwDca+TMiACeHE++UmI+lucE2SKUm\n" \
    "p4VdluOL3/3Kau/cv3hKKLGb5IjQbeEwLFuJDbOcfskrwDvsNvKLRWM=\n"         \
    "-----END PRIVATE KEY-----\n"

#endif
