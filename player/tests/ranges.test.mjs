import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { ATTEMPTS_MAX } from '../failure.js';
import { Head, RangeReader, parseContentRange, streamRange } from '../ranges.js';

const URL_OF_OBJECT = 'https://edge.test/a/c/692/4f1c/64.mp4?st=1.k1.secret.mac';
const OBJECT = Uint8Array.from({ length: 1000 }, (_, place) => place % 251);

afterEach(() => mock.reset());

/** An edge that holds `OBJECT`; `odd` may answer in its place. */
function edge(odd = (/** @type {number} */ _call, /** @type {RequestInit} */ _init) => /** @type {any} */ (undefined)) {
  let calls = 0;
  return mock.method(globalThis, 'fetch', async (/** @type {string} */ _url, /** @type {any} */ init) => {
    calls += 1;
    const other = await odd(calls, init);
    if (other !== undefined) return other;
    const [first, last] = init.headers.Range.slice('bytes='.length).split('-').map(Number);
    return partial(first, Math.min(last, OBJECT.length - 1));
  });
}

/** @param {number} first @param {number} last @param {BodyInit} [body] */
function partial(first, last, body = OBJECT.slice(first, last + 1)) {
  const headers = { 'Content-Range': `bytes ${first}-${last}/${OBJECT.length}`, 'Cache-Status': 'antiphon; hit' };
  return new Response(body, { status: 206, headers });
}

const never = new AbortController().signal;
const ignore = () => undefined;

/** @type {(...arguments_: Parameters<typeof streamRange>) => Promise<Uint8Array>} */
async function fetchRange(...arguments_) {
  const pieces = [];
  for await (const piece of streamRange(...arguments_)) pieces.push(piece);
  return Uint8Array.from(pieces.flatMap((piece) => Array.from(piece)));
}

/** @param {number} length */
function headOf(length) {
  return new Head(length, streamRange(URL_OF_OBJECT, { first: 0, last: length - 1 }, never, ignore));
}

test('a range is fetched with its bytes and the facts of the reply', async () => {
  edge();
  /** @type {any[]} */ const facts = [];
  const bytes = await fetchRange(URL_OF_OBJECT, { first: 10, last: 19 }, never, (fact) => facts.push(fact));
  assert.deepEqual(bytes, OBJECT.slice(10, 20));
  assert.deepEqual(facts, [{ cacheStatus: 'antiphon; hit', bytes: 10 }]);
});

test('a range past the end comes back as far as the object goes', async () => {
  edge();
  const bytes = await fetchRange(URL_OF_OBJECT, { first: 990, last: 5000 }, never, ignore);
  assert.deepEqual(bytes, OBJECT.slice(990));
});

test('what the head holds is not asked for again', async () => {
  const fetched = edge();
  const reader = new RangeReader(URL_OF_OBJECT, headOf(100), ignore);
  assert.deepEqual(await reader.read({ first: 5, last: 99 }, never), OBJECT.slice(5, 100));
  assert.deepEqual(await reader.read({ first: 90, last: 109 }, never), OBJECT.slice(90, 110));
  assert.deepEqual(await reader.read({ first: 500, last: 509 }, never), OBJECT.slice(500, 510));
  const asked = fetched.mock.calls.map((call) => call.arguments[1].headers.Range);
  assert.deepEqual(asked, ['bytes=0-99', 'bytes=100-109', 'bytes=500-509']);
});

test('bytes are handed on as they arrive, before the head is whole', async () => {
  const { body, say, end } = spoken();
  edge(() => partial(0, 99, body));
  const reader = new RangeReader(URL_OF_OBJECT, headOf(100), ignore);
  const pieces = reader.stream({ first: 10, last: 59 }, never);
  say(OBJECT.slice(0, 30));
  assert.deepEqual((await pieces.next()).value, OBJECT.slice(10, 30));
  say(OBJECT.slice(30, 60));
  assert.deepEqual((await pieces.next()).value, OBJECT.slice(30, 60));
  assert.equal((await pieces.next()).done, true);
  say(OBJECT.slice(60, 100));
  end();
});

test('who waits for the head can leave', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  edge(() => partial(0, 99, spoken().body));
  const leaving = new AbortController();
  const read = new RangeReader(URL_OF_OBJECT, headOf(100), ignore).read({ first: 0, last: 9 }, leaving.signal);
  await turn();
  leaving.abort();
  await assert.rejects(read, { name: 'AbortError' });
});

test('a head that failed says so to whoever needs it', async () => {
  edge(() => new Response(null, { status: 404 }));
  const reader = new RangeReader(URL_OF_OBJECT, headOf(100), ignore);
  await assert.rejects(reader.read({ first: 0, last: 9 }, never), { kind: 'refused', status: 404 });
});

test('an object smaller than its head is read to its end', async () => {
  edge();
  const reader = new RangeReader(URL_OF_OBJECT, headOf(2000), ignore);
  assert.deepEqual(await reader.read({ first: 0, last: 999 }, never), OBJECT);
});

test('an object shorter than its index says is refused', async () => {
  edge();
  const reader = new RangeReader(URL_OF_OBJECT, null, ignore);
  await assert.rejects(reader.read({ first: 990, last: 1005 }, never), { kind: 'malformed' });
});

