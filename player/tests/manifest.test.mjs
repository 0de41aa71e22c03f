import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseByteRange, parseDuration, readManifest, RENDITIONS_MAX } from '../manifest.js';
import { parseXml } from './xml.mjs';

const URL_OF_MANIFEST = 'https://control.test/m/s1/4f1c.mpd';

/** @param {string} name @param {number} bandwidth @param {string} [base] */
function representation(name, bandwidth, base = `/a/c/692/4f1c/${name}.mp4?st=1.k1.abc.def&amp;x=1`) {
  return `<Representation id="${name}" bandwidth="${bandwidth}" codecs="mp4a.40.2"><BaseURL>${base}</BaseURL>
    <SegmentBase timescale="44100" indexRange="848-1251"><Initialization range="0-847"/></SegmentBase></Representation>`;
}

/** @param {string} inside */
function mpd(inside, attributes = 'mediaPresentationDuration="PT200.5S"') {
  return parseXml(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" ${attributes}><Period><AdaptationSet>${inside}</AdaptationSet></Period></MPD>`);
}

test('a manifest gives its renditions in ascending bit rate, each with its ranges', () => {
  const read = readManifest(mpd(representation('256', 262_000) + representation('64', 67_000)), URL_OF_MANIFEST);
  assert.equal(read.durationSecs, 200.5);
  assert.deepEqual(read.renditions.map(({ kbps }) => kbps), [64, 256]);
  assert.deepEqual(read.renditions[0].init, { first: 0, last: 847 });
  assert.deepEqual(read.renditions[0].index, { first: 848, last: 1251 });
  assert.equal(read.renditions[0].codecs, 'mp4a.40.2');
});

test('relative addresses are resolved, and the token stays on them', () => {
  const [rendition] = readManifest(mpd(representation('64', 67_000)), URL_OF_MANIFEST).renditions;
  assert.equal(rendition.url, 'https://control.test/a/c/692/4f1c/64.mp4?st=1.k1.abc.def&x=1');
});

test('a base address further up moves the ones below', () => {
  const inside = `<BaseURL>https://edge.test:8443/a/</BaseURL>${representation('64', 67_000, 'c/64.mp4')}`;
  const [rendition] = readManifest(mpd(inside), URL_OF_MANIFEST).renditions;
  assert.equal(rendition.url, 'https://edge.test:8443/a/c/64.mp4');
});

test('an object without a bit rate in its name goes by its bandwidth', () => {
  const [rendition] = readManifest(mpd(representation('64', 67_400, 'https://edge.test/fl.mp4')), URL_OF_MANIFEST).renditions;
  assert.equal(rendition.kbps, 67);
});

test('codecs may stand on the adaptation set', () => {
  const document = parseXml(`<MPD mediaPresentationDuration="PT2S"><Period><AdaptationSet codecs="opus">
    ${representation('64', 67_000).replace(' codecs="mp4a.40.2"', '')}</AdaptationSet></Period></MPD>`);
  assert.equal(readManifest(document, URL_OF_MANIFEST).renditions[0].codecs, 'opus');
});

const good = representation('64', 67_000);
for (const [what, document] of /** @type {[string, any][]} */ ([
  ['an error page', parseXml('<html><body></body></html>')],
  ['nothing', { documentElement: null }],
  ['no period', parseXml('<MPD mediaPresentationDuration="PT2S"></MPD>')],
  ['no renditions', mpd('')],
  ['too many renditions', mpd(good.repeat(RENDITIONS_MAX + 1))],
  ['no duration', mpd(good, '')],
  ['no bandwidth', mpd(good.replace(' bandwidth="67000"', ''))],
  ['no codecs', mpd(good.replace(' codecs="mp4a.40.2"', ''))],
  ['no index', mpd(good.replace(' indexRange="848-1251"', ''))],
  ['no init segment', mpd(good.replace('<Initialization range="0-847"/>', ''))],
  ['a range back to front', mpd(good.replace('848-1251', '1251-848'))],
])) {
  test(`a manifest with ${what} is refused`, () => {
    assert.throws(() => readManifest(document, URL_OF_MANIFEST), { name: 'Failure', kind: 'malformed' });
  });
}

test('durations are hours, minutes and seconds, each optional', () => {
  assert.equal(parseDuration('PT1H2M3.5S'), 3723.5);
  assert.equal(parseDuration('PT200.500000S'), 200.5);
  assert.equal(parseDuration('PT3M'), 180);
});

for (const text of [null, '', 'PT', 'PT0S', 'P1D', '200', 'PT-1S', 'PT1S ']) {
  test(`the duration ${JSON.stringify(text)} is refused`, () => assert.throws(() => parseDuration(text), { kind: 'malformed' }));
}

test('a byte range has both ends', () => {
  assert.deepEqual(parseByteRange('0-0'), { first: 0, last: 0 });
  for (const text of [null, '', '0-', '-5', '5-4', '0-1,2-3', ' 0-1', '0-9999999999999999']) {
    assert.throws(() => parseByteRange(text), { kind: 'malformed' }, String(text));
  }
});
