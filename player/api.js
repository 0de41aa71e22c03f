/**
 * The control plane, as a page sees it: log in, list, play, report.
 *
 * Promises
 * - The access token stays in this module's memory: no storage, no URL, no error text.
 * - Every answer is a typed value or a `Failure` that carries the server's own sentence (RFC 9457 `detail`).
 *
 * Does not know: MSE, the edge, the page's elements.
 */

import { Failure, failureOf } from './failure.js';
import { readManifest } from './manifest.js';

/** The words of the API for how good it should sound, and the bit rate each stands for. */
export const QUALITIES = Object.freeze({ low: 64, normal: 128, high: 256, premium: 320 });
/** Tracks asked for at once. */
export const PAGE_TRACKS = 50;
/** Longest wait for an answer of the control plane. */
export const ANSWER_MS = 10_000;
/** The password of both demo listeners, which exist on loopback only. */
const DEMO_PASSWORD = 'listen';

/** @typedef {keyof typeof QUALITIES} Quality */
/** @typedef {{name: string, tier: string}} DemoListener */
/** @typedef {{edgeUrl: string, demoListeners: DemoListener[]}} PageConfig */
/** @typedef {{id: string, title: string, artist: string, album: string, durationSecs: number}} Track */
/** @typedef {{tracks: Track[], next: string | null}} TrackPage */
/** @typedef {{integrated_lufs: number, true_peak_dbtp: number}} Loudness */

/**
 * What a play was granted.
 * @typedef {object} Grant
 * @property {string} sessionId
 * @property {string} streamUrl
 * @property {string} manifestUrl
 * @property {string} licenceUrl
 * @property {string} drmToken
 * @property {number} kbps
 * @property {number} durationSecs
 * @property {Loudness | null} loudness
 */

/**
 * @typedef {object} ProgressReport
 * @property {string} sessionId
 * @property {string} trackId
 * @property {number} positionSecs
 * @property {number} playedSecs
 * @property {number} bufferingEvents
 * @property {number} qualitySwitches
 */

/** One listener's conversation with the control plane that served the page. */
export class ControlPlane {
  /** @type {string | null} */ #accessToken = null;

  get loggedIn() {
    return this.#accessToken !== null;
  }

  /** @returns {Promise<PageConfig>} */
  async config() {
    const json = await this.#ask('read the page configuration', '/player/config.json', {});
    return {
      edgeUrl: text(json.edge_url),
      demoListeners: list(json.demo_listeners).map((entry) => ({ name: text(entry.name), tier: text(entry.tier) })),
    };
  }

  /**
   * RFC 6749 §4.3.
   * @param {string} name
   */
  async logIn(name) {
    const body = new URLSearchParams({ grant_type: 'password', username: name, password: DEMO_PASSWORD, client_id: 'antiphon-player' });
    const json = await this.#ask(`log in as ${name}`, '/oauth/token', { method: 'POST', body });
    this.#accessToken = text(json.access_token);
  }

  logOut() {
    this.#accessToken = null;
  }

  /**
   * @param {string | null} after
   * @returns {Promise<TrackPage>}
   */
  async tracks(after) {
    const query = new URLSearchParams({ limit: String(PAGE_TRACKS), ...(after === null ? {} : { after }) });
    const json = await this.#ask('list the tracks', `/api/v1/songs?${query}`, {});
    return {
      tracks: list(json.songs).map(track),
      next: typeof json.next === 'string' ? json.next : null,
    };
  }

  /**
   * @param {Track} wanted
   * @param {Quality} quality
   * @param {string} deviceId
   * @param {AbortSignal} signal
   * @returns {Promise<Grant>}
   */
  async play(wanted, quality, deviceId, signal) {
    const wish = { song_id: wanted.id, quality, device_id: deviceId };
    const json = await this.#ask(`play ${wanted.title}`, '/api/v1/stream/play', { ...posted(wish), signal });
    return {
      sessionId: text(json.session_id),
      streamUrl: absolute(json.stream_url),
      manifestUrl: absolute(json.manifest_url),
      licenceUrl: absolute(json.license_url),
      drmToken: text(json.drm_token),
      kbps: number(json.bitrate),
      durationSecs: number(json.duration),
      loudness: loudness(json.loudness),
    };
  }

