/**
 * How loud a track is played, so that one after the other sounds alike.
 *
 * Promises
 * - Only ever attenuates: the volume of an `<audio>` element cannot exceed 1, so a quiet track stays as quiet as it is.
 *
 * Does not know: the page's volume control (it multiplies with this).
 */

/** Integrated loudness every track is brought down to (EBU R128 units). */
export const TARGET_LUFS = -14;

/**
 * @param {{integrated_lufs: number} | null} loudness `null`: never measured
 * @returns {number} factor in (0, 1]
 */
export function gainFor(loudness) {
  if (loudness === null) return 1;
  return Math.min(1, 10 ** ((TARGET_LUFS - loudness.integrated_lufs) / 20));
}

/**
 * Position of the volume control to factor: squared, because ears hear ratios.
 * @param {number} percent
 */
export function volumeFor(percent) {
  return (Math.min(100, Math.max(0, percent)) / 100) ** 2;
}
