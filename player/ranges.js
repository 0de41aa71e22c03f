/**
 * Byte ranges of one object at the edge, as they arrive.
 *
 * Promises
 * - The bytes are exactly the ones asked for (fewer only where the object ends): status, `Content-Range` and length all
 *   have to agree, else it is a failure and not music.
 * - An answer that breaks off, or stands still for `STALL_MS`, is continued by another request from the next byte on.
 *
 * Does not know: boxes, fragments, keys.
 */

import { Failure, anotherChance, failureOf } from './failure.js';

/** Longest silence inside one answer. */
export const STALL_MS = 8000;

/** @typedef {{first: number, last: number}} ByteRange ends inclusive, as on the wire */
/** @typedef {{cacheStatus: string | null, bytes: number}} Arrival what a reply brought, told piece by piece */
/** @typedef {(arrival: Arrival) => void} OnArrival */

/** Reads ranges of one object; what its head holds, or is about to hold, is not asked for twice. */
export class RangeReader {
  /** @type {string} */ #url;
  /** @type {Head | null} */ #head;
  /** @type {OnArrival} */ #onArrival;

  /**
   * @param {string} url
   * @param {Head | null} head
   * @param {OnArrival} onArrival
   */
  constructor(url, head, onArrival) {
    this.#url = url;
    this.#head = head;
    this.#onArrival = onArrival;
  }

  /**
   * @param {ByteRange} range must lie inside the object
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Uint8Array, void>}
   */
  async *stream(range, signal) {
    let next = range.first;
    for await (const held of this.#head?.from(next, signal) ?? []) {
      const wanted = held.subarray(0, range.last + 1 - next);
      next += wanted.length;
      yield wanted;
      if (next > range.last) return;
    }
    for await (const bytes of streamRange(this.#url, { first: next, last: range.last }, signal, this.#onArrival)) {
      next += bytes.length;
      yield bytes;
    }
    if (next <= range.last) {
      throw new Failure('malformed', `read bytes ${range.first}-${range.last} of ${nameOf(this.#url)}: the object is shorter`);
    }
  }

  /**
   * The same in one piece.
   * @param {ByteRange} range
   * @param {AbortSignal} signal
   * @returns {Promise<Uint8Array>}
   */
  async read(range, signal) {
    const whole = new Uint8Array(range.last - range.first + 1);
    let filled = 0;
    for await (const bytes of this.stream(range, signal)) {
      whole.set(bytes, filled);
      filled += bytes.length;
    }
    return whole;
  }
}

/** The first bytes of an object, on their way before anybody knows what is in them. */
export class Head {
  /** @type {Uint8Array} */ #bytes;
  #filled = 0;
  #ended = false;
  /** @type {unknown} */ #failure = null;
  /** @type {Set<() => void>} */ #waiting = new Set();

  /**
   * @param {number} length how many bytes at most
   * @param {AsyncIterable<Uint8Array>} arriving from the object's first byte on
   */
  constructor(length, arriving) {
    this.#bytes = new Uint8Array(length);
    void this.#collect(arriving);
  }

  /**
   * Bytes from `next` on, as they arrive; ends where the head ends.
   * @param {number} next
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Uint8Array, void>}
   */
  async *from(next, signal) {
    while (next < this.#bytes.length) {
      if (next < this.#filled) {
        const bytes = this.#bytes.subarray(next, this.#filled);
        next += bytes.length;
        yield bytes;
      } else if (this.#failure !== null) {
        throw this.#failure;
      } else if (this.#ended) {
        return;
      } else {
        await this.#arrival(signal);
      }
    }
  }

  /** @param {AsyncIterable<Uint8Array>} arriving */
  async #collect(arriving) {
    try {
      for await (const bytes of arriving) {
        this.#bytes.set(bytes, this.#filled);
        this.#filled += bytes.length;
        this.#tell();
      }
    } catch (error) {
      this.#failure = error;
    }
    this.#ended = true;
    this.#tell();
  }

  #tell() {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<void>}
   */
  #arrival(signal) {
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting.delete(wake);
        reject(signal.reason);
      };
      const wake = () => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      if (signal.aborted) return stop();
      this.#waiting.add(wake);
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}

