import * as v from "valibot";
import { AuthError } from "./auth_error.ts";
import { MAX_TOKEN, readJws, signJws, verifyJws } from "./jws.ts";
import { importPublicKey, type PublicJwk, publicJwkSchema } from "./public_key.ts";
import type { Secret } from "./secret.ts";
import type { SigningKey } from "./signing_key.ts";
import { trustDomainId } from "./spiffe_id.ts";
import { TOKEN_TYPES } from "./wire.ts";

/** What a workload shows an authority so that it believes who it is. */
export interface Evidence {
  /** Which attestor is to judge it: `join_token`, `oidc`, `wit`. */
  readonly type: string;
  /** The evidence itself. */
  readonly token: string | Secret;
}

/** A workload's request for an identity token: signed by the key that the token will name. */
export interface EnrollmentRequest {
  /** The key, its possession proven. */
  readonly jwk: PublicJwk;
  /** The evidence. */
  readonly evidence: { readonly type: string; readonly token: string };
  /** The request's own id. */
  readonly requestId: string;
}

/** Signs a request for an identity token. */
export function signEnrollment(
  key: SigningKey,
  request: { readonly trustDomain: string; readonly evidence: Evidence; readonly nowMs: number },
): Promise<string> {
  const { type, token } = request.evidence;
  const iat = Math.floor(request.nowMs / 1_000);
  return signJws(TOKEN_TYPES.enrollment, {
    aud: trustDomainId(request.trustDomain),
    cnf: { jwk: key.jwk },
    evidence: { type, token: typeof token === "string" ? token : token.reveal() },
    exp: iat + LIFETIME_S,
    iat,
    jti: crypto.randomUUID(),
  }, { sign: key.sign });
}

/**
 * Reads a request for an identity token and checks that who sends it holds the key it names.
 *
 * @throws {AuthError} `malformed_token`, `wrong_token`, `wrong_audience`, `expired_token` or `bad_token_signature`.
 */
export async function verifyEnrollment(
  request: string,
  expected: { readonly trustDomain: string; readonly nowMs: number },
): Promise<EnrollmentRequest> {
  const jws = readJws(request, TOKEN_TYPES.enrollment, MAX_REQUEST);
  const parsed = v.safeParse(requestSchema, jws.claims);
  if (!parsed.success) throw new AuthError("wrong_token", "Cannot accept the request: a claim is not as it must be");
  const { aud, cnf, evidence, exp, iat, jti } = parsed.output;
  if (aud !== trustDomainId(expected.trustDomain)) {
    throw new AuthError("wrong_audience", "Cannot accept the request: it is for another authority");
  }
  const now = expected.nowMs / 1_000;
  if (exp <= now || iat > now + SKEW_S || exp - iat > LIFETIME_S) {
    throw new AuthError("expired_token", "Cannot accept the request: its time is over or has not come");
  }
  await verifyJws(jws, await importPublicKey(cnf.jwk));
  return { jwk: cnf.jwk, evidence, requestId: jti };
}

/** The longest request, in bytes: the longest token fits into it as evidence. */
export const MAX_REQUEST = 16_384;

/** In seconds. */
const LIFETIME_S = 60;
const SKEW_S = 5;

const Seconds = /* @__PURE__ */ v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const requestSchema = /* @__PURE__ */ v.strictObject({
  aud: v.string(),
  cnf: v.strictObject({ jwk: publicJwkSchema }),
  evidence: v.strictObject({
    type: v.pipe(v.string(), v.regex(/^[a-z_]{1,32}$/)),
    token: v.pipe(v.string(), v.maxLength(MAX_TOKEN)),
  }),
  exp: Seconds,
  iat: Seconds,
  jti: v.pipe(v.string(), v.regex(/^[\w-]{16,128}$/)),
});
