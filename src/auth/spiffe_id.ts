import { AuthError } from "./auth_error.ts";

/** A workload's identity, taken apart. */
export interface SpiffeId {
  /** The trust domain: whose authority vouches for it. */
  readonly trustDomain: string;
  /** The path, with its leading slash; empty for the trust domain itself. */
  readonly path: string;
}

/**
 * Takes a SPIFFE id apart: `spiffe://example.org/orders`.
 *
 * Ids are compared byte by byte, so there is one spelling and nothing is normalized: no upper case in the trust domain,
 * no percent-encoding, no empty, `.` or `..` segment, no slash at the end, no port, no user, at most 2,048 bytes.
 *
 * @param text The id.
 * @returns Its parts.
 * @throws {AuthError} `malformed_id`.
 * @see {@link https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity}
 */
export function parseSpiffeId(text: string): SpiffeId {
  const match = typeof text === "string" && text.length <= MAX_ID ? PATTERN.exec(text) : null;
  if (!match) throw new AuthError("malformed_id", "Cannot use the identity: it is not a SPIFFE id in its one spelling");
  return { trustDomain: match[1]!, path: match[2]! };
}

/**
 * Takes the id of a workload apart: one with a path, because a trust domain alone is nobody who calls.
 *
 * @param text The id.
 * @returns Its parts.
 * @throws {AuthError} `malformed_id`.
 */
export function parseWorkloadId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id.path === "") throw new AuthError("malformed_id", "Cannot use the identity: it names a trust domain only");
  return id;
}

/**
 * The id of a trust domain itself, which its authority signs as.
 *
 * @param trustDomain The trust domain, such as `example.org`.
 * @returns `spiffe://` and the trust domain.
 * @throws {AuthError} `malformed_id`.
 */
export function trustDomainId(trustDomain: string): string {
  const id = `spiffe://${trustDomain}`;
  if (parseSpiffeId(id).path !== "") throw new AuthError("malformed_id", "Cannot use the trust domain: it has a path");
  return id;
}

/** In bytes (SPIFFE-ID, section 2.3). */
const MAX_ID = 2048;

/** A segment starts with two dots only where more follows, and consists of dots never. */
const SEGMENT = String.raw`(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+`;
const PATTERN = new RegExp(String.raw`^spiffe://([a-z0-9._-]{1,255})((?:/${SEGMENT})*)$`);
