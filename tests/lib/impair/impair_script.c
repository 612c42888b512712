/* The impairer's commands. SPDX-License-Identifier: BSD-3-Clause */
#include "impair_script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PROTO_TCP 6
#define PROTO_UDP 17
#define VALUE_MAX 1e12

/* The next word of *at, in out; empty at the end. */
static void next_word(const char **at, char out[IMPAIR_LINE_MAX])
{
    size_t n = 0;

    *at += strspn(*at, " \t\r");
    n = strcspn(*at, " \t\r");
    if (n >= IMPAIR_LINE_MAX)
        n = IMPAIR_LINE_MAX - 1;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n;
}

struct unit {
    const char *name;
    double factor;
};

/* A number with one of these units. */
static bool value(const char *word, const struct unit *u, double *out)
{
    char *end;
    double v = strtod(word, &end);

    if (end == word || !(v >= 0 && v <= VALUE_MAX))
        return false;
    for (; u->name; u++) {
        if (strcmp(end, u->name) == 0) {
            *out = v * u->factor;
            return true;
        }
    }
    return false;
}

static bool time_us(const char *word, uint64_t *out)
{
    static const struct unit units[] = {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {NULL, 0}};
    double v;

    if (!value(word, units, &v))
        return false;
    *out = (uint64_t)v;
    return true;
}

static bool percent(const char *word, uint32_t *ppm)
{
    static const struct unit units[] = {{"%", IMPAIR_PPM / 100.0}, {NULL, 0}};
    double v;

    if (!value(word, units, &v) || v > IMPAIR_PPM)
        return false;
    *ppm = (uint32_t)(v + 0.5);
    return true;
}

static bool rate(const char *word, uint64_t *bps)
{
    static const struct unit units[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {NULL, 0}};
    double v = 0;

    if (strcmp(word, "none") != 0 && (!value(word, units, &v) || v < 1))
        return false;
    *bps = (uint64_t)v;
    return true;
}

static bool queue(const char *word, struct impair_conf *c)
{
    static const struct unit units[] = {{"b", 1}, {"kb", 1e3}, {"mb", 1e6}, {NULL, 0}};
    double v;

    if (time_us(word, &c->queue_us))
        return true;
    if (!value(word, units, &v))
        return false;
    c->queue_bytes = (uint64_t)v;
    return true;
}

static bool on_off(const char *word, bool *out)
{
    *out = strcmp(word, "on") == 0;
    return *out || strcmp(word, "off") == 0;
}

static bool block(const char *word, struct impair_conf *c)
{
    struct impair_rule r = {0};
    char *end;

    if (strcmp(word, "none") == 0) {
        c->n_block = 0;
        return true;
    }
    r.protocol = strncmp(word, "udp", 3) == 0   ? PROTO_UDP
                 : strncmp(word, "tcp", 3) == 0 ? PROTO_TCP
                                                : 0;
    if (r.protocol == 0 || c->n_block == IMPAIR_RULES_MAX)
        return false;
    if (word[3] == ':') {
        unsigned long port = strtoul(word + 4, &end, 10);
        if (end == word + 4 || *end != '\0' || port == 0 || port > UINT16_MAX)
            return false;
        r.port = (uint16_t)port;
    } else if (word[3] != '\0') {
        return false;
    }
    c->block[c->n_block++] = r;
    return true;
}

static bool burst(const char *word, double *out)
{
    static const struct unit units[] = {{"", 1}, {NULL, 0}};

    return value(word, units, out) && *out >= 1;
}

/* Applies one word; what follows it is taken from *at. */
static bool apply_word(const char *key, const char **at, struct impair_conf *c)
{
    char word[IMPAIR_LINE_MAX], second[IMPAIR_LINE_MAX];

    if (strcmp(key, "clear") == 0) {
        *c = (struct impair_conf){0};
        return true;
    }
    next_word(at, word);
    if (strcmp(key, "delay") == 0)
        return time_us(word, &c->delay_us);
    if (strcmp(key, "jitter") == 0)
        return time_us(word, &c->jitter_us);
    if (strcmp(key, "reorder") == 0)
        return on_off(word, &c->reorder);
    if (strcmp(key, "loss") == 0)
        return percent(word, &c->loss_ppm);
    if (strcmp(key, "burst") == 0)
        return burst(word, &c->burst);
    if (strcmp(key, "dup") == 0)
        return percent(word, &c->dup_ppm);
    if (strcmp(key, "rate") == 0)
        return rate(word, &c->rate_bps);
    if (strcmp(key, "queue") == 0)
        return queue(word, c);
    if (strcmp(key, "block") == 0)
        return block(word, c);
    if (strcmp(key, "cut") == 0)
        return on_off(word, &c->cut);
    if (strcmp(key, "hold") != 0)
        return false;
    next_word(at, second);
    return percent(word, &c->held_ppm) && time_us(second, &c->held_us);
}

int impair_step_apply(const struct impair_step *s, struct impair_conf *conf, const char **why)
{
    struct impair_conf c = *conf;
    char key[IMPAIR_LINE_MAX];
    const char *at = s->line;

    for (next_word(&at, key); key[0] != '\0'; next_word(&at, key)) {
        if (!apply_word(key, &at, &c)) {
            *why = "a word or its value is wrong";
            return -EBADMSG;
        }
    }
    *conf = c;
    return 0;
}

int impair_step_parse(struct impair_step *out, const char *line, const char **why)
{
    struct impair_step s = {0};
    struct impair_conf unused = {0};
    char word[IMPAIR_LINE_MAX];

    next_word(&line, word);
    if (word[0] == '\0' || word[0] == '#')
        return 1;
    *why = "begins with neither up, down, both, stats, series nor reset";
    if (strcmp(word, "at") == 0) {
        next_word(&line, word);
        if (!time_us(word, &s.at_us)) {
            *why = "no such time";
            return -EBADMSG;
        }
        next_word(&line, word);
    }
    s.up = strcmp(word, "up") == 0 || strcmp(word, "both") == 0;
    s.down = strcmp(word, "down") == 0 || strcmp(word, "both") == 0;
    if (strcmp(word, "stats") == 0)
        s.what = IMPAIR_STATS;
    else if (strcmp(word, "series") == 0)
        s.what = IMPAIR_SERIES;
    else if (strcmp(word, "reset") == 0)
        s.what = IMPAIR_RESET;
    else if (!s.up && !s.down)
        return -EBADMSG;
    if (snprintf(s.line, sizeof(s.line), "%s", line) >= (int)sizeof(s.line)) {
        *why = "too long";
        return -EBADMSG;
    }
    if (s.what == IMPAIR_SET && impair_step_apply(&s, &unused, why) != 0)
        return -EBADMSG;
    *out = s;
    return 0;
}
