/**
 * The web player: joins the page, the control plane, the licences and the engine.
 *
 * Promises
 * - One play at a time: choosing another track ends everything the last one had under way.
 * - A token that ran out during a pause is renewed without the listener's help, where the music stood.
 *
 * Does not know: boxes, ranges, keys.
 */

import { ControlPlane, QUALITIES } from './api.js';
import { Engine } from './engine.js';
import { Failure } from './failure.js';
import { Licences } from './licence.js';
import { gainFor, volumeFor } from './loudness.js';
import { ProgressReporter } from './progress.js';
import { ProtocolWatch } from './protocol.js';
import { View, element } from './view.js';

/** The page's figures are brought up to date so often. */
const REFRESH_MS = 250;
/** A token renewed within this time of the last renewal means clocks disagree: the listener has to know. */
const RENEWAL_PAUSE_MS = 60_000;
/** A click on "previous" later than this goes back to the start of the same track. */
const RESTART_SECS = 3;

/** @typedef {import('./api.js').Track} Track */
/** @typedef {import('./api.js').Grant} Grant */
/** @typedef {import('./api.js').DemoListener} DemoListener */

/**
 * Everything that ends when another track is chosen.
 * @typedef {object} Play
 * @property {number} place
 * @property {Track} track
 * @property {AbortController} ending
 * @property {number} clickedAt
 * @property {number} wishedKbps
 * @property {number | null} startMs
 * @property {Grant | null} grant
 * @property {Engine | null} engine
 * @property {ProgressReporter | null} reporter
 */

