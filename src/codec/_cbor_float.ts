const scratch = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(4));

/** The bits of the one NaN that is written and read. */
export const halfNaN = 0x7e00;

/** The value of a half-precision float (RFC 8949 appendix D); `DataView.getFloat16` is missing on Node 20. */
export function halfToNumber(bits: number): number {
  const exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  const size = exponent === 0 ? fraction * 2 ** -24 : (fraction + 1024) * 2 ** (exponent - 25);
  const value = exponent === 0x1f ? (fraction === 0 ? Infinity : NaN) : size;
  return bits & 0x8000 ? -value : value;
}

/** The bits of the half-precision float that is exactly this number, or `undefined` if there is none. */
export function numberToHalf(value: number): number | undefined {
  if (Number.isNaN(value)) return halfNaN;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | 0x7c00;
  // Below 2^-14 halves are subnormal: whole multiples of 2^-24.
  if (size < 2 ** -14) return Number.isInteger(size * 2 ** 24) ? sign | size * 2 ** 24 : undefined;
  if (size > 65504 || Math.fround(size) !== size) return undefined;
  scratch.setFloat32(0, size);
  const bits = scratch.getUint32(0);
  // A single keeps 23 bits of fraction and biases its exponent by 127; a half keeps 10 and biases by 15.
  return bits & 0x1fff ? undefined : sign | (bits >> 13) - (112 << 10);
}
