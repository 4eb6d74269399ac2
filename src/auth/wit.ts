import * as v from "valibot";
import type { Caller } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import { readJws, type UnverifiedJws } from "./jws.ts";
import { type PublicJwk, publicJwkSchema } from "./public_key.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import { ATTRIBUTES_CLAIM, CERTIFICATE_MEMBER, SERVES_CLAIM, TOKEN_TYPES } from "./wire.ts";

/** A workload whose identity token was verified: who it is, and which key proves that it is it who speaks. */
export interface Workload extends Caller {
  /** The trust domain whose authority vouches for it. */
  readonly trustDomain: string;
  /** The service names that it may serve. */
  readonly serves: readonly string[];
  /** The public half of its key. */
  readonly jwk: PublicJwk;
  /** The thumbprint of its key (RFC 7638). */
  readonly thumbprint: string;
  /** Its key, for checking signatures. */
  readonly key: CryptoKey;
  /** The token's own id. */
  readonly tokenId: string;
  /** When the token ends, in milliseconds since 1970. */
  readonly expiresAtMs: number;
  /** From when it holds, in milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** The thumbprint of its certificate, where the authority bound one (RFC 8705). */
  readonly certificate: string | undefined;
}

/** What a WIT claims, before anyone verified it. */
export interface WitClaims {
  readonly jws: UnverifiedJws;
  readonly trustDomain: string;
  readonly claims: v.InferOutput<typeof claimsSchema>;
}

/**
 * Reads a Workload Identity Token; nothing in it is true until its signature was verified.
 *
 * @throws {AuthError} `malformed_token`, `wrong_token` or `malformed_id`.
 * @see {@link https://datatracker.ietf.org/doc/html/draft-ietf-wimse-workload-creds-02#section-4.1}
 */
export function readWit(token: string): WitClaims {
  const jws = readJws(token, TOKEN_TYPES.wit);
  const parsed = v.safeParse(claimsSchema, jws.claims);
  if (!parsed.success) {
    const path = v.getDotPath(parsed.issues[0]) ?? "a claim";
    throw new AuthError("wrong_token", `Cannot accept the token: "${path}" is not as it must be`);
  }
  return { jws, claims: parsed.output, trustDomain: parseWorkloadId(parsed.output.sub).trustDomain };
}

const Seconds = /* @__PURE__ */ v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(253402300799));
const Words = /* @__PURE__ */ v.pipe(v.array(v.pipe(v.string(), v.regex(/^[\w./:-]{1,128}$/))), v.maxLength(64));

/** Claims beside these are for others and are ignored (workload-creds, section 4.1.2). */
export const claimsSchema = /* @__PURE__ */ v.object({
  iss: v.optional(v.pipe(v.string(), v.maxLength(2048))),
  sub: v.string(),
  iat: Seconds,
  nbf: v.optional(Seconds),
  exp: Seconds,
  jti: v.pipe(v.string(), v.regex(/^[\w-]{1,128}$/)),
  // The proof is made with the algorithm in here (workload-creds, section 4.1), so it is required.
  cnf: v.strictObject({
    jwk: v.strictObject({ ...publicJwkSchema.entries, alg: v.literal("Ed25519") }),
    [CERTIFICATE_MEMBER]: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))),
  }),
  roles: v.optional(Words, []),
  [SERVES_CLAIM]: v.optional(Words, []),
  [ATTRIBUTES_CLAIM]: v.optional(
    v.record(v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/)), v.pipe(v.string(), v.maxLength(256))),
    {},
  ),
});
