/**
 * A Sori client in Node.js with libwebrtc (npm's @roamhq/wrtc) under it: our own library, another
 * WebRTC. It sends a tone and measures the tones that it hears.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import wrtc from '@roamhq/wrtc';

import { Sori } from '../../server/web/sori.js';
import { NodeWebSocket } from './node_ws.mjs';
import { tokenFor, wsUrl } from './node_token.mjs';
import { sine, strongest } from './tone.mjs';

const { RTCAudioSink, RTCAudioSource } = wrtc.nonstandard;
const RATE = 48000;
const CHUNK = RATE / 100;
const HEARD = RATE / 5; // 200 ms are looked at

/** Where Node's libwebrtc stands in for a browser's. */
export const wrtcEnv = {
  WebSocket: NodeWebSocket,
  RTCPeerConnection: wrtc.RTCPeerConnection,
  RTCRtpReceiver: wrtc.RTCRtpReceiver,
  MediaStream: wrtc.MediaStream,
};

export class WrtcPerson {
  #at = 0;
  #inbox = []; // data messages that nobody has asked for yet
  #ears = new Map(); // track -> { sink, samples, rate }

  constructor(name, hz) {
    this.name = name;
    this.hz = hz;
    this.source = new RTCAudioSource();
    this.track = this.source.createTrack();
    this.sori = new Sori({
      url: wsUrl(), token: ({ deviceId }) => tokenFor(name, deviceId), deviceId: `wrtc-${name}`, storage: null, env: wrtcEnv,
    });
    let due = performance.now();
    const speak = () => {
      for (; due <= performance.now(); due += 10) {
        this.source.onData({
          samples: sine(hz, RATE, this.#at, CHUNK), sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: CHUNK,
        });
        this.#at += CHUNK;
      }
      setTimeout(speak, 5);
    };
    speak();
  }

  async join(roomId, options = {}) {
    await this.sori.connect();
    this.room = await this.sori.joinRoom(roomId, { audio: this.track, slots: { audio: 4, video: 1 }, ...options });
    this.room.addEventListener('media', () => this.#listen());
    this.room.addEventListener('data', ({ participant, topic, payload }) => {
      this.#inbox.push({ user: participant?.user, topic, payload });
    });
    this.#listen();
  }

  #listen() {
    for (const { stream } of this.room.audioSlots) {
      const [track] = stream.getTracks();
      if (this.#ears.has(track)) continue;
      const ear = { sink: new RTCAudioSink(track), samples: [], rate: RATE };
      ear.sink.ondata = ({ samples, sampleRate, channelCount = 1 }) => {
        ear.rate = sampleRate;
        for (let i = 0; i < samples.length; i += channelCount) ear.samples.push(samples[i]);
        if (ear.samples.length > HEARD) ear.samples.splice(0, ear.samples.length - HEARD);
      };
      this.#ears.set(track, ear);
    }
  }

  /** [{user, hz}] of the slots that somebody is on; hz 0 for silence. */
  heard() {
    return this.room.audioSlots.filter((slot) => slot.track).map(({ stream, track }) => {
      const ear = this.#ears.get(stream.getTracks()[0]);
      return { user: track.participant.user, hz: ear && ear.samples.length >= HEARD / 2 ? strongest(ear.samples, ear.rate) : 0 };
    });
  }

  /** Waits until exactly these people's tones are heard. */
  async hears(...people) {
    const until = Date.now() + 20_000;
    let heard;

    for (;;) {
      heard = this.heard().filter((h) => h.hz > 0);
      if (heard.length === people.length && people.every((p) => heard.some((h) => h.user === p.name && Math.abs(h.hz - p.hz) <= 6))) return;
      if (Date.now() > until)
        throw new Error(`${this.name} should hear ${people.map((p) => `${p.name} ${p.hz}`)}, hears ${JSON.stringify(this.heard())}; ${this.room.state} ${this.room.error}`);
      await new Promise((again) => { setTimeout(again, 100); });
    }
  }

  async state(state) {
    const until = Date.now() + 20_000;
    while (this.room.state !== state) {
      if (Date.now() > until) throw new Error(`${this.name} is ${this.room.state}, not ${state}: ${this.room.error}`);
      await new Promise((again) => { setTimeout(again, 20); });
    }
  }

  mute(muted) {
    this.room.setMuted(muted);
  }

  restartIce() {
    this.room.restartIce();
  }

  others() {
    return [...this.room.participants.values()].map((p) => p.user);
  }

  send(payload, how) {
    this.room.sendData(payload, how);
  }

  /** The next data message since the join. */
  async got() {
    if (this.#inbox.length === 0) await new Promise((come) => { this.room.addEventListener('data', come, { once: true }); });
    return this.#inbox.shift();
  }

  leave() {
    this.room?.leave();
  }
}