class Player {
  #audio = element('audio', HTMLAudioElement);
  #control = new ControlPlane();
  #protocols = new ProtocolWatch();
  #view = new View({
    logIn: (listener) => void this.#try(() => this.#logIn(listener)),
    logOut: () => this.#logOut(),
    choose: (place) => this.#choose(place, 0),
    moreTracks: () => void this.#try(() => this.#addTracks()),
    toggle: () => this.#toggle(),
    skip: (by) => this.#skip(by),
    seek: (secs) => this.#seek(secs),
    volume: () => this.#applyVolume(),
    quality: () => void this.#changeQuality(),
    retry: () => this.#again(),
  });
  /** @type {Promise<Licences> | null} */ #licences = null;
  /** @type {DemoListener[]} */ #listeners = [];
  /** @type {Track[]} */ #tracks = [];
  /** @type {string | null} where the list of tracks goes on */ #next = null;
  /** @type {Play | null} */ #play = null;
  #renewedAt = -Infinity;
  /** @type {() => void} what failed last, to be tried once more */ #again = () => undefined;

  async begin() {
    this.#listen();
    setInterval(() => this.#refresh(), REFRESH_MS);
    await this.#try(() => this.#welcome());
  }

  /** Figures for tests and for curious people at the console. No token, no URL, no key. */
  stats() {
    const play = this.#play;
    const stats = play?.engine?.stats();
    return {
      track: play?.track.title ?? null,
      position: this.#audio.currentTime,
      duration: this.#audio.duration,
      paused: this.#audio.paused,
      protocol: this.#protocols.latest,
      requests: this.#protocols.requests,
      kbps: stats?.kbps ?? null,
      wishedKbps: play?.wishedKbps ?? null,
      bufferedSecs: stats?.bufferedSecs ?? 0,
      stretches: stats?.stretches ?? [],
      fetchedBytes: stats?.fetchedBytes ?? 0,
      cacheStatus: stats?.cacheStatus ?? null,
      startMs: play?.startMs ?? null,
      interruptions: play?.reporter?.bufferingEvents ?? 0,
    };
  }

  #listen() {
    const audio = this.#audio;
    audio.addEventListener('playing', () => this.#onPlaying());
    audio.addEventListener('pause', () => this.#view.showState(this.#play === null ? 'idle' : 'paused'));
    audio.addEventListener('waiting', () => this.#view.showState(audio.paused ? 'paused' : 'loading'));
    audio.addEventListener('ended', () => this.#skip(1));
    for (const [action, act] of /** @type {[MediaSessionAction, (details: MediaSessionActionDetails) => void][]} */ ([
      ['play', () => this.#audio.paused && this.#toggle()],
      ['pause', () => this.#audio.pause()],
      ['previoustrack', () => this.#skip(-1)],
      ['nexttrack', () => this.#skip(1)],
      ['seekto', (details) => this.#seek(details.seekTime ?? 0)],
    ])) {
      navigator.mediaSession?.setActionHandler(action, act);
    }
  }

  async #welcome() {
    const config = await this.#control.config();
    this.#listeners = config.demoListeners;
    this.#view.showWelcome(this.#listeners);
    if (this.#listeners.length === 0) this.#view.warn('This server has no demo listeners.');
  }

  /** @param {DemoListener} listener */
  async #logIn(listener) {
    // Opened by the first click, while the network is busy anyway; failures come up with the first track.
    this.#licences ??= Licences.prepare(this.#audio);
    this.#licences.catch(() => undefined);
    await this.#control.logIn(listener.name);
    this.#tracks = [];
    this.#next = null;
    this.#view.calm();
    this.#view.showLibrary(listener);
    this.#view.showNothing();
    await this.#addTracks();
  }

  #logOut() {
    this.#end();
    this.#control.logOut();
    this.#view.calm();
    this.#view.showWelcome(this.#listeners);
  }

  async #addTracks() {
    const page = await this.#control.tracks(this.#next);
    this.#tracks.push(...page.tracks);
    this.#next = page.next;
    this.#view.addTracks(page.tracks, page.next !== null);
  }

  /**
   * @param {number} place
   * @param {number} at seconds to begin at
   */
  #choose(place, at) {
    const track = this.#tracks[place];
    if (track === undefined) return;
    this.#end();
    /** @type {Play} */
    const play = {
      place,
      track,
      ending: new AbortController(),
      clickedAt: performance.now(),
      wishedKbps: QUALITIES[this.#view.quality],
      startMs: null,
      grant: null,
      engine: null,
      reporter: null,
    };
    this.#play = play;
    this.#view.calm();
    this.#view.showTrack(track, place);
    this.#view.showState('loading');
    this.#view.say(`Loading ${track.title}`);
    this.#start(play, at).catch((error) => this.#onFailure(play, error));
  }

  /**
   * @param {Play} play
   * @param {number} at
   */
  async #start(play, at) {
    const signal = play.ending.signal;
    const grant = await this.#control.play(play.track, this.#view.quality, deviceId(), signal);
    signal.throwIfAborted();
    play.grant = grant;
    this.#protocols.follow(new URL(grant.streamUrl).origin);
    const manifest = this.#control.manifest(grant.manifestUrl, signal);
    // Before the element gets its source: Chromium wants the key system first.
    const licences = await /** @type {Promise<Licences>} */ (this.#licences);
    signal.throwIfAborted();
    play.engine = new Engine(this.#audio, {
      onProtected: (initData) => {
        const desk = { url: grant.licenceUrl, drmToken: grant.drmToken };
        licences.unlock(initData, desk, signal).catch((error) => this.#onFailure(play, error));
      },
      onRendition: (rendition) => this.#onRendition(play, rendition.kbps),
      onFailure: (failure) => this.#onFailure(play, failure),
    });
    play.reporter = new ProgressReporter(this.#audio, (progress) =>
      this.#control.progress({ sessionId: grant.sessionId, trackId: play.track.id, ...progress }),
    );
    this.#applyVolume();
    void play.engine.start({ streamUrl: grant.streamUrl, kbps: grant.kbps, manifest, at });
    this.#resume();
    describe(play.track);
  }

  /** Ends the current play and everything it has under way. */
  #end() {
    const play = this.#play;
    if (play === null) return;
    this.#play = null;
    play.reporter?.end();
    play.ending.abort();
    play.engine?.close();
    this.#audio.pause();
    this.#audio.removeAttribute('src');
    this.#audio.load();
  }

  #toggle() {
    const play = this.#play;
    if (play === null) return;
    if (play.ending.signal.aborted) this.#again();
    // Heard to the end: once more is a new play, with a session of its own.
    else if (this.#audio.ended) this.#choose(play.place, 0);
    else if (this.#audio.paused) this.#resume();
    else this.#audio.pause();
  }

  #resume() {
    if (this.#audio.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) this.#view.showState('loading');
    this.#audio.play().catch((error) => {
      // A pause or another track overtook it, or the browser wants a click first.
      if (error.name === 'NotAllowedError') this.#view.say('Press play to begin');
      if (this.#audio.paused && this.#play !== null) this.#view.showState('paused');
    });
  }

  /** @param {1 | -1} by */
  #skip(by) {
    if (this.#play === null) return;
    if (by === -1 && this.#audio.currentTime > RESTART_SECS) this.#seek(0);
    else this.#choose(this.#play.place + by, 0);
  }

  /** @param {number} secs */
  #seek(secs) {
    const { duration } = this.#audio;
    if (!Number.isFinite(duration)) return;
    this.#audio.currentTime = Math.min(Math.max(0, secs), duration);
    this.#refresh();
  }

  #applyVolume() {
    this.#audio.volume = volumeFor(this.#view.volumePercent) * gainFor(this.#play?.grant?.loudness ?? null);
  }

  async #changeQuality() {
    const play = this.#play;
    if (play?.engine == null) return;
    play.wishedKbps = QUALITIES[this.#view.quality];
    const had = play.engine.stats().kbps;
    if (!(await play.engine.switchTo(play.wishedKbps))) {
      this.#view.say(`Your plan has no ${play.wishedKbps} kbit/s for this track; it stays at ${had}.`);
    }
  }

  /**
   * @param {Play} play
   * @param {number} kbps
   */
  #onRendition(play, kbps) {
    if (play.startMs === null) return;
    play.reporter?.qualitySwitched();
    this.#view.say(`Now ${kbps} kilobits per second`);
  }

  #onPlaying() {
    const play = this.#play;
    this.#view.showState('playing');
    if (play === null || play.startMs !== null) return;
    play.startMs = performance.now() - play.clickedAt;
    this.#view.say(`Playing ${play.track.title}`);
  }

  /**
   * @param {Play} play
   * @param {unknown} error
   */
  #onFailure(play, error) {
    if (play !== this.#play || play.ending.signal.aborted) return;
    play.ending.abort();
    play.engine?.close();
    const failure = error instanceof Failure ? error : new Failure('malformed', 'play the track', { cause: error });
    const position = this.#audio.currentTime;
    this.#again = () => this.#choose(play.place, position);
    if (failure.kind === 'expired' && performance.now() - this.#renewedAt > RENEWAL_PAUSE_MS) {
      this.#renewedAt = performance.now();
      this.#again();
      return;
    }
    this.#audio.pause();
    this.#view.showState('paused');
    this.#explain(failure);
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    try {
      await work();
    } catch (error) {
      this.#again = () => {
        this.#view.calm();
        void this.#try(work);
      };
      this.#explain(error);
    }
  }

  /** @param {unknown} error */
  #explain(error) {
    console.error(error);
    const failure = error instanceof Failure ? error : new Failure('malformed', 'run the player', { cause: error });
    if (failure.status === 401) {
      this.#logOut();
      this.#view.warn('Your login has run out. Please log in again.');
    } else if (failure.kind === 'unreachable' && failure.origin !== null) {
      const advice = 'If its certificate is new to this browser, open it once, accept it, and come back.';
      const link = { href: failure.origin, text: 'Open the edge' };
      this.#view.warn(`The edge at ${failure.origin} does not answer. ${advice}`, { link, retry: true });
    } else {
      this.#view.warn(sentence(failure), { retry: failure.kind !== 'unsupported' });
    }
  }

  #refresh() {
    const play = this.#play;
    if (play === null) return;
    const stats = this.stats();
    this.#view.showTime(stats.position, stats.duration, stats.position + stats.bufferedSecs);
    this.#view.showFacts({ ...stats, wishedKbps: play.wishedKbps });
  }
}

/**
 * @param {Failure} failure
 * @returns {string} for the listener
 */
function sentence(failure) {
  switch (failure.kind) {
    case 'unreachable':
      return `No answer (${failure.message}). Is the network there?`;
    case 'busy':
      return `The service is busy (${failure.message}). Please try again in a moment.`;
    case 'expired':
      return 'The right to this stream has expired, and a new one was refused as expired too: the clock of the server and the edge differ.';
    case 'refused':
      return `Refused (${failure.message}).`;
    case 'malformed':
      return `Something came back that is not music (${failure.message}).`;
    case 'unsupported':
      return `This browser cannot play it (${failure.message}).`;
  }
}

/** @param {Track} track */
function describe(track) {
  if (navigator.mediaSession === undefined) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title: track.title, artist: track.artist, album: track.album });
}

/** This browser's name towards the device limit: random, and the same next time. */
function deviceId() {
  const place = 'antiphon.device';
  const known = localStorage.getItem(place);
  if (known !== null) return known;
  const made = `web-${crypto.randomUUID()}`;
  localStorage.setItem(place, made);
  return made;
}

const player = new Player();
Object.defineProperty(window, 'antiphon', { value: Object.freeze({ stats: () => player.stats() }) });
await player.begin();
