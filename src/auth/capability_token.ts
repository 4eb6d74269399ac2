import * as v from "valibot";
import { AuthError } from "./auth_error.ts";
import { readJws, type UnverifiedJws } from "./jws.ts";
import { publicJwkSchema } from "./public_key.ts";
import { CAPABILITY_DETAILS, HOLDER_MEMBER, TOKEN_TYPES } from "./wire.ts";

/** What one token of a chain claims. */
export type CapabilityClaims = v.InferOutput<typeof claimsSchema>;

/**
 * Reads one token of a chain; nothing in it is true until its signature was verified.
 *
 * @throws {AuthError} `malformed_token` or `wrong_token`.
 * @see {@link https://datatracker.ietf.org/doc/html/draft-niyikiza-oauth-attenuating-agent-tokens-02#section-3.2}
 */
export function readCapability(token: string): { readonly jws: UnverifiedJws; readonly claims: CapabilityClaims } {
  const jws = readJws(token, TOKEN_TYPES.capability);
  const parsed = v.safeParse(claimsSchema, jws.claims);
  if (parsed.success) return { jws, claims: parsed.output };
  const path = v.getDotPath(parsed.issues[0]) ?? "a claim";
  throw new AuthError("wrong_token", `Cannot accept the right: "${path}" is not as it must be`);
}

const Seconds = /* @__PURE__ */ v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(253402300799));
const Depth = /* @__PURE__ */ v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(8));

/** Closed at every level: a member that is not understood may be a restriction, and ignoring it would widen the right. */
const claimsSchema = /* @__PURE__ */ v.strictObject({
  aud: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(2048))),
  authorization_details: v.strictTuple([
    v.strictObject({ type: v.literal(CAPABILITY_DETAILS), tools: v.unknown() }),
  ]),
  cnf: v.union([
    v.strictObject({ jwk: publicJwkSchema, [HOLDER_MEMBER]: v.optional(v.undefined_()) }),
    v.strictObject({ [HOLDER_MEMBER]: v.pipe(v.string(), v.maxLength(2048)), jwk: v.optional(v.undefined_()) }),
  ]),
  del_depth: Depth,
  del_max_depth: Depth,
  exp: Seconds,
  iat: Seconds,
  iss: v.pipe(v.string(), v.maxLength(2048)),
  jti: v.pipe(v.string(), v.regex(/^[\w-]{16,128}$/)),
  par_hash: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/))),
});
