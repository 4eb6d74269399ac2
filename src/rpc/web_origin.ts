/**
 * Checks that a text is the origin of a web page, as browsers send it.
 *
 * @throws {TypeError} It is none.
 * @see {@link https://www.rfc-editor.org/rfc/rfc6454#section-6.2}
 */
export function asOrigin(given: string): string {
  if (URL.canParse(given) && new URL(given).origin === given) return given;
  throw new TypeError(`Cannot allow the origin "${given}": it must be one, as "https://app.example.org"`);
}
