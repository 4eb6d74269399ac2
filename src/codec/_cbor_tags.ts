/** Tag 1, seconds since 1970 (RFC 8949 section 3.4.2): our dates. */
export const dateTag = 1;
/** Tag 2, an unsigned bignum (RFC 8949 section 3.4.3). */
export const bignumTag = 2;
/** Tag 3, a negative bignum: −1 minus its content. */
export const negativeBignumTag = 3;

/** The most bytes of a bignum; arithmetic on longer ones is slow enough to be an attack. */
export const maxBignumBytes = 1024;

/** Whether a bigint is a number's value; such a one needs a tag, or it would be read back as a number. */
export function isSafe(value: bigint): boolean {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER;
}

/** Whether a bigint is written as a tagged bignum rather than as a plain integer of 64 bits. */
export function needsBignum(value: bigint): boolean {
  return isSafe(value) || value < -(2n ** 64n) || value >= 2n ** 64n;
}

/** The milliseconds that this many seconds are, or `undefined` if they are not a whole number a `Date` can hold. */
export function secondsToMs(seconds: number): number | undefined {
  // Only the fraction is rounded: for years beyond 100 000 the product of the whole would be half a millisecond off.
  const whole = Math.trunc(seconds);
  const ms = whole * 1000 + Math.round((seconds - whole) * 1000);
  return ms / 1000 === seconds && Math.abs(ms) <= 8.64e15 ? ms : undefined;
}
