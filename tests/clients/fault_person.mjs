/**
 * A person with our own library on libwebrtc (npm's @roamhq/wrtc), whose media is watched packet by packet while
 * something fails. tests/lib/mediapeople.py drives it: JSON objects, one a line, on stdin; each is answered by one
 * on stdout.
 *
 *   {do: "connect", url, token, device, relayOnly}
 *   {do: "call", to}         {setup_ms} from the call to media heard here; calls that come are taken at once
 *   {do: "up"}               waits until the call's media is heard; {ms since the call came}
 *   {do: "join", room}       the same for a room: waits until somebody is heard
 *   {do: "gap"}              {gap_ms, silent_ms, packets}: longest silence heard since the last time it was asked
 *   {do: "path"}             {local, remote, protocol, port, state} of what carries the media
 *   {do: "hangup"}, {do: "leave"}
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { createInterface } from 'node:readline';

import wrtc from '@roamhq/wrtc';

import { Sori } from '../../server/web/sori.js';
import { NodeWebSocket } from '../lib/node_ws.mjs';
import { sine } from '../lib/tone.mjs';

const RATE = 48000;
const CHUNK = RATE / 100;
const LOOK_MS = 20;
const PATIENCE_MS = 30_000;

let sori;
let call;
let room;
let cameAt = 0;
let packets = 0;
let lastAt = 0;
let longest = 0;

/** Every connection of the library is kept, so that its receivers can be asked. */
const connections = [];
class WatchedConnection extends wrtc.RTCPeerConnection {
  restarting = false;

  constructor(...o) {
    super(...o);
    connections.push(this);
  }

  /** Without an argument: it is not that new. */
  async setLocalDescription(description) {
    if (description) return super.setLocalDescription(description);
    const answers = this.signalingState === 'have-remote-offer';
    const iceRestart = this.restarting;
    this.restarting = false;
    return super.setLocalDescription(answers ? await this.createAnswer() : await this.createOffer({ iceRestart }));
  }

  restartIce() {
    this.restarting = true;
    queueMicrotask(() => this.onnegotiationneeded?.({}));
  }
}

function tone(hz) {
  const source = new wrtc.nonstandard.RTCAudioSource();
  let at = 0;
  let due = performance.now();
  setInterval(() => {
    for (; due <= performance.now(); due += 10, at += CHUNK)
      source.onData({ samples: sine(hz, RATE, at, CHUNK), sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: CHUNK });
  }, 5);
  return source.createTrack();
}

const statsOf = async (pc) => [...(await pc.getStats()).values()];

/** Packets heard in all, over every connection there was. */
const heardBy = new Map();
async function look() {
  for (const pc of connections) {
    if (pc.connectionState === 'closed') continue;
    const n = (await statsOf(pc)).filter((s) => s.type === 'inbound-rtp').reduce((sum, s) => sum + s.packetsReceived, 0);
    if (connections.includes(pc)) heardBy.set(pc, Math.max(n, heardBy.get(pc) ?? 0)); // not of a call that was just ended
  }
  const now = performance.now();
  const sum = [...heardBy.values()].reduce((a, b) => a + b, 0);
  if (sum > packets) {
    if (lastAt) longest = Math.max(longest, now - lastAt);
    packets = sum;
    lastAt = now;
  }
  setTimeout(look, LOOK_MS);
}
look();

/** Waits until there are packets that were not there before. */
async function heard() {
  const until = performance.now() + PATIENCE_MS;
  const before = packets;
  while (packets < before + 2) {
    if (performance.now() > until || call?.state === 'ended') throw new Error(`nothing heard: ${call?.state ?? room?.state} ${JSON.stringify(call?.end ?? null)} ${call?.error ?? room?.error ?? ''}`);
    await new Promise((again) => { setTimeout(again, 5); });
  }
}

const commands = {
  async connect({ url, token, device, relayOnly = false }) {
    sori = new Sori({
      url, token: () => token, deviceId: device, storage: null, relayOnly,
      env: {
        WebSocket: NodeWebSocket, RTCPeerConnection: WatchedConnection, RTCRtpReceiver: wrtc.RTCRtpReceiver, MediaStream: wrtc.MediaStream,
      },
    });
    this.track = tone(400);
    sori.addEventListener('incoming', ({ call: came }) => {
      cameAt = performance.now();
      call = came;
      came.accept({ stream: new wrtc.MediaStream([this.track]) })
        .catch((error) => console.error(error));
    });
    await sori.connect();
    return {};
  },
  async call({ to }) {
    const start = performance.now();
    call = await sori.call(to, { stream: new wrtc.MediaStream([this.track]) });
    await heard();
    return { setup_ms: performance.now() - start };
  },
  async up() {
    await heard();
    return { ms: performance.now() - cameAt };
  },
  async join({ room: name }) {
    room = await sori.joinRoom(name, { audio: this.track, slots: { audio: 4, video: 1 } });
    await heard();
    return {};
  },
  async gap() {
    const now = performance.now();
    const silent = now - lastAt;
    const got = { gap_ms: Math.max(longest, silent), silent_ms: silent, packets, state: (call ?? room)?.state };
    longest = 0;
    return got;
  },
  async path() {
    const pc = connections.findLast((c) => c.connectionState !== 'closed');
    const all = await statsOf(pc);
    const transport = all.find((s) => s.type === 'transport');
    const pair = all.find((s) => s.id === transport.selectedCandidatePairId);
    const [local, remote] = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => all.find((s) => s.id === id));
    return {
      local: local?.candidateType, remote: remote?.candidateType, protocol: local?.relayProtocol, port: local?.port, state: pc.connectionState,
    };
  },
  async hangup() {
    call?.hangup();
    call = null;
    for (const pc of connections.splice(0)) heardBy.delete(pc);
    packets = lastAt = longest = 0;
    return {};
  },
  async leave() {
    room?.leave();
    room = null;
    return {};
  },
};

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { do: what, ...arguments_ } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[what](arguments_);
  } catch (error) {
    answer = { error: `${what}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}).on('close', () => process.kill(process.pid, 'SIGKILL')); // libwebrtc has no clean end
process.stdout.write('{"ready":true}\n');
