/**
 * Where a client in Node.js finds the server under test, and its token.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { PAGE_URL } from './daemons.mjs';

export async function tokenFor(user, device) {
  const reply = await fetch(`${PAGE_URL}dev/token?user=${user}&device=${device}`);
  return (await reply.json()).token;
}

export const wsUrl = () => PAGE_URL.replace('http', 'ws').concat('ws');
