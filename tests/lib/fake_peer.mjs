/**
 * RTCPeerConnection without media: the signaling state machine of W3C WebRTC 1.0 §4.4, enough of
 * transceivers for addTrack, hold and ICE restart, and descriptions that say who made them.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
let serial = 0;

export class FakeTrack {
  constructor(kind) {
    this.kind = kind;
    this.enabled = true;
    this.readyState = 'live';
    this.muted = false;
  }

  stop() {
    this.readyState = 'ended';
  }
}

export class FakeStream {
  #tracks;

  constructor(tracks = []) {
    this.#tracks = [...tracks];
  }

  getTracks() {
    return [...this.#tracks];
  }

  getAudioTracks() {
    return this.#tracks.filter((t) => t.kind === 'audio');
  }

  getVideoTracks() {
    return this.#tracks.filter((t) => t.kind === 'video');
  }

  addTrack(track) {
    this.#tracks.push(track);
  }

  removeTrack(track) {
    this.#tracks = this.#tracks.filter((t) => t !== track);
  }
}

export const fakeMediaDevices = () => ({
  opened: [],
  async getUserMedia({ audio, video }) {
    const tracks = [];
    if (audio) tracks.push(new FakeTrack('audio'));
    if (video) tracks.push(new FakeTrack('video'));
    this.opened.push(...tracks);
    return new FakeStream(tracks);
  },
});

class FakeTransceiver {
  #pc;
  #direction = 'sendrecv';

  constructor(pc, kind, track) {
    this.#pc = pc;
    this.stopped = false;
    this.receiver = { track: new FakeTrack(kind) };
    this.sender = { track, replaceTrack: async (t) => { this.sender.track = t; } };
  }

  get direction() {
    return this.#direction;
  }

  set direction(direction) {
    this.#direction = direction;
    this.#pc._need();
  }
}

/** Makes an RTCPeerConnection class and the list of those that were made. */
export function fakePeers() {
  const peers = [];

  class FakePeer {
    signalingState = 'stable';
    connectionState = 'new';
    localDescription = null;
    remoteDescription = null;
    candidates = [];
    closed = false;
    restarts = 0;
    #transceivers = [];
    #needed = false;
    #rolledBack = false;
    #told = false;
    #stable = [null, null];

    constructor(configuration) {
      this.configuration = configuration;
      this.name = `pc${++serial}`;
      peers.push(this);
    }

    setConfiguration(configuration) {
      this.configuration = configuration;
    }

    addTrack(track) {
      this.#transceivers.push(new FakeTransceiver(this, track.kind, track));
      this._need();
    }

    getTransceivers() {
      return this.#transceivers;
    }

    getSenders() {
      return this.#transceivers.map((t) => t.sender);
    }

    restartIce() {
      this.restarts++;
      this._need();
    }

    async createOffer() {
      return { type: 'offer', sdp: `offer of ${this.name}` };
    }

    async setLocalDescription(description) {
      const type = description?.type ?? (this.signalingState === 'have-remote-offer' ? 'answer' : 'offer');

      if (this.closed) throw new Error('closed');
      if (type === 'rollback') return this.#rollback();
      this.localDescription = { type, sdp: description?.sdp ?? `${type} of ${this.name}` };
      this.#move(type === 'offer' ? 'have-local-offer' : 'stable');
      return undefined;
    }

    async setRemoteDescription({ type, sdp }) {
      if (this.closed) throw new Error('closed');
      if (type === 'offer' && this.signalingState === 'have-local-offer') this.#rollback();
      if (type === 'answer' && this.signalingState !== 'have-local-offer') throw new Error('state');
      this.remoteDescription = { type, sdp };
      if (type === 'offer' && this.#transceivers.length === 0)
        this.#transceivers.push(new FakeTransceiver(this, 'audio', null));
      this.#move(type === 'offer' ? 'have-remote-offer' : 'stable');
    }

    async addIceCandidate(candidate) {
      if (!this.remoteDescription) throw new Error('no remote description');
      this.candidates.push(candidate);
    }

    async getStats() {
      return new Map();
    }

    close() {
      this.closed = true;
    }

    /* what a test does */
    become(connectionState) {
      this.connectionState = connectionState;
      this.onconnectionstatechange?.({});
    }

    find(candidate) {
      this.onicecandidate?.({
        candidate: candidate && { candidate, toJSON: () => ({ candidate, sdpMid: '0' }) },
      });
    }

    /* inside */
    _need() {
      this.#needed = true;
      this.#tell();
    }

    #rollback() {
      [this.localDescription, this.remoteDescription] = this.#stable;
      this.#needed = this.#rolledBack = true;
      this.signalingState = 'stable';
      this.#tell();
    }

    #move(state) {
      this.signalingState = state;
      if (state !== 'stable') return;
      this.#stable = [this.localDescription, this.remoteDescription];
      this.#needed = this.#rolledBack;
      this.#rolledBack = false;
      this.#tell();
    }

    #tell() {
      if (this.#told) return;
      this.#told = true;
      setImmediate(() => {
        this.#told = false;
        if (this.#needed && this.signalingState === 'stable' && !this.closed)
          this.onnegotiationneeded?.({});
      });
    }
  }

  return { FakePeer, peers };
}
