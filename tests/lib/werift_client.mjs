/**
 * A Sori client in Node.js with npm's werift under it: our own library, a WebRTC that is not libwebrtc.
 * It has no media stack, so packets are made and taken apart here: a G.711 tone out, tones in.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { randomInt } from 'node:crypto';

import {
  MediaStream, MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket,
} from 'werift';

import { Sori } from '../../server/web/sori.js';
import { tokenFor, wsUrl } from './node_token.mjs';
import { NodeWebSocket } from './node_ws.mjs';
import { muLawDecode, muLawEncode, sine, strongest } from './tone.mjs';

const RATE = 8000;
const FRAME = 160; // 20 ms
const HEARD = RATE / 4;

class Peer extends RTCPeerConnection {
  constructor(configuration) {
    const pcmu = new RTCRtpCodecParameters({ mimeType: 'audio/PCMU', clockRate: RATE, channels: 1, payloadType: 0 });
    super({ ...configuration, codecs: { audio: [pcmu] } });
  }
}

export class WeriftPerson {
  #sent = 0;
  #ears = new Map(); // track -> samples

  constructor(name, hz) {
    this.name = name;
    this.hz = hz;
    this.track = new MediaStreamTrack({ kind: 'audio' });
    this.sori = new Sori({
      url: wsUrl(), token: ({ deviceId }) => tokenFor(name, deviceId), deviceId: `werift-${name}`, storage: null,
      env: { WebSocket: NodeWebSocket, RTCPeerConnection: Peer, MediaStream },
    });
  }

  async join(roomId) {
    await this.sori.connect();
    this.room = await this.sori.joinRoom(roomId, { audio: this.track, slots: { audio: 3, video: 0 }, data: false });
    const begun = performance.now();
    const [sequence, timestamp, ssrc] = [randomInt(0x8000), randomInt(2 ** 31), randomInt(1, 2 ** 32 - 1)];
    const speak = () => {
      for (; this.#sent * 20 < performance.now() - begun; this.#sent++) {
        const header = new RtpHeader({
          payloadType: 0, sequenceNumber: (sequence + this.#sent) & 0xffff, timestamp: (timestamp + this.#sent * FRAME) >>> 0, ssrc,
          marker: this.#sent === 0,
        });
        this.track.writeRtp(new RtpPacket(header, Buffer.from(muLawEncode(sine(this.hz, RATE, this.#sent * FRAME, FRAME)))));
      }
      setTimeout(speak, 5);
    };
    speak();
  }

  /** The last samples of a slot. A receiver has another track once it knows the SSRC. */
  #samples(slot) {
    const { track } = this.room.rtpOf(slot);

    if (!this.#ears.has(track)) {
      const samples = [];
      this.#ears.set(track, samples);
      track.onReceiveRtp.subscribe((rtp) => {
        if (rtp.header.payloadType !== 0) return;
        samples.push(...muLawDecode(rtp.payload));
        if (samples.length > HEARD) samples.splice(0, samples.length - HEARD);
      });
    }
    return this.#ears.get(track);
  }

  heard() {
    return this.room.audioSlots.filter((slot) => slot.track).map((slot) => {
      const samples = this.#samples(slot);
      const { track } = slot;
      return { user: track.participant.user, hz: samples.length >= HEARD ? strongest(samples, RATE) : 0 };
    });
  }

  async hears(...people) {
    const until = Date.now() + 20_000;

    for (;;) {
      const heard = this.heard().filter((h) => h.hz > 0);
      if (heard.length === people.length && people.every((p) => heard.some((h) => h.user === p.name && Math.abs(h.hz - p.hz) <= 6))) return;
      if (Date.now() > until)
        throw new Error(`${this.name} should hear ${people.map((p) => `${p.name} ${p.hz}`)}, hears ${JSON.stringify(this.heard())}; ${this.room.state} ${this.room.error}`);
      await new Promise((again) => { setTimeout(again, 100); });
    }
  }

  others() {
    return [...this.room.participants.values()].map((p) => p.user);
  }

  leave() {
    this.room?.leave();
  }
}
