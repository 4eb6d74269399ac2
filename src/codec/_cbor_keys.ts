/** A member to be sorted. */
export interface Member {
  readonly key: string;
  /** The bytes of the key in UTF-8. */
  readonly size: number;
  readonly value: unknown;
}

/** The bytewise order of the encoded keys: their heads put the shorter first, then UTF-8 sorts by code point (RFC 8949 section 4.2.1). */
export function compareMembers(a: Member, b: Member): number {
  if (a.size !== b.size) return a.size - b.size;
  let at = 0;
  while (at < a.key.length && a.key.charCodeAt(at) === b.key.charCodeAt(at)) at++;
  return codePointOrder(a.key.charCodeAt(at)) - codePointOrder(b.key.charCodeAt(at));
}

/** Orders UTF-16 code units as their code points: a surrogate stands for one beyond all others. */
function codePointOrder(unit: number): number {
  return isSurrogate(unit) ? unit + 0x10000 : unit;
}

/** How many bytes a well-formed text takes in UTF-8. */
export function utf8Length(text: string): number {
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    // A pair of surrogates is four bytes, two for each.
    length += unit < 0x80 ? 1 : unit < 0x800 || isSurrogate(unit) ? 2 : 3;
  }
  return length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xe000;
}
