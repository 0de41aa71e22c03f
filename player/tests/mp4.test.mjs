import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fragmentAt, FRAGMENTS_MAX, parseIndex, primingOf, protectionOf } from '../mp4.js';
import { box, concat, fullBox, init, sidx, u32 } from './boxes.mjs';

const TWO_SECONDS = 86 * 1024;
const THREE = [
  { size: 1000, duration: TWO_SECONDS },
  { size: 2000, duration: TWO_SECONDS },
  { size: 30, duration: 1024 },
];

test('an index maps seconds to adjoining bytes behind it', () => {
  const bytes = sidx(THREE);
  const fragments = parseIndex(bytes, 848, 0);
  assert.equal(fragments.length, 3);
  assert.deepEqual(fragments.map(({ first, last }) => [first, last]), [
    [848 + bytes.length, 848 + bytes.length + 999],
    [848 + bytes.length + 1000, 848 + bytes.length + 2999],
    [848 + bytes.length + 3000, 848 + bytes.length + 3029],
  ]);
  assert.equal(fragments[1].start, TWO_SECONDS / 44100);
  assert.equal(fragments[2].end, (2 * TWO_SECONDS + 1024) / 44100);
});

test('both versions of the box say the same', () => {
  const narrow = parseIndex(sidx(THREE, { offset: 7 }), 0, 0);
  const wide = parseIndex(sidx(THREE, { offset: 7, version: 1 }), 0, 0);
  assert.deepEqual(wide.map(({ start, end }) => [start, end]), narrow.map(({ start, end }) => [start, end]));
  assert.equal(wide[0].first - narrow[0].first, 8);
});

test('priming moves every fragment ahead of the listener by as much', () => {
  const [first] = parseIndex(sidx(THREE), 0, 1024);
  assert.equal(first.start, -1024 / 44100);
  assert.equal(first.end, (TWO_SECONDS - 1024) / 44100);
});

test('an index at an odd place in a larger buffer is read from there', () => {
  const whole = concat(new Uint8Array(5), sidx(THREE));
  assert.deepEqual(parseIndex(whole.subarray(5), 0, 0), parseIndex(sidx(THREE), 0, 0));
});

for (const [what, bytes] of /** @type {[string, Uint8Array][]} */ ([
  ['nothing', new Uint8Array()],
  ['half a header', new Uint8Array([0, 0, 0])],
  ['another box', box('moof', u32(0))],
  ['a box of size 0', concat(u32(0), new TextEncoder().encode('sidx'), new Uint8Array(40))],
  ['a box larger than its bytes', sidx(THREE).subarray(0, 50)],
  ['more entries than bytes', sidx(THREE, { count: 4 })],
  ['no entries', sidx([])],
  ['a timescale of 0', sidx(THREE, { timescale: 0 })],
  ['a nested index', sidx([{ size: 10, duration: 10, nested: true }])],
  ['an empty fragment', sidx([{ size: 0, duration: 10 }])],
  ['a fragment that lasts no time', sidx([{ size: 10, duration: 0 }])],
  ['too many fragments', sidx([], { count: FRAGMENTS_MAX + 1 })],
  ['a moment no object can reach', sidx(THREE, { version: 1, earliest: 2 ** 53 })],
])) {
  test(`an index of ${what} is refused`, () => {
    assert.throws(() => parseIndex(bytes, 0, 0), { name: 'Failure', kind: 'malformed' });
  });
}

test('priming is read from both versions of the edit list', () => {
  assert.equal(primingOf(init({ priming: 1024, version: 1 })), 1024);
  assert.equal(primingOf(init({ priming: 312, version: 0 })), 312);
});

test('no edit list, an empty one and an empty edit mean no priming', () => {
  assert.equal(primingOf(box('moov', box('trak'))), 0);
  assert.equal(primingOf(box('moov', box('trak', box('edts', fullBox('elst', 1, u32(0)))))), 0);
  assert.equal(primingOf(init({ priming: -1 })), 0);
});

test('an edit list that is cut short is refused', () => {
  const cut = box('moov', box('trak', box('edts', fullBox('elst', 1, u32(1), u32(0)))));
  assert.throws(() => primingOf(cut), { kind: 'malformed' });
});

test('every pssh of the init segment is handed on, whole and in order', () => {
  const pssh = [fullBox('pssh', 1, u32(1)), fullBox('pssh', 0, u32(2), u32(3))];
  assert.deepEqual(protectionOf(init({ pssh })), concat(...pssh));
});

test('an object in the clear has no protection', () => {
  assert.equal(protectionOf(init()).length, 0);
});

test('a moment lies in the fragment that begins at it, not in the one that ends there', () => {
  const fragments = parseIndex(sidx(THREE), 0, 0);
  assert.equal(fragmentAt(fragments, 0), 0);
  assert.equal(fragmentAt(fragments, fragments[0].end - 1e-6), 0);
  assert.equal(fragmentAt(fragments, fragments[0].end), 1);
});

test('moments outside fall on the first and the last fragment', () => {
  const fragments = parseIndex(sidx(THREE), 0, 0);
  assert.equal(fragmentAt(fragments, -5), 0);
  assert.equal(fragmentAt(fragments, 1e9), 2);
});
