import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import * as v from "valibot";
import { AuthError } from "./auth_error.ts";
import type { Attested, Attestor } from "./attestor.ts";

/** Which platform's tokens are believed, and who their subjects are. */
export interface OidcTokensOptions {
  /** The issuer, as `iss` has it. */
  readonly issuer: string;
  /** The audience that a token must be made for. */
  readonly audience: string;
  /** Which workload each subject (`sub`) is; a subject that is not named is nobody. */
  readonly subjects: Readonly<Record<string, Attested>>;
  /** Where the issuer's keys are: an `https:` URL, from configuration and never from a token. */
  readonly jwksUrl: string;
  /** What fetches the keys. @default {fetch} */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** How long fetched keys are good, in milliseconds. @default {600_000} */
  readonly maxAgeMs?: number;
  /** How long to wait before keys are fetched again for a token of an unknown key, in milliseconds. @default {30_000} */
  readonly cooldownMs?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Believes the OIDC tokens that a platform gives to what runs on it.
 *
 * Issuer, audience and subject are pinned. The keys are fetched once, bounded in size and time, kept for a while, and
 * fetched again for an unknown key no more often than the cooldown says, so that forged tokens make no traffic.
 *
 * @param options Which platform, and who its subjects are.
 * @returns The attestor.
 * @throws {TypeError} The URL of the keys is not `https:`.
 */
export function oidcTokens(options: OidcTokensOptions): Attestor {
  const { issuer, audience, subjects, now = Date.now } = options;
  const keys = cachedKeys(options, now);
  return {
    type: "oidc",
    async attest(token) {
      const subject = await verifiedSubject(token, keys, { issuer, audience, currentDate: new Date(now()) });
      if (!Object.hasOwn(subjects, subject)) {
        throw new AuthError("not_attested", "Cannot attest the workload: its subject is none of those that are known");
      }
      return subjects[subject]!;
    },
  };
}

/** Fetched keys; `fresh` asks for others than those at hand, and gets the same during the cooldown. */
type Keys = (fresh: boolean) => Promise<JSONWebKeySet>;

async function verifiedSubject(
  token: string,
  keys: Keys,
  expected: { readonly issuer: string; readonly audience: string; readonly currentDate: Date },
): Promise<string> {
  const demands = {
    ...expected,
    algorithms: ALGORITHMS,
    requiredClaims: ["sub", "exp", "iat"],
    maxTokenAge: "1h",
    clockTolerance: SKEW_S,
  };
  for (const fresh of [false, true]) {
    try {
      const { payload } = await jwtVerify(token, createLocalJWKSet(await keys(fresh)), demands);
      if (typeof payload.sub === "string") return payload.sub; // a list of one text would name the same member
      throw new AuthError("not_attested", "Cannot attest the workload: its platform's token is for nobody");
    } catch (cause) {
      const unknownKey = cause instanceof Error && "code" in cause && cause.code === "ERR_JWKS_NO_MATCHING_KEY";
      if (unknownKey && !fresh) continue;
      if (cause instanceof AuthError) throw cause;
      // Only its words: the error itself holds what the token claims, and would take that to the log.
      const why = cause instanceof Error ? cause.message : "";
      throw new AuthError("not_attested", `Cannot attest the workload: its platform's token is not good: ${why}`);
    }
  }
  throw new AuthError("not_attested", "Cannot attest the workload: no key of its platform has signed its token");
}

function cachedKeys(
  { jwksUrl, maxAgeMs = 600_000, cooldownMs = 30_000, ...options }: OidcTokensOptions,
  now: () => number,
): Keys {
  if (!URL.canParse(jwksUrl) || new URL(jwksUrl).protocol !== "https:") {
    throw new TypeError("Cannot attest OIDC tokens: the URL of the keys must be https:");
  }
  const send = options.fetch ?? globalThis.fetch;
  let held: JSONWebKeySet | undefined;
  let triedAtMs = -Infinity;
  let loading: Promise<JSONWebKeySet> | undefined;
  const load = async () => {
    triedAtMs = now();
    held = await fetchKeys(jwksUrl, send);
    return held;
  };
  return (fresh) => {
    const ageMs = now() - triedAtMs;
    if (held && ageMs < (fresh ? cooldownMs : maxAgeMs)) return Promise.resolve(held);
    if (!loading && !held && ageMs < cooldownMs) {
      return Promise.reject(
        new AuthError("not_attested", "Cannot attest the workload: its platform's keys are out of reach"),
      );
    }
    loading ??= load().finally(() => loading = undefined);
    // A platform that does not answer does not take back the keys that are at hand.
    return held ? loading.catch(() => held!) : loading;
  };
}

async function fetchKeys(url: string, send: NonNullable<OidcTokensOptions["fetch"]>): Promise<JSONWebKeySet> {
  try {
    const response = await send(url, { redirect: "manual", signal: AbortSignal.timeout(FETCH_MS) });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new TypeError("The answer is not the keys");
    }
    const text = await bounded(response);
    return v.parse(jwksSchema, JSON.parse(text)) as JSONWebKeySet;
  } catch (cause) {
    throw new AuthError("not_attested", "Cannot attest the workload: its platform's keys are out of reach", { cause });
  }
}

/** The body's text, read no further than the limit. */
async function bounded(response: Response): Promise<string> {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_JWKS) throw new RangeError("The answer is too large");
    text += utf8.decode(chunk, { stream: true });
  }
  return text + utf8.decode();
}

/** What platforms sign with; no symmetric ones, so that nothing public can be taken for a key. */
const ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"];
/** How far clocks may differ, in seconds. */
const SKEW_S = 5;
/** In bytes. */
const MAX_JWKS = 65_536;
const FETCH_MS = 5_000;

/** Keys of a kind that is not known are for others (RFC 7517, section 5). */
const jwksSchema = /* @__PURE__ */ v.object({
  keys: v.pipe(
    v.array(v.looseObject({ kty: v.string(), kid: v.optional(v.string()) })),
    v.maxLength(100),
    v.filterItems(({ kty }) => ["RSA", "EC", "OKP"].includes(kty)),
  ),
});
