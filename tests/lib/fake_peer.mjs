/**
 * RTCPeerConnection without media: the signaling state machine of W3C WebRTC 1.0 §4.4, enough of
 * transceivers for addTrack, hold, ICE restart and the sections of a room, data channels, and
 * descriptions that say who made them and, after addTransceiver, which sections they have.
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

  clone() {
    return new FakeTrack(this.kind);
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
  getDisplayMedia(constraints) {
    return this.getUserMedia(constraints);
  },
});

class FakeTransceiver {
  #pc;
  #direction;
  #parameters;

  constructor(pc, kind, track, { direction = 'sendrecv', sendEncodings = [{}] } = {}) {
    this.#pc = pc;
    this.#direction = direction;
    this.#parameters = { encodings: sendEncodings.map((e) => ({ active: true, ...e })) };
    this.kind = kind;
    this.mid = null;
    this.stopped = false;
    this.receiver = { track: new FakeTrack(kind) };
    this.sender = {
      track,
      replaceTrack: async (t) => { this.sender.track = t; },
      getParameters: () => structuredClone(this.#parameters),
      setParameters: async (p) => { this.#parameters = p; },
    };
  }

  setCodecPreferences(codecs) {
    this.codecs = codecs;
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
    channels = [];
    #transceivers = [];
    #sections = false;
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

    addTransceiver(what, init) {
      const track = typeof what === 'string' ? null : what;
      const transceiver = new FakeTransceiver(this, track?.kind ?? what, track, init);

      this.#sections = true;
      this.#transceivers.push(transceiver);
      this._need();
      return transceiver;
    }

    createDataChannel(label, options) {
      const channel = {
        label, options, readyState: 'connecting', bufferedAmount: 0, sent: [], send(m) { this.sent.push(m); },
      };

      this.channels.push(channel);
      return channel;
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

    async createOffer({ iceRestart } = {}) {
      if (iceRestart) this.restarts++;
      return { type: 'offer', sdp: `offer of ${this.name}${this.#media()}` };
    }

    /** Sections in the order of the transceivers, mids as a browser would give them. */
    #media() {
      if (!this.#sections) return '';
      return ['', ...this.#transceivers.map((t, i) => `m=${t.kind} 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:${i}\r\n`
        + `a=${t.direction}\r\n${t.kind === 'audio' ? 'a=rtpmap:111 opus/48000/2\r\n' : ''}`)].join('\r\n');
    }

    async setLocalDescription(description) {
      const type = description?.type ?? (this.signalingState === 'have-remote-offer' ? 'answer' : 'offer');

      if (this.closed) throw new Error('closed');
      if (type === 'rollback') return this.#rollback();
      this.localDescription = { type, sdp: description?.sdp ?? `${type} of ${this.name}` };
      if (this.#sections) this.#transceivers.forEach((t, i) => { t.mid = String(i); });
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
