/* Relays ChannelData and datagrams of peers in the kernel, at the ingress of a device (clsact).
 *
 * Loaded and fed by offload_sock.c; what is in the maps is decided by offload_plan.c. Anything that
 * is not exactly an entry's goes on to the sockets untouched (TC_ACT_OK): once a byte has been
 * changed, the packet is relayed or dropped.
 *
 * The four bytes of the channel header come and go behind the UDP header, and the payload moves,
 * not the headers: then the checksum of a packet that a local sender left to the device
 * (CHECKSUM_PARTIAL) stays where the kernel believes it to be. The IP header is made anew.
 * SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "offload_map.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IFINDEX_LOOPBACK 1
#define PACKET_TO_US     0 /* PACKET_HOST */
#define TOS_NONE         0
#define FRAGMENT_MASK    0x3fff /* more fragments, offset */
#define CHANNEL_BITS     0xc0
#define CHANNEL_MARK     0x40
#define LENGTH_MASK      0x7ff /* above OFFLOAD_PAYLOAD_MAX: tells the verifier what we know */

#define L3     ETH_HLEN
#define L4     (L3 + sizeof(struct iphdr))
#define BODY   (L4 + sizeof(struct udphdr))
#define CHAN   4
#define L4_SUM (L4 + __builtin_offsetof(struct udphdr, check))

struct headers {
    struct iphdr ip;
    struct udphdr udp;
};

struct chan_header {
    uint16_t number, len;
};

struct scratch {
    uint8_t bytes[LENGTH_MASK + 1];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct offload_up_key);
    __type(value, struct offload_way);
} up SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct offload_down_key);
    __type(value, struct offload_way);
} down SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, uint32_t);
    __type(value, struct offload_slot);
} slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, uint32_t);
    __type(value, struct offload_rules);
} rules SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, struct scratch);
} scratch SEC(".maps");

/* One packet that is being relayed. */
struct job {
    const struct offload_way *way;
    struct offload_slot *slot;
    struct headers h; /* as it came, then as it goes */
    struct chan_header chan;
    uint32_t len; /* of the payload */
    uint32_t direction;
    uint8_t ttl, tos;
};

static __always_inline int is_loopback_ip(uint32_t ip)
{
    return (bpf_ntohl(ip) >> 24) == IN_LOOPBACKNET;
}

/* A whole UDP datagram for us in one plain IPv4 packet, its lengths in order. */
static __always_inline int is_plain(const struct __sk_buff *skb, const struct headers *h)
{
    uint32_t total = bpf_ntohs(h->ip.tot_len);

    if (h->ip.version != 4 || h->ip.ihl != 5 || h->ip.protocol != IPPROTO_UDP ||
        (h->ip.frag_off & bpf_htons(FRAGMENT_MASK)))
        return 0;
    if (total < sizeof(*h) || total + L3 > skb->len ||
        bpf_ntohs(h->udp.len) != total - sizeof(h->ip))
        return 0;
    /* What the kernel would call a martian: the program runs before it looks. */
    return skb->ifindex == IFINDEX_LOOPBACK ||
           !(is_loopback_ip(h->ip.saddr) || is_loopback_ip(h->ip.daddr));
}

static __always_inline const struct offload_way *find_up(struct __sk_buff *skb, struct job *j)
{
    struct offload_up_key key = {
        .listener_ip = j->h.ip.daddr,
        .client_ip = j->h.ip.saddr,
        .listener_port = j->h.udp.dest,
        .client_port = j->h.udp.source,
    };
    uint32_t body = bpf_ntohs(j->h.udp.len) - sizeof(j->h.udp);

    if (body < CHAN || bpf_skb_load_bytes(skb, BODY, &j->chan, CHAN))
        return 0;
    if (((bpf_ntohs(j->chan.number) >> 8) & CHANNEL_BITS) != CHANNEL_MARK ||
        bpf_ntohs(j->chan.len) != body - CHAN)
        return 0;
    key.channel = j->chan.number;
    j->direction = OFFLOAD_UP;
    j->len = body - CHAN;
    return bpf_map_lookup_elem(&up, &key);
}

