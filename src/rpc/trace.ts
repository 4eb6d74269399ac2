/**
 * Reads a `traceparent` header of the version that there is.
 *
 * @returns The header's value; undefined for one that is not well formed, which is to be ignored.
 * @see {@link https://www.w3.org/TR/trace-context/#traceparent-header}
 */
export function readTraceparent(value: string | null | undefined): string | undefined {
  const match = value ? TRACEPARENT.exec(value) : null;
  return match && !ZEROS.test(match[1]!) && !ZEROS.test(match[2]!) ? match[0] : undefined;
}

/** The trace's next span, or the first one of a new trace. */
export function childOf(parent: string | undefined): string {
  const [traceId, flags] = parent ? [parent.slice(3, 35), parent.slice(53)] : [randomHex(16), "00"];
  return `00-${traceId}-${randomHex(8)}-${flags}`;
}

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
const ZEROS = /^0+$/;
