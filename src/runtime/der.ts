/** One element of DER: its tag and what it holds. */
export interface DerElement {
  /** The tag's octet; tags of several octets are not read. */
  readonly tag: number;
  /** What it holds, a view of the input. */
  readonly contents: Uint8Array;
}

/** The tags that a certificate needs. */
export const DER = { BOOLEAN: 0x01, OCTETS: 0x04, OID: 0x06, UTC_TIME: 0x17, TIME: 0x18, SEQUENCE: 0x30 } as const;

/**
 * Reads elements that follow each other, without looking into them.
 *
 * @param bytes The elements and nothing else.
 * @returns The elements, or undefined for what is not DER: a length that is indefinite, too long for the rest, or not in
 * its shortest form.
 * @see ITU-T X.690 section 10
 */
export function readDer(bytes: Uint8Array): readonly DerElement[] | undefined {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at];
    const length = (tag & 0x1f) === 0x1f ? undefined : lengthAt(bytes, at + 1);
    if (!length || length.end > bytes.length) return undefined;
    elements.push({ tag, contents: bytes.subarray(length.start, length.end) });
    at = length.end;
  }
  return elements;
}

/**
 * Reads the elements inside of an element.
 *
 * @param element The element.
 * @param tag What it must be.
 * @returns What is inside, or undefined when it is absent, something else or not DER.
 */
export function readInside(element: DerElement | undefined, tag: number): readonly DerElement[] | undefined {
  return element?.tag === tag ? readDer(element.contents) : undefined;
}

/** Two octets of length reach 64 KiB, more than any certificate here. */
function lengthAt(bytes: Uint8Array, at: number): { readonly start: number; readonly end: number } | undefined {
  const first = bytes[at];
  if (first < 0x80) return { start: at + 1, end: at + 1 + first };
  const octets = first - 0x80;
  if (octets !== 1 && octets !== 2) return undefined;
  const value = octets === 1 ? bytes[at + 1] : bytes[at + 1] * 256 + bytes[at + 2];
  const shortest = octets === 1 ? value >= 0x80 : value >= 0x100;
  return shortest ? { start: at + 1 + octets, end: at + 1 + octets + value } : undefined; // NaN is not shortest
}