static __always_inline const struct offload_way *find_down(struct job *j)
{
    struct offload_down_key key = {
        .relayed_ip = j->h.ip.daddr,
        .peer_ip = j->h.ip.saddr,
        .relayed_port = j->h.udp.dest,
        .peer_port = j->h.udp.source,
    };

    j->direction = OFFLOAD_DOWN;
    j->len = bpf_ntohs(j->h.udp.len) - sizeof(j->h.udp);
    return bpf_map_lookup_elem(&down, &key);
}

/* Whether the way is open now, and how the packet is to be marked. */
static __always_inline int may_go(struct job *j)
{
    uint32_t zero = 0, slot = j->way->slot;
    const struct offload_rules *r = bpf_map_lookup_elem(&rules, &zero);
    uint64_t now_ns = bpf_ktime_get_ns();

    j->slot = bpf_map_lookup_elem(&slots, &slot);
    if (!r || !j->slot || now_ns >= j->slot->until_ns || now_ns >= r->beat_until_ns)
        return 0;
    j->ttl = r->copy ? j->h.ip.ttl - 1 : r->ttl;
    j->tos = r->copy ? j->h.ip.tos : TOS_NONE;
    return !r->copy || j->h.ip.ttl > 1;
}

/* Bytes of the IP packet as it goes. */
static __always_inline uint32_t total_of(const struct job *j)
{
    return sizeof(j->h) + j->len + (j->direction == OFFLOAD_DOWN ? CHAN : 0);
}

static __always_inline int fits(struct __sk_buff *skb, const struct job *j)
{
    uint32_t mtu = total_of(j); /* in: the packet's length; out: the device's */

    return bpf_check_mtu(skb, j->way->ifindex, &mtu, 0, 0) == 0;
}

static __always_inline uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* The headers as the packet goes; from and to are what the UDP checksum covers of them, before and
 * after: first the pseudo header, then the rest. */
static __always_inline void rewrite(struct job *j, uint32_t from[6], uint32_t to[6])
{
    struct headers *h = &j->h;
    uint32_t total = total_of(j);
    struct chan_header chan = {j->way->channel, bpf_htons(j->len)};
    uint32_t chan_word;

    __builtin_memcpy(&chan_word, &chan, sizeof(chan_word));
    from[0] = h->ip.saddr;
    from[1] = h->ip.daddr;
    from[2] = from[4] = h->udp.len;
    from[3] = h->udp.source | (uint32_t)h->udp.dest << 16;
    from[5] = j->direction == OFFLOAD_UP ? chan_word : 0;
    h->ip = (struct iphdr){
        .version = 4,
        .ihl = 5,
        .tos = j->tos,
        .tot_len = bpf_htons(total),
        .id = bpf_get_prandom_u32(),
        .ttl = j->ttl,
        .protocol = IPPROTO_UDP,
        .saddr = j->way->from_ip,
        .daddr = j->way->to_ip,
    };
    h->ip.check = fold((uint32_t)bpf_csum_diff(0, 0, (void *)&h->ip, sizeof(h->ip), 0));
    h->udp.source = j->way->from_port;
    h->udp.dest = j->way->to_port;
    h->udp.len = bpf_htons(total - sizeof(h->ip));
    to[0] = h->ip.saddr;
    to[1] = h->ip.daddr;
    to[2] = to[4] = h->udp.len;
    to[3] = h->udp.source | (uint32_t)h->udp.dest << 16;
    to[5] = j->direction == OFFLOAD_DOWN ? chan_word : 0;
    j->chan = chan;
}

/* Moves the payload to where it goes, and puts the channel header before it. 0, or an error after
 * which the packet is good for nothing. */
