/** Makes the boxes the tests read: the layout of MEDIA.md 3, in miniature. */

/** @param {string} type @param {...Uint8Array} parts */
export function box(type, ...parts) {
  const length = 8 + parts.reduce((sum, part) => sum + part.length, 0);
  return concat(u32(length), new TextEncoder().encode(type), ...parts);
}

/** @param {string} type @param {number} version @param {...Uint8Array} parts */
export function fullBox(type, version, ...parts) {
  return box(type, u32(version << 24), ...parts);
}

/** @param {number} value */
export function u32(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** @param {number} value */
export function u16(value) {
  return u32(value).subarray(2);
}

/** @param {number | bigint} value */
export function u64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(value));
  return bytes;
}

/** @param {...Uint8Array} parts */
export function concat(...parts) {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

/**
 * @param {{size: number, duration: number, nested?: boolean}[]} references
 * @param {{version?: number, timescale?: number, earliest?: number, offset?: number, count?: number}} [options]
 */
export function sidx(references, { version = 0, timescale = 44100, earliest = 0, offset = 0, count = references.length } = {}) {
  const wide = version > 0 ? u64 : u32;
  const table = references.map(({ size, duration, nested = false }) =>
    concat(u32((nested ? 0x8000_0000 : 0) + size), u32(duration), u32(0x9000_0000)),
  );
  return fullBox('sidx', version, u32(1), u32(timescale), wide(earliest), wide(offset), u16(0), u16(count), ...table);
}

/**
 * @param {{priming?: number, version?: number, pssh?: Uint8Array[]}} [options]
 */
export function init({ priming = 1024, version = 1, pssh = [] } = {}) {
  const entry = version > 0 ? concat(u64(441_000), u64(priming)) : concat(u32(441_000), u32(priming));
  const edits = box('edts', fullBox('elst', version, u32(1), entry, u16(1), u16(0)));
  const moov = box('moov', fullBox('mvhd', 0, new Uint8Array(96)), box('trak', fullBox('tkhd', 0, new Uint8Array(80)), edits), ...pssh);
  return concat(box('ftyp', new TextEncoder().encode('iso6')), moov);
}
