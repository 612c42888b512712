/* The limit that an SFU is measured against: for every packet and receiver a header, AES-128-GCM
 * from the shared plaintext on a context that is made once, and the send calls that a good server
 * would use. No receiving, no lookup, no RTCP, no congestion control.
 *
 *     sfu_bare IP FIRST_PORT RECEIVERS PACKETS_PER_S BYTES BURST SECONDS mmsg|gso
 *
 * Receiver i is IP:FIRST_PORT+i. mmsg: one sendmmsg per turn. gso: the same, the burst of a
 * receiver as one UDP_SEGMENT. Prints packets sent and own CPU time. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "sfu_peer.h"

#include <netinet/udp.h>
#include <sys/resource.h>
#include <time.h>

#define RECEIVERS_MAX 1024
#define BURST_MAX     32
#define SLOT_BYTES    1500
#define HEADER        12
#define BATCH         64
#define SEND_BYTES    (4 << 20)

struct receiver {
    struct sockaddr_storage to;
    struct bench_srtp srtp;
    uint64_t index;
    uint32_t ssrc;
};

struct job {
    struct iovec iov;
    union {
        struct cmsghdr hdr;
        uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
    } control;
};

static struct receiver rx[RECEIVERS_MAX];
static uint8_t arena[BATCH][BURST_MAX * SLOT_BYTES];
static struct job job[BATCH];
static struct mmsghdr tx[BATCH];
static unsigned queued;
static uint64_t sent, failed;

/* Header and ciphertext of one packet; gives its length. */
static size_t protect(struct receiver *r, const uint8_t *payload, size_t len, uint32_t ts,
                      uint8_t *out)
{
    EVP_CIPHER_CTX *c = r->srtp.cipher[0];
    uint8_t iv[16];
    int n;

    out[0] = 0x80;
    out[1] = 111;
    out[2] = (uint8_t)(r->index >> 8);
    out[3] = (uint8_t)r->index;
    put32(out + 4, ts);
    put32(out + 8, r->ssrc);
    srtp_iv(&r->srtp, 0, r->ssrc, r->index++, iv);
    EVP_EncryptInit_ex(c, NULL, NULL, NULL, iv);
    EVP_EncryptUpdate(c, NULL, &n, out, HEADER);
    EVP_EncryptUpdate(c, out + HEADER, &n, payload, (int)len);
    EVP_EncryptFinal_ex(c, out + HEADER + len, &n);
    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + HEADER + len);
    return HEADER + len + GCM_TAG;
}

static void flush(int fd, unsigned pkts_each)
{
    for (unsigned done = 0; done < queued;) {
        int n = sendmmsg(fd, &tx[done], queued - done, 0);
        if (n <= 0) {
            failed += pkts_each;
            done++;
            continue;
        }
        sent += (uint64_t)n * pkts_each;
        done += (unsigned)n;
    }
    queued = 0;
}

/* n packets, each `size` bytes, behind one another in arena[queued]. */
static void queue(struct receiver *r, size_t size, unsigned n)
{
    struct job *j = &job[queued];
    struct msghdr *h = &tx[queued].msg_hdr;
    uint16_t segment = (uint16_t)size;

    j->iov = (struct iovec){arena[queued], size * n};
    *h = (struct msghdr){&r->to, sizeof(struct sockaddr_in), &j->iov, 1, NULL, 0, 0};
    if (n > 1) {
        h->msg_control = &j->control;
        h->msg_controllen = sizeof(j->control);
        j->control.hdr = (struct cmsghdr){CMSG_LEN(sizeof(segment)), IPPROTO_UDP, UDP_SEGMENT};
        memcpy(CMSG_DATA(&j->control.hdr), &segment, sizeof(segment));
    }
    queued++;
}

static void turn(int fd, unsigned receivers, unsigned burst, size_t bytes, bool gso, uint32_t ts)
{
    static uint8_t payload[SLOT_BYTES];
    unsigned each = gso ? burst : 1;

    for (unsigned i = 0; i < receivers; i++) {
        for (unsigned k = 0; k < burst; k += each) {
            size_t size = 0;
            for (unsigned m = 0; m < each; m++)
                size = protect(&rx[i], payload, bytes, ts, arena[queued] + m * size);
            queue(&rx[i], size, each);
            if (queued == BATCH)
                flush(fd, each);
        }
    }
    flush(fd, each);
}

int main(int argc, char **argv)
{
    static const uint8_t key[32] = "a key of sixteen";
    struct addr at;
    struct rusage r;
    int size = SEND_BYTES;

    if (argc != 9 || addr_parse(&at, slice_str(argv[1])) != 0)
        die("want IP FIRST_PORT RECEIVERS PACKETS_PER_S BYTES BURST SECONDS mmsg|gso");
    unsigned port = (unsigned)strtoul(argv[2], NULL, 10), n = (unsigned)strtoul(argv[3], NULL, 10);
    unsigned pps = (unsigned)strtoul(argv[4], NULL, 10);
    size_t bytes = strtoul(argv[5], NULL, 10);
    unsigned burst = (unsigned)strtoul(argv[6], NULL, 10);
    uint64_t seconds = strtoul(argv[7], NULL, 10);
    bool gso = strcmp(argv[8], "gso") == 0;
    if (n == 0 || n > RECEIVERS_MAX || pps == 0 || burst == 0 || burst > BURST_MAX ||
        bytes + HEADER + GCM_TAG > SLOT_BYTES)
        die("a number is out of range");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    for (unsigned i = 0; i < n; i++) {
        uint8_t mine[32];
        memcpy(mine, key, sizeof(mine));
        mine[0] = (uint8_t)i;
        bench_srtp_init(&rx[i].srtp, SRTP_GCM128, mine, mine + 16, true);
        rx[i].ssrc = 1000 + i;
        at.port = (uint16_t)(port + i);
        addr_to_sockaddr(&at, &rx[i].to);
    }
    uint64_t gap_us = US_PER_S * burst / pps, start = clock_now_us();
    for (uint64_t k = 0; k < seconds * pps / burst; k++) {
        uint64_t due = start + k * gap_us;
        const struct timespec t = {(time_t)(due / US_PER_S), (long)(due % US_PER_S * 1000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        turn(fd, n, burst, bytes, gso, (uint32_t)k);
    }
    uint64_t took = clock_now_us() - start;
    getrusage(RUSAGE_SELF, &r);
    printf("{\"sent\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"took_us\":%" PRIu64
           ",\"cpu_us\":%" PRIu64 "}\n",
           sent, failed, took,
           (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * US_PER_S +
               (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec));
    return 0;
}
