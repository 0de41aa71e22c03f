/**
 * What can go wrong on the way to music, and how often we try again.
 *
 * Promises
 * - A `Failure` names what was being done, to what, without the query of a URL (the token lives there).
 * - There are at most `ATTEMPTS_MAX` attempts at one thing, and none after its signal fired.
 *
 * Does not know: which request it repeats, what the listener is told.
 */

/** Attempts at one request, the first included. */
export const ATTEMPTS_MAX = 5;
/** Wait before the second attempt; it doubles from there. */
export const BACKOFF_FIRST_MS = 250;
/** No wait is longer, whatever a server's `Retry-After` says. */
export const BACKOFF_LONGEST_MS = 8000;

/**
 * - `unreachable`: no answer at all (network, name, certificate), or one that stopped half-way
 * - `busy`: an answer that says "later" (429, 5xx)
 * - `expired`: the token's hour has passed
 * - `refused`: an answer that says "no" (other 4xx)
 * - `malformed`: an answer that is not what it should be
 * - `unsupported`: the browser cannot do it
 * @typedef {'unreachable'|'busy'|'expired'|'refused'|'malformed'|'unsupported'} FailureKind
 */

/** A failure the rest of the page can act on. */
export class Failure extends Error {
  /**
   * @param {FailureKind} kind
   * @param {string} doing what was being done, to what
   * @param {{cause?: unknown, status?: number, retryAfterMs?: number, origin?: string}} [more] `origin`: who did not answer
   */
  constructor(kind, doing, more = {}) {
    super(doing, { cause: more.cause });
    this.name = 'Failure';
    this.kind = kind;
    this.status = more.status ?? null;
    this.retryAfterMs = more.retryAfterMs ?? null;
    this.origin = more.origin ?? null;
  }
}

/**
 * The failure an HTTP answer stands for.
 * @param {string} doing
 * @param {Response} reply any answer that was not the one hoped for
 * @returns {Failure}
 */
export function failureOf(doing, reply) {
  const status = reply.status;
  if (status === 429 || status >= 500) {
    return new Failure('busy', `${doing}: status ${status}`, { status, retryAfterMs: retryAfterMs(reply.headers) });
  }
  const reason = reply.headers.get('Edge-Token-Error');
  if (status === 403 && reason === 'expired') {
    return new Failure('expired', `${doing}: token expired`, { status });
  }
  return new Failure('refused', `${doing}: status ${status}${reason ? ` (${reason})` : ''}`, { status });
}

/**
 * Runs `attempt` until it succeeds, fails for good, or has had its chances.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
export async function retrying(attempt, signal) {
  for (let made = 1; ; made += 1) {
    try {
      return await attempt();
    } catch (error) {
      await anotherChance(made, error, signal);
    }
  }
}

/**
 * Waits before attempt number `made + 1`; throws `error` when there should be none.
 * @param {number} made
 * @param {unknown} error
 * @param {AbortSignal} signal
 */
export async function anotherChance(made, error, signal) {
  signal.throwIfAborted();
  const passing = error instanceof Failure && (error.kind === 'unreachable' || error.kind === 'busy');
  if (!passing || made >= ATTEMPTS_MAX) throw error;
  await pause(waitMs(made, error), signal);
}

/**
 * How long to wait after attempt number `made`: exponential, jittered so that many listeners do not return as one,
 * never below what the server asked for and never above `BACKOFF_LONGEST_MS`.
 * @param {number} made
 * @param {unknown} error
 * @param {number} [chance] in [0, 1)
 * @returns {number}
 */
export function waitMs(made, error, chance = Math.random()) {
  const backoff = BACKOFF_FIRST_MS * 2 ** (made - 1) * (0.75 + chance / 2);
  const asked = error instanceof Failure ? (error.retryAfterMs ?? 0) : 0;
  return Math.min(BACKOFF_LONGEST_MS, Math.max(backoff, asked));
}

/**
 * RFC 9110 §10.2.3, seconds only: a date would need the server's clock.
 * @param {Headers} headers
 * @returns {number | undefined}
 */
function retryAfterMs(headers) {
  const text = headers.get('Retry-After') ?? '';
  return /^\d{1,6}$/.test(text) ? Number(text) * 1000 : undefined;
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal.addEventListener('abort', stop, { once: true });
  });
}