/**
 * One range, patiently.
 * @param {string} url
 * @param {ByteRange} range
 * @param {AbortSignal} signal
 * @param {OnArrival} onArrival
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
export async function* streamRange(url, range, signal, onArrival) {
  const rest = { ...range };
  for (let made = 1; rest.first <= rest.last; made += 1) {
    try {
      for await (const bytes of attempt(url, rest, signal, onArrival)) {
        rest.first += bytes.length;
        yield bytes;
      }
      return;
    } catch (error) {
      await anotherChance(made, error, signal);
    }
  }
}

/**
 * RFC 9110 §14.4, the satisfied form with a known length; anything else is `null`.
 * @param {string | null} text
 * @returns {{first: number, last: number, total: number} | null}
 */
export function parseContentRange(text) {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text ?? '');
  if (match === null) return null;
  const [first, last, total] = match.slice(1).map(Number);
  return first <= last && last < total ? { first, last, total } : null;
}

/**
 * The last part of a URL's path: enough to recognise an object, and free of the token.
 * @param {string} url
 */
export function nameOf(url) {
  return new URL(url).pathname.split('/').pop() ?? '';
}

/**
 * @param {string} url
 * @param {ByteRange} asked its end is drawn in to where the object ends
 * @param {AbortSignal} signal
 * @param {OnArrival} onArrival
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* attempt(url, asked, signal, onArrival) {
  const doing = `fetch bytes ${asked.first}-${asked.last} of ${nameOf(url)}`;
  const watch = new StallWatch(signal);
  try {
    const reply = await watch.over(
      fetch(url, {
        headers: { Range: `bytes=${asked.first}-${asked.last}` },
        signal: watch.signal,
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
        cache: 'no-store',
      }),
    );
    asked.last = grantedBy(reply, asked, doing).last;
    const cacheStatus = reply.headers.get('Cache-Status');
    for await (const bytes of bodyOf(reply, asked.last - asked.first + 1, watch, doing)) {
      onArrival({ cacheStatus, bytes: bytes.length });
      yield bytes;
    }
  } catch (error) {
    signal.throwIfAborted();
    // `fetch` hides the reason of a network failure on purpose: name, certificate and cable all look alike.
    throw error instanceof Failure ? error : new Failure('unreachable', doing, { cause: error, origin: new URL(url).origin });
  } finally {
    watch.end();
  }
}

/**
 * @param {Response} reply
 * @param {ByteRange} asked
 * @param {string} doing
 */
function grantedBy(reply, asked, doing) {
  if (reply.status !== 206) {
    throw reply.ok ? new Failure('malformed', `${doing}: status ${reply.status} is no range`) : failureOf(doing, reply);
  }
  const granted = parseContentRange(reply.headers.get('Content-Range'));
  if (granted === null || granted.first !== asked.first || granted.last !== Math.min(asked.last, granted.total - 1)) {
    throw new Failure('malformed', `${doing}: another range came back`);
  }
  return granted;
}

/**
 * @param {Response} reply
 * @param {number} length
 * @param {StallWatch} watch
 * @param {string} doing
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* bodyOf(reply, length, watch, doing) {
  if (reply.body === null) throw new Failure('malformed', `${doing}: no body`);
  const reader = reply.body.getReader();
  let seen = 0;
  for (;;) {
    const { done, value } = await watch.over(reader.read());
    if (done) break;
    seen += value.length;
    if (seen > length) throw new Failure('malformed', `${doing}: more bytes than promised`);
    yield value;
  }
  if (seen !== length) throw new Failure('unreachable', `${doing}: ended after ${seen} of ${length} bytes`);
}

/** Fires its signal when something it watches over takes `STALL_MS`, or when the outer signal fires. */
class StallWatch {
  #controller = new AbortController();
  /** @type {AbortSignal} */ #outer;
  #stop = () => this.#controller.abort(this.#outer.reason);

  /** @param {AbortSignal} outer */
  constructor(outer) {
    this.#outer = outer;
    if (outer.aborted) this.#stop();
    outer.addEventListener('abort', this.#stop, { once: true });
  }

  get signal() {
    return this.#controller.signal;
  }

  /**
   * Between two calls the clock stands: it may be us who do not want more yet.
   * @template T
   * @param {Promise<T>} work
   * @returns {Promise<T>}
   */
  async over(work) {
    const timer = setTimeout(() => this.#controller.abort(new DOMException('stalled', 'TimeoutError')), STALL_MS);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  end() {
    this.#outer.removeEventListener('abort', this.#stop);
    this.#controller.abort();
  }
}
