/**
 * Byte ranges of one object at the edge.
 *
 * Promises
 * - The bytes returned are exactly the ones asked for (or fewer only where the object ends): status, `Content-Range` and
 *   length all have to agree, else it is a failure and not music.
 * - An answer that stands still for `STALL_MS` is given up and asked for again.
 *
 * Does not know: boxes, fragments, keys.
 */

import { Failure, failureOf, retrying } from './failure.js';

/** Longest silence inside one answer. */
export const STALL_MS = 8000;

/** @typedef {{first: number, last: number}} ByteRange ends inclusive, as on the wire */
/** @typedef {{bytes: Uint8Array, total: number}} RangeReply */
/** @typedef {{cacheStatus: string | null, bytes: number, ms: number}} ReplyFacts */

/** Reads ranges of one object; what it was given to begin with is never asked for twice. */
export class RangeReader {
  /** @type {string} */ #url;
  /** @type {Uint8Array} */ #head;
  /** @type {(facts: ReplyFacts) => void} */ #onReply;

  /**
   * @param {string} url
   * @param {Uint8Array} head the object's first bytes, as far as they are here already
   * @param {(facts: ReplyFacts) => void} onReply
   */
  constructor(url, head, onReply) {
    this.#url = url;
    this.#head = head;
    this.#onReply = onReply;
  }

  /**
   * @param {ByteRange} range must lie inside the object
   * @param {AbortSignal} signal
   * @returns {Promise<Uint8Array>}
   */
  async read(range, signal) {
    const held = this.#head.subarray(range.first, range.last + 1);
    const missing = { first: range.first + held.length, last: range.last };
    if (missing.first > missing.last) return held;
    const { bytes } = await fetchRange(this.#url, missing, signal, this.#onReply);
    if (bytes.length !== missing.last - missing.first + 1) {
      throw new Failure('malformed', `read bytes ${range.first}-${range.last} of ${nameOf(this.#url)}: the object is shorter`);
    }
    return held.length === 0 ? bytes : joined(held, bytes);
  }
}

/**
 * Fetches one range, patiently.
 * @param {string} url
 * @param {ByteRange} range
 * @param {AbortSignal} signal
 * @param {(facts: ReplyFacts) => void} onReply
 * @returns {Promise<RangeReply>}
 */
export function fetchRange(url, range, signal, onReply) {
  return retrying(() => attempt(url, range, signal, onReply), signal);
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
 * @param {ByteRange} range
 * @param {AbortSignal} signal
 * @param {(facts: ReplyFacts) => void} onReply
 * @returns {Promise<RangeReply>}
 */
async function attempt(url, range, signal, onReply) {
  const doing = `fetch bytes ${range.first}-${range.last} of ${nameOf(url)}`;
  const watch = new StallWatch(signal);
  const began = performance.now();
  try {
    const reply = await fetch(url, {
      headers: { Range: `bytes=${range.first}-${range.last}` },
      signal: watch.signal,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
    });
    const granted = grantedBy(reply, range, doing);
    const bytes = await collect(reply, granted.last - granted.first + 1, watch, doing);
    onReply({ cacheStatus: reply.headers.get('Cache-Status'), bytes: bytes.length, ms: performance.now() - began });
    return { bytes, total: granted.total };
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
 * @returns {Promise<Uint8Array>}
 */
async function collect(reply, length, watch, doing) {
  if (reply.body === null) throw new Failure('malformed', `${doing}: no body`);
  const bytes = new Uint8Array(length);
  const reader = reply.body.getReader();
  let filled = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > length) throw new Failure('malformed', `${doing}: more bytes than promised`);
    bytes.set(value, filled);
    filled += value.length;
    watch.moved();
  }
  if (filled !== length) throw new Failure('unreachable', `${doing}: ended after ${filled} of ${length} bytes`);
  return bytes;
}

/** Fires its signal when nothing moved for `STALL_MS`, or when the outer signal fires. */
class StallWatch {
  #controller = new AbortController();
  /** @type {AbortSignal} */ #outer;
  /** @type {ReturnType<typeof setTimeout>} */ #timer;
  #stop = () => this.#controller.abort(this.#outer.reason);

  /** @param {AbortSignal} outer */
  constructor(outer) {
    this.#outer = outer;
    if (outer.aborted) this.#stop();
    outer.addEventListener('abort', this.#stop, { once: true });
    this.#timer = this.#arm();
  }

  get signal() {
    return this.#controller.signal;
  }

  moved() {
    clearTimeout(this.#timer);
    this.#timer = this.#arm();
  }

  end() {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener('abort', this.#stop);
    this.#controller.abort();
  }

  #arm() {
    return setTimeout(() => this.#controller.abort(new DOMException('stalled', 'TimeoutError')), STALL_MS);
  }
}

/**
 * @param {Uint8Array} head
 * @param {Uint8Array} tail
 */
function joined(head, tail) {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head, 0);
  whole.set(tail, head.length);
  return whole;
}
