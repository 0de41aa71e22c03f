/**
 * From byte ranges to sound: one track in one MediaSource.
 *
 * The opening bytes of the stream (init segment, index, first fragment) and the manifest are asked for at once; from then
 * on fragments are fetched as `plan.js` says, appended as their bytes arrive, and forgotten behind the listener.
 *
 * Promises
 * - One media request at a time, after the opening; a seek out of what is buffered aborts the one that runs.
 * - After `close` nothing is fetched, appended or reported any more.
 * - What is buffered is bounded: `GOAL_SECS` ahead, `KEPT_SECS` behind, less where the browser has less room.
 *
 * Does not know: licences (it hands out the `pssh`), the control plane, the page.
 */

import { Failure } from './failure.js';
import { fragmentAt, parseIndex, primingOf, protectionOf } from './mp4.js';
import { bufferedEnd, nextStep, switchPoint } from './plan.js';
import { Head, RangeReader, streamRange } from './ranges.js';

/** Seconds fetched ahead of the listener. */
export const GOAL_SECS = 30;
/** Seconds kept behind, for a seek back without a request. */
export const KEPT_SECS = 60;
/** The goal is never lowered below this when the browser's buffer is small. */
export const GOAL_LEAST_SECS = 6;
/** The first request carries what precedes the first fragment (init, index of a long track) .. */
const PREAMBLE_BYTES = 8 * 1024;
/** .. and this many seconds: a fragment of 2 s and its overhead. */
const OPENING_SECS = 2.6;
/** The same fragments planned again so often after they were appended: the browser drops them. */
const REPEATS_MAX = 3;

/** @typedef {import('./manifest.js').Manifest} Manifest */
/** @typedef {import('./manifest.js').Rendition} Rendition */
/** @typedef {import('./mp4.js').Fragment} Fragment */
/** @typedef {import('./plan.js').Step} Step */

/** @typedef {{rendition: Rendition, reader: RangeReader, init: Uint8Array, fragments: Fragment[]}} Loaded */

/**
 * @typedef {object} EngineHooks
 * @property {(initData: Uint8Array<ArrayBuffer>) => void} onProtected the track needs a licence for this `pssh`
 * @property {(rendition: Rendition) => void} onRendition from here on, this is what is fetched
 * @property {(failure: Failure) => void} onFailure the engine has stopped
 */

/**
 * @typedef {object} EngineStats
 * @property {number} bufferedSecs ahead of the listener
 * @property {number} fetchedBytes
 * @property {string | null} cacheStatus header of the latest media reply
 * @property {number | null} kbps nominal, of what is fetched
 * @property {[number, number][]} stretches buffered seconds, from and to
 */

export class Engine {
  /** @type {HTMLAudioElement} */ #audio;
  /** @type {EngineHooks} */ #hooks;
  /** @type {MediaSource} */ #media = new MediaSource();
  /** @type {SourceBuffer | null} */ #buffer = null;
  /** @type {Manifest | null} */ #manifest = null;
  /** @type {Loaded | null} what is fetched now */ #loaded = null;
  /** @type {Loaded | null} what shall be fetched from the next switch point on */ #wanted = null;
  #closing = new AbortController();
  /** Aborts the media request that runs, and nothing else. */
  #step = new AbortController();
  /** @type {Step | null} what that request fetches */ #fetching = null;
  /** @type {() => void} resolves the current wait of the fill loop */ #wake = () => undefined;
  #goalSecs = GOAL_SECS;
  #fetchedBytes = 0;
  /** @type {string | null} */ #cacheStatus = null;

