/**
 * One client of a room in a process of its own, for tests/lib/node_person.mjs, which forks it:
 * room_person.mjs KIND NAME HZ. Each message {id, method, args} calls the client's method and is
 * answered by {id, result} or {id, error, code}. Ends when the parent does.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
const [kind, name, hz] = process.argv.slice(2);
const kinds = {
  wrtc: async () => (await import('../lib/wrtc_client.mjs')).WrtcPerson,
  werift: async () => (await import('../lib/werift_client.mjs')).WeriftPerson,
  pair: async () => (await import('../lib/pair_client.mjs')).PairPerson,
};
const person = new (await kinds[kind]())(name, Number(hz));

process.on('message', async ({ id, method, args }) => {
  try {
    process.send({ id, result: await person[method](...args) });
  } catch (error) {
    process.send({ id, error: error.message, code: error.code });
  }
});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL')); // libwebrtc has no clean end
process.send({ ready: true });
