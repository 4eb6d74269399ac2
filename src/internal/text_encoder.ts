/**
 * Makes what encodes texts as UTF-8 into a buffer of its own: a few times as fast as `TextEncoder.encode()`, which makes a
 * new one for each.
 *
 * @returns The encoder; the bytes that it gives are good until it is called again.
 */
export function textEncoder(): (text: string) => Uint8Array {
  const encoder = new TextEncoder();
  let buffer: Uint8Array<ArrayBuffer> | undefined;
  return (text) => {
    if (3 * text.length > BUFFER_BYTES) return encoder.encode(text);
    buffer ??= new Uint8Array(BUFFER_BYTES);
    return buffer.subarray(0, encoder.encodeInto(text, buffer).written);
  };
}

const BUFFER_BYTES = 2_048;