for (const [what, reply] of /** @type {[string, () => Response][]} */ ([
  ['the whole object', () => new Response(OBJECT, { status: 200 })],
  ['another range', () => partial(11, 19)],
  ['a longer range', () => partial(10, 20)],
  ['a shorter range', () => partial(10, 18)],
  ['no Content-Range', () => new Response(OBJECT.slice(10, 20), { status: 206 })],
  ['more bytes than promised', () => partial(10, 19, OBJECT.slice(10, 21))],
])) {
  test(`an answer with ${what} is refused at once`, async () => {
    const fetched = edge(() => reply());
    await assert.rejects(fetchRange(URL_OF_OBJECT, { first: 10, last: 19 }, never, ignore), { kind: 'malformed' });
    assert.equal(fetched.mock.callCount(), 1);
  });
}

for (const [what, odd] of /** @type {[string, () => any][]} */ ([
  ['a network that fails', () => Promise.reject(new TypeError('Failed to fetch'))],
  ['a busy edge', () => new Response(null, { status: 503 })],
  ['an answer that ends early', () => partial(10, 19, OBJECT.slice(10, 15))],
])) {
  test(`after ${what} the range is asked for again`, async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const fetched = edge((call) => (call === 1 ? odd() : undefined));
    const bytes = await withTime(fetchRange(URL_OF_OBJECT, { first: 10, last: 19 }, never, ignore));
    assert.deepEqual(bytes, OBJECT.slice(10, 20));
    assert.equal(fetched.mock.callCount(), 2);
  });
}

test('an answer that broke off is continued, not begun again', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const fetched = edge((call) => (call === 1 ? partial(10, 19, OBJECT.slice(10, 15)) : undefined));
  await withTime(fetchRange(URL_OF_OBJECT, { first: 10, last: 19 }, never, ignore));
  assert.equal(fetched.mock.calls[1].arguments[1].headers.Range, 'bytes=15-19');
});

test('the attempts are counted, and the failure names the object but not the token', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const fetched = edge(() => Promise.reject(new TypeError('Failed to fetch')));
  const failure = await withTime(fetchRange(URL_OF_OBJECT, { first: 0, last: 9 }, never, ignore).catch((error) => error));
  assert.equal(fetched.mock.callCount(), ATTEMPTS_MAX);
  assert.equal(failure.kind, 'unreachable');
  assert.equal(failure.origin, 'https://edge.test');
  assert.match(failure.message, /bytes 0-9 of 64\.mp4$/);
  assert.doesNotMatch(failure.message, /st=|secret/);
});

test('a token that ran out is told from one that was refused', async () => {
  const no = (/** @type {string} */ reason) => new Response(null, { status: 403, headers: { 'Edge-Token-Error': reason } });
  edge((call) => no(call === 1 ? 'expired' : 'bad_mac'));
  await assert.rejects(fetchRange(URL_OF_OBJECT, { first: 0, last: 9 }, never, ignore), { kind: 'expired' });
  await assert.rejects(fetchRange(URL_OF_OBJECT, { first: 0, last: 9 }, never, ignore), { kind: 'refused', status: 403 });
});

test('an answer that stands still is given up', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  edge((call, init) => (call === 1 ? stalled(init) : undefined));
  const bytes = await withTime(fetchRange(URL_OF_OBJECT, { first: 10, last: 19 }, never, ignore));
  assert.deepEqual(bytes, OBJECT.slice(10, 20));
});

test('an abort ends everything, the wait between attempts included', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const fetched = edge(() => Promise.reject(new TypeError('Failed to fetch')));
  const ending = new AbortController();
  const reply = fetchRange(URL_OF_OBJECT, { first: 0, last: 9 }, ending.signal, ignore);
  await turn();
  ending.abort();
  await assert.rejects(reply, { name: 'AbortError' });
  mock.timers.tick(60_000);
  assert.equal(fetched.mock.callCount(), 1);
});

test('Content-Range is read strictly', () => {
  assert.deepEqual(parseContentRange('bytes 0-9/10'), { first: 0, last: 9, total: 10 });
  for (const text of [null, '', 'bytes */10', 'bytes 0-9/*', 'bytes 5-4/10', 'bytes 0-10/10', 'bytes=0-9/10', 'items 0-9/10']) {
    assert.equal(parseContentRange(text), null, String(text));
  }
});

/** A body that is sent piece by piece, when the test says so. */
function spoken() {
  /** @type {ReadableStreamDefaultController} */ let sending;
  const body = new ReadableStream({ start: (controller) => void (sending = controller) });
  return { body, say: (/** @type {Uint8Array} */ bytes) => sending.enqueue(bytes), end: () => sending.close() };
}

/** An answer that never comes, as fetch behaves: it ends with the signal. */
function stalled(/** @type {RequestInit} */ init) {
  return new Promise((_, reject) => {
    init.signal?.addEventListener('abort', () => reject(/** @type {AbortSignal} */ (init.signal).reason));
  });
}

/**
 * Lets the mocked clock run while something waits for it.
 * @template T
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
async function withTime(work) {
  let done = false;
  void work.finally(() => (done = true)).catch(ignore);
  for (let rounds = 0; !done && rounds < 200; rounds += 1) {
    await turn();
    mock.timers.tick(1000);
  }
  return work;
}

function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}