static __always_inline int move_payload(struct __sk_buff *skb, const struct job *j,
                                        struct scratch *s)
{
    uint32_t from = j->direction == OFFLOAD_UP ? BODY + CHAN : BODY;
    uint32_t to = j->direction == OFFLOAD_UP ? BODY : BODY + CHAN;
    uint32_t len = j->len & LENGTH_MASK;

    if (len > 0 && bpf_skb_load_bytes(skb, from, s->bytes, len))
        return -1;
    /* A sum over the whole packet, from the device, cannot be kept right: growing forgets it. */
    if (bpf_csum_update(skb, 0) >= 0 && bpf_skb_change_tail(skb, skb->len + CHAN, 0))
        return -1;
    if (bpf_skb_change_tail(skb, L3 + total_of(j), 0))
        return -1;
    if (j->direction == OFFLOAD_DOWN && bpf_skb_store_bytes(skb, BODY, &j->chan, CHAN, 0))
        return -1;
    return len > 0 ? (int)bpf_skb_store_bytes(skb, to, s->bytes, len, 0) : 0;
}

static __always_inline int write_headers(struct __sk_buff *skb, const struct job *j,
                                         uint32_t from[6], uint32_t to[6])
{
    int64_t pseudo = bpf_csum_diff(from, 12, to, 12, 0);
    int64_t rest = bpf_csum_diff(from + 3, 12, to + 3, 12, 0);

    if (bpf_skb_store_bytes(skb, L3, &j->h, sizeof(j->h), 0))
        return -1;
    /* A datagram without a checksum (zero) stays without. */
    if (bpf_l4_csum_replace(skb, L4_SUM, 0, rest, BPF_F_MARK_MANGLED_0))
        return -1;
    return (int)bpf_l4_csum_replace(skb, L4_SUM, 0, pseudo,
                                    BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
}

/* Branches, kept apart by a word to the compiler: without CAP_PERFMON the verifier takes no pointer
 * that is made by arithmetic over what came from two paths. */
static __always_inline void count(const struct job *j)
{
    if (j->direction == OFFLOAD_DOWN) {
        __sync_fetch_and_add(&j->slot->pkts[OFFLOAD_DOWN], 1);
        __sync_fetch_and_add(&j->slot->bytes[OFFLOAD_DOWN], j->len);
        __asm__ volatile("");
    } else {
        __sync_fetch_and_add(&j->slot->pkts[OFFLOAD_UP], 1);
        __sync_fetch_and_add(&j->slot->bytes[OFFLOAD_UP], j->len);
    }
}

static __always_inline int relay(struct __sk_buff *skb, struct job *j)
{
    uint32_t zero = 0, from[6], to[6];
    struct scratch *s = bpf_map_lookup_elem(&scratch, &zero);

    if (!s)
        return TC_ACT_OK;
    rewrite(j, from, to);
    if (move_payload(skb, j, s) || write_headers(skb, j, from, to))
        return TC_ACT_SHOT;
    count(j);
    return (int)bpf_redirect_neigh(j->way->ifindex, 0, 0, 0);
}

SEC("tc")
int sori_relay(struct __sk_buff *skb)
{
    struct job j = {0};

    /* A run of datagrams (GSO) is the sockets' business, which take and send runs. */
    if (skb->protocol != bpf_htons(ETH_P_IP) || skb->gso_size || skb->vlan_present ||
        skb->pkt_type != PACKET_TO_US)
        return TC_ACT_OK;
    if (bpf_skb_load_bytes(skb, L3, &j.h, sizeof(j.h)) || !is_plain(skb, &j.h))
        return TC_ACT_OK;
    j.way = find_up(skb, &j);
    if (!j.way)
        j.way = find_down(&j);
    if (!j.way || j.len > OFFLOAD_PAYLOAD_MAX || !may_go(&j) || !fits(skb, &j))
        return TC_ACT_OK;
    return relay(skb, &j);
}

char relay_license[] SEC("license") = "Dual BSD/GPL";
