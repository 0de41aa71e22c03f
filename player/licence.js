/**
 * Licences: EME ClearKey, one temporary session per track (W3C EME §9.1).
 *
 * Promises
 * - A content key goes from the answer straight into the browser's key system: it is never parsed, kept or logged here.
 * - The session of the last track is closed before the next one's is opened.
 *
 * Does not know: renditions, MSE, who the listener is.
 */

import { answer } from './api.js';
import { Failure, retrying } from './failure.js';

const KEY_SYSTEM = 'org.w3.clearkey';

/** @typedef {{url: string, drmToken: string}} LicenceDesk where to ask, and the right to ask */

/** The keys of one `<audio>` element. */
export class Licences {
  /** @type {MediaKeys} */ #keys;
  /** @type {MediaKeySession | null} */ #session = null;

  /** @param {MediaKeys} keys */
  constructor(keys) {
    this.#keys = keys;
  }

  /**
   * Prepares the key system; costs nothing on the network, so it is done before the first click.
   * @param {HTMLMediaElement} audio
   * @returns {Promise<Licences>}
   */
  static async prepare(audio) {
    // `undefined` where the page is not in a secure context.
    if (navigator.requestMediaKeySystemAccess === undefined) {
      throw new Failure('unsupported', 'open the key system: needs https or localhost');
    }
    try {
      const access = await navigator.requestMediaKeySystemAccess(KEY_SYSTEM, [
        {
          initDataTypes: ['cenc'],
          audioCapabilities: [{ contentType: 'audio/mp4; codecs="mp4a.40.2"' }],
          sessionTypes: ['temporary'],
        },
      ]);
      const keys = await access.createMediaKeys();
      await audio.setMediaKeys(keys);
      return new Licences(keys);
    } catch (cause) {
      throw new Failure('unsupported', `open the key system ${KEY_SYSTEM}`, { cause });
    }
  }

  /**
   * Asks for the keys of a track and hands them to the key system.
   * @param {Uint8Array<ArrayBuffer>} initData `pssh` boxes
   * @param {LicenceDesk} desk
   * @param {AbortSignal} signal
   * @returns {Promise<void>} when the keys are usable
   */
  async unlock(initData, desk, signal) {
    await this.close();
    signal.throwIfAborted();
    const session = this.#keys.createSession('temporary');
    this.#session = session;
    const request = new Promise((/** @type {(message: ArrayBuffer) => void} */ resolve) => {
      session.addEventListener('message', (event) => resolve(event.message), { once: true });
    });
    try {
      await session.generateRequest('cenc', initData);
      const licence = await ask(await request, desk, signal);
      signal.throwIfAborted();
      await session.update(licence);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof Failure ? error : new Failure('malformed', 'use the licence', { cause: error });
    }
  }

  /** Forgets the keys of the current track. */
  async close() {
    const session = this.#session;
    this.#session = null;
    // Closing a session that never got as far as a request is an error to EME and nothing to us.
    await session?.close().catch(() => undefined);
  }
}

/**
 * @param {ArrayBuffer} request
 * @param {LicenceDesk} desk
 * @param {AbortSignal} signal
 * @returns {Promise<ArrayBuffer>}
 */
function ask(request, desk, signal) {
  const doing = 'ask for the licence';
  return retrying(async () => {
    const reply = await answer(doing, desk.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${desk.drmToken}` },
      body: request,
      signal,
    });
    return reply.arrayBuffer().catch((cause) => Promise.reject(new Failure('unreachable', doing, { cause })));
  }, signal);
}
