import * as v from "valibot";
import { AuthError } from "./auth_error.ts";
import { importPublicKey, type PublicJwk } from "./public_key.ts";
import { BUNDLE_REFRESH_HINT, BUNDLE_REVOKED, BUNDLE_SEQUENCE, KEY_USES } from "./wire.ts";

/** One public key of an authority, and what it may sign. */
export interface BundleKey extends PublicJwk {
  /** Its name among the keys of the bundle. */
  readonly kid: string;
  /** What it may sign: identities (`wit-svid`) or capabilities (`aat`). */
  readonly use: "wit-svid" | "aat";
}

/** What is not trusted any more, although its signature and its time are good. */
export interface Revocations {
  /** Identities, as SPIFFE ids. */
  readonly ids: readonly string[];
  /** Keys of workloads, by their thumbprints (RFC 7638). */
  readonly keys: readonly string[];
  /** Tokens, by their `jti`: capabilities with all that was derived from them, and identity tokens. */
  readonly tokens: readonly string[];
}

/**
 * Whom a trust domain's authority is known by: a JWKS, to be given by configuration and never found in a message.
 *
 * @see {@link https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md#4-spiffe-bundle-format}
 */
export interface TrustBundle {
  /** The keys; two of one use while one takes over from the other. */
  readonly keys: readonly BundleKey[];
  /** Grows with every change; a bundle that goes backwards is refused. */
  readonly spiffe_sequence: number;
  /** How often to look for a newer bundle, in seconds. */
  readonly spiffe_refresh_hint?: number | undefined;
  /** What is revoked. */
  readonly "urn:postern:revoked"?: Revocations | undefined;
}

/** A bundle that was checked, its keys imported. */
export interface ImportedBundle {
  readonly sequence: number;
  /** The keys by use and `kid`, as `aat:k1`. */
  readonly keys: ReadonlyMap<string, CryptoKey>;
  readonly revokedIds: ReadonlySet<string>;
  readonly revokedKeys: ReadonlySet<string>;
  readonly revokedTokens: ReadonlySet<string>;
}

/**
 * Checks a bundle and imports its keys.
 *
 * @throws {AuthError} `malformed_bundle`.
 */
export async function importBundle(bundle: unknown): Promise<ImportedBundle> {
  const parsed = v.safeParse(bundleSchema, bundle);
  if (!parsed.success) {
    const path = v.getDotPath(parsed.issues[0]) ?? "the bundle";
    throw new AuthError("malformed_bundle", `Cannot trust the bundle: "${path}" is not as it must be`);
  }
  const keys = new Map<string, CryptoKey>();
  for (const { kid, use, ...jwk } of parsed.output.keys) {
    const name = keyName(use, kid);
    if (keys.has(name)) throw new AuthError("malformed_bundle", `Cannot trust the bundle: it has two keys "${kid}"`);
    keys.set(name, await importPublicKey(jwk));
  }
  const revoked = parsed.output[BUNDLE_REVOKED] ?? { ids: [], keys: [], tokens: [] };
  return {
    sequence: parsed.output[BUNDLE_SEQUENCE],
    keys,
    revokedIds: new Set(revoked.ids),
    revokedKeys: new Set(revoked.keys),
    revokedTokens: new Set(revoked.tokens),
  };
}

/** How many of a kind a bundle revokes at most. */
export const MAX_REVOKED = 10_000;

/** Under which name an imported bundle has a key. */
export const keyName = (use: BundleKey["use"], kid: string): string => `${use}:${kid}`;

const Name = /* @__PURE__ */ v.pipe(v.string(), v.regex(/^[\w.-]{1,128}$/));
const Names = /* @__PURE__ */ v.pipe(v.array(v.pipe(v.string(), v.maxLength(2048))), v.maxLength(MAX_REVOKED));

const bundleSchema = /* @__PURE__ */ v.strictObject({
  keys: v.pipe(
    v.array(v.strictObject({
      kty: v.literal("OKP"),
      crv: v.literal("Ed25519"),
      x: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/)),
      alg: v.optional(v.literal("Ed25519")),
      kid: Name,
      use: v.picklist(Object.values(KEY_USES)),
    })),
    v.minLength(1),
    v.maxLength(32),
  ),
  [BUNDLE_SEQUENCE]: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  [BUNDLE_REFRESH_HINT]: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  [BUNDLE_REVOKED]: v.optional(v.strictObject({ ids: Names, keys: Names, tokens: Names })),
});
