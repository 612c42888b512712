/* turn_metrics.c: every reason, method and code is exported under its own name.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static void test_every_cell_is_exported_once(void **state)
{
    static struct turn_metrics t;
    struct metrics *m = metrics_new();
    size_t len;
    unsigned lines = 0;

    (void)state;
    turn_metrics_drop(&t, TURN_DROP_SOURCE_LIMIT);
    turn_metrics_request(&t, 0x003);
    turn_metrics_request(&t, 0x777);
    turn_metrics_error(&t, 486);
    turn_metrics_error(&t, 999); /* unknown codes are nobody's */
    counter_add(&t.up[FIVE_TUPLE_UDP].bytes, 5);
    counter_add(&t.up[FIVE_TUPLE_TLS].bytes, 7);
    counter_add(&t.down[FIVE_TUPLE_DTLS].pkts, 2);
    assert_int_equal(turn_metrics_register(m, &t), 0);
    char *text = metrics_render(m, &len);
    assert_non_null(strstr(text, "sori_turn_dropped_total{reason=\"source_limit\"} 1\n"));
    assert_non_null(strstr(text, "sori_turn_requests_total{method=\"allocate\"} 1\n"));
    assert_non_null(strstr(text, "sori_turn_requests_total{method=\"other\"} 1\n"));
    assert_non_null(strstr(text, "sori_turn_errors_total{code=\"486\"} 1\n"));
    assert_non_null(strstr(text, "sori_turn_relayed_bytes_total{direction=\"to_peer\"} 12\n"));
    assert_non_null(strstr(text, "sori_turn_relayed_packets_total{direction=\"to_client\"} 2\n"));
    assert_non_null(
        strstr(text, "sori_turn_relay_bytes_total{direction=\"to_peer\",transport=\"tls\"} 7\n"));
    for (const char *p = text; *p; p++)
        lines += *p == '\n' && p[1] != '#' && p[1] != '\0';
    lines += text[0] != '#';
    /* It holds nothing else; datagrams of all transports are one line each way, and so are bytes,
     * which have one for each transport, too. */
    assert_int_equal(lines, sizeof(t) / sizeof(struct counter) - 2 * FIVE_TUPLE_TRANSPORTS + 4);
    mem_free(text);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_exported_once),
    };

    return cmocka_run_group_tests_name("turn_metrics", tests, NULL, NULL);
}
