/**
 * A client in `pair` mode with npm's @roamhq/wrtc: one RTCPeerConnection publishes (it offers), one
 * receives (the SFU offers). Signaling by hand, without our library.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import wrtc from '@roamhq/wrtc';

import { tokenFor, wsUrl } from './node_token.mjs';
import { RawSession } from './raw_session.mjs';
import { sine, strongest } from './tone.mjs';

const { RTCAudioSink, RTCAudioSource } = wrtc.nonstandard;
const RATE = 48000;
const CHUNK = RATE / 100;

export class PairPerson {
  #ears = new Map(); // mid of the receiving connection -> { samples, rate, sink }
  #chain = Promise.resolve();

  constructor(name, hz) {
    this.name = name;
    this.hz = hz;
    this.slots = [];
    this.users = new Map(); // participantId -> user
    this.offers = 0;
    this.session = new RawSession((msg) => this.#heard(msg));
    this.pub = new wrtc.RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.sub = new wrtc.RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.sub.ontrack = ({ transceiver, track }) => {
      const ear = { samples: [], rate: RATE, sink: new RTCAudioSink(track) };
      ear.sink.ondata = ({ samples, sampleRate, channelCount = 1 }) => {
        ear.rate = sampleRate;
        for (let i = 0; i < samples.length; i += channelCount) ear.samples.push(samples[i]);
        if (ear.samples.length > RATE / 5) ear.samples.splice(0, ear.samples.length - RATE / 5);
      };
      this.#ears.set(transceiver.mid, ear);
    };
  }

  async join(roomId) {
    const source = new RTCAudioSource();
    const track = source.createTrack();
    let at = 0;
    let due = performance.now();
    const speak = () => {
      for (; due <= performance.now(); due += 10, at += CHUNK)
        source.onData({ samples: sine(this.hz, RATE, at, CHUNK), sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: CHUNK });
      setTimeout(speak, 5);
    };
    speak();
    this.roomId = roomId;
    this.pub.addTransceiver(track, { direction: 'sendonly' });
    await this.session.open(wsUrl(), await tokenFor(this.name, `pair-${this.name}`), `pair-${this.name}`);
    const offer = await this.pub.createOffer();
    await this.pub.setLocalDescription(offer);
    const data = await this.session.ask('room.join', {
      roomId, data: { mode: 'pair', offer: { type: 'offer', sdp: offer.sdp }, tracks: [{ mid: '0', source: 'microphone' }] },
    });
    await this.pub.setRemoteDescription(data.answer);
    for (const p of data.participants) this.users.set(p.participantId, p.user);
    this.slots = data.slots;
    if (data.subOffer) await this.#take(data.subOffer, data.negotiationId);
  }

  #heard({ type, data }) {
    if (type === 'room.participant') this.users.set(data.participant.participantId, data.participant.user);
    else if (type === 'room.slots') this.slots = data.slots;
    else if (type === 'room.negotiate' && data.offer) this.#chain = this.#chain.then(() => this.#take(data.offer, data.negotiationId));
  }

  async #take(offer, negotiationId) {
    this.offers++;
    await this.sub.setRemoteDescription(offer);
    const answer = await this.sub.createAnswer();
    await this.sub.setLocalDescription(answer);
    await this.session.ask('room.answer', {
      roomId: this.roomId, data: { answer: { type: 'answer', sdp: this.sub.localDescription.sdp }, negotiationId },
    });
  }

  heard() {
    return this.slots.filter((s) => s.trackId).map((s) => {
      const ear = this.#ears.get(s.mid);
      return { user: this.users.get(s.participantId), hz: ear?.samples.length >= RATE / 10 ? strongest(ear.samples, ear.rate) : 0 };
    });
  }

  async hears(...people) {
    const until = Date.now() + 20_000;

    for (;;) {
      const heard = this.heard().filter((h) => h.hz > 0);
      if (heard.length === people.length && people.every((p) => heard.some((h) => h.user === p.name && Math.abs(h.hz - p.hz) <= 12))) return;
      if (Date.now() > until) throw new Error(`${this.name} should hear ${people.map((p) => `${p.name} ${p.hz}`)}, hears ${JSON.stringify(this.heard())}`);
      await new Promise((again) => { setTimeout(again, 100); });
    }
  }

  negotiated() {
    return this.offers;
  }

  async leave() {
    await this.session.ask('room.leave', { roomId: this.roomId });
  }
}