  /**
   * @param {string} url
   * @param {AbortSignal} signal
   */
  async manifest(url, signal) {
    const doing = 'fetch the manifest';
    const reply = await answer(doing, url, { signal });
    const body = await reply.text().catch((cause) => Promise.reject(new Failure('unreachable', doing, { cause })));
    return readManifest(new DOMParser().parseFromString(body, 'application/xml'), url);
  }

  /** @param {ProgressReport} report */
  async progress(report) {
    const body = {
      session_id: report.sessionId,
      song_id: report.trackId,
      position: report.positionSecs,
      duration_played: report.playedSecs,
      buffering_events: report.bufferingEvents,
      quality_switches: report.qualitySwitches,
    };
    // `keepalive`: the last report of a page that closes still leaves.
    await answer('report progress', '/api/v1/stream/progress', this.#authorised({ ...posted(body), keepalive: true }));
  }

  /**
   * @param {string} doing
   * @param {string} url
   * @param {RequestInit} init
   * @returns {Promise<Record<string, unknown>>}
   */
  async #ask(doing, url, init) {
    const reply = await answer(doing, url, this.#authorised(init));
    const json = await reply.json().catch((cause) => Promise.reject(new Failure('malformed', `${doing}: no JSON`, { cause })));
    if (json === null || typeof json !== 'object') throw new Failure('malformed', `${doing}: no JSON object`);
    return json;
  }

  /**
   * @param {RequestInit} init
   * @returns {RequestInit}
   */
  #authorised(init) {
    if (this.#accessToken === null) return init;
    return { ...init, headers: { ...init.headers, Authorization: `Bearer ${this.#accessToken}` } };
  }
}

/**
 * One request, one good answer or a failure.
 * @param {string} doing
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
export async function answer(doing, url, init) {
  const limit = AbortSignal.timeout(ANSWER_MS);
  const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
  /** @type {Response} */
  let reply;
  try {
    reply = await fetch(url, { cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer', ...init, signal });
  } catch (cause) {
    init.signal?.throwIfAborted();
    throw new Failure('unreachable', doing, { cause });
  }
  if (reply.ok) return reply;
  const detail = await problemDetail(reply);
  throw failureOf(detail === null ? doing : `${doing}: ${detail}`, reply);
}

/**
 * @param {Response} reply
 * @returns {Promise<string | null>} the server's own sentence, if it sent one
 */
async function problemDetail(reply) {
  if (!reply.headers.get('Content-Type')?.startsWith('application/problem+json')) return null;
  const problem = await reply.json().catch(() => null);
  return typeof problem?.detail === 'string' ? problem.detail : null;
}

/** @param {object} body */
function posted(body) {
  return { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
}

/**
 * The seed's song is our track.
 * @param {Record<string, any>} song
 * @returns {Track}
 */
function track(song) {
  return {
    id: text(song.song_id),
    title: text(song.title),
    artist: typeof song.artist?.name === 'string' ? song.artist.name : '',
    album: typeof song.album?.title === 'string' ? song.album.title : '',
    // The seed counts whole seconds; what else a server knows is more exact.
    durationSecs: Number.isFinite(song.duration_ms) ? song.duration_ms / 1000 : number(song.duration),
  };
}

/**
 * @param {unknown} value
 * @returns {Loudness | null}
 */
function loudness(value) {
  const { integrated_lufs, true_peak_dbtp } = /** @type {Partial<Loudness>} */ (value ?? {});
  return Number.isFinite(integrated_lufs) ? { integrated_lufs: Number(integrated_lufs), true_peak_dbtp: Number(true_peak_dbtp) } : null;
}

/** @param {unknown} value */
function absolute(value) {
  return new URL(text(value), document.baseURI).href;
}

/** @param {unknown} value */
function text(value) {
  if (typeof value !== 'string' || value === '') throw new Failure('malformed', 'read an answer: a text is missing');
  return value;
}

/** @param {unknown} value */
function number(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Failure('malformed', 'read an answer: a number is missing');
  return value;
}

/**
 * @param {unknown} value
 * @returns {Record<string, any>[]}
 */
function list(value) {
  if (!Array.isArray(value)) throw new Failure('malformed', 'read an answer: a list is missing');
  return value;
}
