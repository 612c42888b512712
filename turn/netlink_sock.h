/* Questions to the kernel about routes and filters, over netlink.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_NETLINK_SOCK_H
#define SORI_TURN_NETLINK_SOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Opens a socket for questions, or one that hears news of IPv4 routes, addresses and devices.
 * Returns it, or a negative errno. */
int netlink_sock_open(bool news);

/* The device by which packets leave from one of our addresses to somebody's, both IPv4 in network
 * order: its index, loopback's for one of our own, 0 when there is no way. fd: for questions. */
uint32_t netlink_sock_device(int fd, uint32_t from, uint32_t to);

/* True when the device has a filter at this parent (TC_H_*), and when that cannot be told. */
bool netlink_sock_has_filters(int fd, int ifindex, uint32_t parent);

/* True when there was news since the last time; fd: for news. */
bool netlink_sock_news(int fd);

#endif