  /**
   * @param {HTMLAudioElement} audio
   * @param {EngineHooks} hooks
   */
  constructor(audio, hooks) {
    if (typeof MediaSource === 'undefined') throw new Failure('unsupported', 'open Media Source Extensions');
    this.#audio = audio;
    this.#hooks = hooks;
    const signal = this.#closing.signal;
    for (const event of ['timeupdate', 'playing', 'seeked']) audio.addEventListener(event, () => this.#wake(), { signal });
    audio.addEventListener('seeking', () => this.#onSeeking(), { signal });
    audio.addEventListener('error', () => this.#fail(undecodable(audio)), { signal });
  }

  /**
   * Starts a track. Failures go to the hook; the promise is for who wants to wait.
   * @param {{streamUrl: string, kbps: number, manifest: Promise<Manifest>, at: number}} track `at`: seconds to begin at
   */
  async start({ streamUrl, kbps, manifest, at }) {
    const signal = this.#closing.signal;
    try {
      const length = openingBytes(kbps);
      const head = new Head(length, streamRange(streamUrl, { first: 0, last: length - 1 }, signal, this.#onArrival));
      const [read] = await Promise.all([manifest, this.#attach()]);
      signal.throwIfAborted();
      this.#manifest = read;
      const rendition = chosen(read, streamUrl);
      const loaded = await this.#load(rendition, new RangeReader(streamUrl, head, this.#onArrival));
      this.#prepare(rendition, read.durationSecs);
      await this.#enter(loaded);
      if (at > 0) this.#audio.currentTime = at;
      await this.#fill();
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Continues in another rendition, heard within seconds and without a gap.
   * @param {number} kbps
   * @returns {Promise<boolean>} false when the manifest has no such rendition
   */
  async switchTo(kbps) {
    const rendition = this.#manifest?.renditions.find((other) => other.kbps === kbps);
    if (rendition === undefined) return false;
    if (rendition === (this.#wanted ?? this.#loaded)?.rendition) return true;
    try {
      const loaded = await this.#load(rendition, new RangeReader(rendition.url, null, this.#onArrival));
      this.#wanted = loaded;
      this.#wake();
    } catch (error) {
      this.#fail(error);
    }
    return true;
  }

  /** @returns {EngineStats} */
  stats() {
    const stretches = stretchesOf(this.#audio.buffered);
    const position = this.#audio.currentTime;
    return {
      bufferedSecs: bufferedEnd(stretches, position) - position,
      fetchedBytes: this.#fetchedBytes,
      cacheStatus: this.#cacheStatus,
      kbps: this.#loaded?.rendition.kbps ?? null,
      stretches: stretches.map(({ start, end }) => [start, end]),
    };
  }

  close() {
    this.#closing.abort();
    this.#step.abort();
    this.#wake();
  }

  /** Connects the MediaSource to the element. */
  async #attach() {
    const opened = once(this.#media, 'sourceopen', this.#closing.signal);
    const url = URL.createObjectURL(this.#media);
    this.#audio.src = url;
    await opened;
    URL.revokeObjectURL(url);
  }

  /**
   * @param {Rendition} rendition
   * @param {number} durationSecs
   */
  #prepare(rendition, durationSecs) {
    const type = `audio/mp4; codecs="${rendition.codecs}"`;
    if (!MediaSource.isTypeSupported(type)) throw new Failure('unsupported', `decode ${type}`);
    this.#buffer = this.#media.addSourceBuffer(type);
    this.#media.duration = durationSecs;
    // Cuts the encoder's padding off the last frame, as the edit list cuts its priming off the first: gapless.
    this.#buffer.appendWindowEnd = durationSecs;
  }

  /**
   * Reads what a rendition needs before its first fragment.
   * @param {Rendition} rendition
   * @param {RangeReader} reader
   * @returns {Promise<Loaded>}
   */
  async #load(rendition, reader) {
    const signal = this.#closing.signal;
    const adjoining = rendition.index.first === rendition.init.last + 1;
    const [init, index] = adjoining
      ? split(await reader.read({ first: rendition.init.first, last: rendition.index.last }, signal), rendition.init)
      : await Promise.all([reader.read(rendition.init, signal), reader.read(rendition.index, signal)]);
    return { rendition, reader, init, fragments: parseIndex(index, rendition.index.first, primingOf(init)) };
  }

  /** @param {Loaded} loaded */
  async #enter(loaded) {
    const first = this.#loaded === null;
    this.#loaded = loaded;
    await this.#append(loaded.init);
    if (first) {
      const initData = protectionOf(loaded.init);
      if (initData.length > 0) this.#hooks.onProtected(initData);
    }
    this.#hooks.onRendition(loaded.rendition);
  }

  async #fill() {
    const signal = this.#closing.signal;
    let repeats = 0;
    let lastFrom = -1;
    while (!signal.aborted) {
      await this.#takeOver();
      const step = this.#plan();
      if (step === null) {
        lastFrom = -1;
        await this.#woken();
        continue;
      }
      repeats = step.from === lastFrom ? repeats + 1 : 0;
      lastFrom = step.from;
      if (repeats > REPEATS_MAX) throw new Failure('malformed', `buffer fragment ${step.from}: the browser does not keep it`);
      if (!(await this.#fetch(step))) lastFrom = -1;
      await this.#forget();
    }
  }

  /** @returns {Step | null} */
  #plan() {
    const { fragments } = /** @type {Loaded} */ (this.#loaded);
    const stretches = stretchesOf(this.#audio.buffered);
    const step = nextStep(fragments, stretches, this.#audio.currentTime, this.#goalSecs, this.#media.duration);
    if (step === 'complete' && this.#media.readyState === 'open') this.#media.endOfStream();
    return typeof step === 'string' ? null : step;
  }

  /**
   * @param {Step} step
   * @returns {Promise<boolean>} false when a seek made it pointless
   */
  async #fetch(step) {
    this.#step = new AbortController();
    this.#fetching = step;
    const { reader } = /** @type {Loaded} */ (this.#loaded);
    const signal = this.#step.signal;
    try {
      for await (const bytes of reader.stream({ first: step.first, last: step.last }, signal)) await this.#append(bytes);
      return true;
    } catch (error) {
      if (!signal.aborted) throw error;
      this.#dropHalfFragment();
      return false;
    } finally {
      this.#fetching = null;
    }
  }

  /** What comes next begins with a box, not with the rest of the one that was left. */
  #dropHalfFragment() {
    if (this.#media.readyState !== 'open') return;
    const buffer = this.#ready();
    buffer.abort();
    // `abort` takes the append window away too (MSE §5.2).
    buffer.appendWindowEnd = this.#media.duration;
  }

  /** Lets the wanted rendition take over at the next switch point. */
  async #takeOver() {
    const wanted = this.#wanted;
    if (wanted === null) return;
    this.#wanted = null;
    const from = switchPoint(wanted.fragments, this.#audio.currentTime);
    if (from < this.#media.duration) await this.#remove(from, Infinity);
    await this.#enter(wanted);
  }

  #onSeeking() {
    const position = this.#audio.currentTime;
    const step = this.#fetching;
    const fragments = this.#loaded?.fragments;
    if (step !== null && fragments !== undefined) {
      const held = bufferedEnd(stretchesOf(this.#audio.buffered), position) > position;
      const wantedFragment = fragmentAt(fragments, position);
      const coming = step.from <= wantedFragment && wantedFragment <= step.to;
      if (!held && !coming) this.#step.abort();
    }
    this.#wake();
  }

  /** @param {Uint8Array} bytes */
  async #append(bytes) {
    for (;;) {
      const buffer = this.#ready();
      try {
        buffer.appendBuffer(/** @type {Uint8Array<ArrayBuffer>} */ (bytes));
      } catch (error) {
        if (!(error instanceof DOMException && error.name === 'QuotaExceededError')) throw error;
        await this.#makeRoom();
        continue;
      }
      return this.#updated(buffer);
    }
  }

  /**
   * The browser's buffer is full: aim lower and forget what was heard or left behind by a seek; when there is nothing of
   * that kind, wait until more was heard.
   */
  async #makeRoom() {
    this.#goalSecs = Math.max(GOAL_LEAST_SECS, this.#goalSecs / 2);
    const position = this.#audio.currentTime;
    const stretches = stretchesOf(this.#audio.buffered);
    const heard = position - 1;
    const ahead = bufferedEnd(stretches, position);
    if (stretches.some(({ start }) => start < heard)) await this.#remove(0, heard);
    else if (stretches.some(({ start }) => start > ahead)) await this.#remove(ahead, Infinity);
    else await this.#woken();
  }

  /** Keeps `KEPT_SECS` behind the listener. */
  async #forget() {
    const until = this.#audio.currentTime - KEPT_SECS;
    const [oldest] = stretchesOf(this.#audio.buffered);
    // In steps of a few fragments, so that not every append pays for it.
    if (oldest !== undefined && oldest.start < until - KEPT_SECS / 4) await this.#remove(0, until);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  async #remove(from, to) {
    const buffer = this.#ready();
    buffer.remove(from, to);
    await this.#updated(buffer);
  }

  #ready() {
    this.#closing.signal.throwIfAborted();
    return /** @type {SourceBuffer} */ (this.#buffer);
  }

  /** @param {SourceBuffer} buffer */
  async #updated(buffer) {
    await once(buffer, 'updateend', this.#closing.signal);
    if (this.#audio.error !== null) throw undecodable(this.#audio);
  }

  /** @returns {Promise<void>} */
  #woken() {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** @param {import('./ranges.js').Arrival} arrival */
  #onArrival = (arrival) => {
    this.#fetchedBytes += arrival.bytes;
    this.#cacheStatus = arrival.cacheStatus;
  };

  /** @param {unknown} error */
  #fail(error) {
    if (this.#closing.signal.aborted) return;
    this.close();
    this.#hooks.onFailure(error instanceof Failure ? error : new Failure('malformed', 'play the track', { cause: error }));
  }
}

/**
 * What the browser says when bytes are no audio it can use: damaged, or opened with a wrong key.
 * @param {HTMLAudioElement} audio
 */
function undecodable(audio) {
  return new Failure('malformed', `decode the track: ${audio.error?.message || 'no reason given'}`);
}

/** @param {number} kbps */
function openingBytes(kbps) {
  return PREAMBLE_BYTES + Math.ceil(kbps * 125 * OPENING_SECS);
}

/**
 * The rendition that `streamUrl` is: the one that was granted, not the best that could be had.
 * @param {Manifest} manifest
 * @param {string} streamUrl
 * @returns {Rendition}
 */
function chosen(manifest, streamUrl) {
  const { pathname } = new URL(streamUrl);
  const same = manifest.renditions.find((rendition) => new URL(rendition.url).pathname === pathname);
  if (same === undefined) throw new Failure('malformed', 'find the stream among the renditions of the manifest');
  return same;
}

/**
 * @param {Uint8Array} bytes init segment and index
 * @param {import('./ranges.js').ByteRange} init
 * @returns {[Uint8Array, Uint8Array]}
 */
function split(bytes, init) {
  const length = init.last - init.first + 1;
  return [bytes.subarray(0, length), bytes.subarray(length)];
}

/**
 * @param {TimeRanges} ranges
 * @returns {import('./plan.js').Stretch[]}
 */
function stretchesOf(ranges) {
  return Array.from({ length: ranges.length }, (_, place) => ({ start: ranges.start(place), end: ranges.end(place) }));
}

/**
 * @param {EventTarget} target
 * @param {string} name
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function once(target, name, signal) {
  return new Promise((resolve, reject) => {
    const happened = () => {
      signal.removeEventListener('abort', aborted);
      resolve();
    };
    const aborted = () => {
      target.removeEventListener(name, happened);
      reject(signal.reason);
    };
    target.addEventListener(name, happened, { once: true });
    signal.addEventListener('abort', aborted, { once: true });
  });
}
