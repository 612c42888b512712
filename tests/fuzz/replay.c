/* Runs a fuzz target over files, without a fuzzer: for `make test` under any compiler.
 *
 * Arguments are files and directories (walked down). Each file's bytes end at a guard page when
 * the target sees them; the empty input is always among them. Any crash is the test's failure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/guard.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>

enum { REPLAY_FILE_MAX = 1 << 20, REPLAY_OPEN_DIRS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replay_inputs;
static uint8_t replay_buf[REPLAY_FILE_MAX];

static void replay_bytes(const void *p, size_t n)
{
    uint8_t *copy = guard_copy(p, n);

    (void)LLVMFuzzerTestOneInput(copy, n);
    guard_free(copy, n);
    replay_inputs++;
}

static int replay_visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    if (type == FTW_D || type == FTW_DP)
        return 0;
    FILE *f = type == FTW_F ? fopen(path, "rb") : NULL;
    if (!f) {
        fprintf(stderr, "%s: can't be read\n", path);
        return -1;
    }
    size_t n = fread(replay_buf, 1, sizeof(replay_buf), f);
    fclose(f);
    replay_bytes(replay_buf, n);
    return 0;
}

int main(int argc, char **argv)
{
    replay_bytes(NULL, 0);
    for (int i = 1; i < argc; i++) {
        errno = 0;
        if (nftw(argv[i], replay_visit, REPLAY_OPEN_DIRS, FTW_PHYS) != 0) {
            fprintf(stderr, "%s: %s\n", argv[i], errno ? strerror(errno) : "stopped");
            return 1;
        }
    }
    printf("%s: %u inputs\n", program_invocation_short_name, replay_inputs);
    return 0;
}
