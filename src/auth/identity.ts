import { AuthError } from "./auth_error.ts";
import { type EncryptionKey, generateEncryptionKey } from "./encryption_key.ts";
import { type Evidence, signEnrollment } from "./enrollment.ts";
import { type Secret, secret } from "./secret.ts";
import { generateKey, type SigningKey } from "./signing_key.ts";
import { ATTRIBUTES_CLAIM, SERVES_CLAIM } from "./wire.ts";
import { readWit } from "./wit.ts";

/** An identity token as its holder has it. */
export interface Credential {
  /** The token; it travels with every message, and is worth nothing without the key. */
  readonly token: Secret;
  /** When it ends, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** Who a program is: a key that stays inside it, and the token by which its authority says whose the key is. */
export interface Identity {
  /** The SPIFFE id. */
  readonly id: string;
  /** The trust domain of the id. */
  readonly trustDomain: string;
  /** The service names that it may serve. */
  readonly serves: readonly string[];
  /** Its roles. */
  readonly roles: readonly string[];
  /** Its attributes. */
  readonly attributes: Readonly<Record<string, string>>;
  /** The key that signs; its private half shows itself to nobody. */
  readonly key: SigningKey;
  /** The key's 32 public bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /**
   * Signs bytes with the key.
   *
   * @param bytes What is signed.
   * @returns The 64 bytes of the signature.
   */
  sign(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * The token, renewed when half of its life is over.
   *
   * While a renewal is under way, and when one fails, the present token goes on being used until it ends.
   *
   * @returns The credential; a promise only where there is none that holds at the moment.
   * @throws {AuthError} `expired_token`: it has ended and could not be renewed.
   */
  credential(): Credential | Promise<Credential>;
  /**
   * The key by which others make session keys with it, and encrypt for it: made when it is first asked for.
   *
   * @returns The key.
   */
  encryptionKey(): Promise<EncryptionKey>;
  /**
   * Renews by the clock too, for a program that may be idle for longer than its token lives; servers do so by themselves.
   *
   * @returns What ends it.
   */
  keepFresh(): Disposable;
}

/** Where identity tokens come from: an authority of this process, or one that is called. */
export interface Enroller {
  /** The trust domain that it speaks for. */
  readonly trustDomain: string;
  /**
   * Asks for an identity token.
   *
   * @param request The signed request.
   * @returns The token.
   */
  enroll(request: string): Promise<string>;
}

/** How an identity is got and kept. */
export interface GenerateIdentityOptions {
  /** What the authority is shown at first, and again if the token ended before it was renewed. */
  readonly evidence: Evidence | (() => Evidence | Promise<Evidence>);
  /** The key. @default {a new one that cannot be exported} */
  readonly key?: SigningKey;
  /** The encryption key; isolates that share an endpoint share it. @default {a new one that cannot be exported} */
  readonly encryptionKey?: EncryptionKey;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Makes a key and gets an identity for it.
 *
 * @example An identity by a join token
 * ```ts
 * import { createAuthority, generateIdentity, joinTokens } from "@postern/rpc/auth";
 *
 * const tokens = joinTokens();
 * const authority = await createAuthority("example.org", { attestors: [tokens] });
 * const token = tokens.create({ id: "spiffe://example.org/orders", serves: ["orders.v1"] });
 *
 * const identity = await generateIdentity(authority, { evidence: { type: "join_token", token } });
 * if (identity.id !== "spiffe://example.org/orders") throw new Error(identity.id);
 * ```
 *
 * @param authority The authority, in this process or called.
 * @param options The evidence, and what differs from the defaults.
 * @returns The identity; it renews itself.
 * @throws {AuthError} Why the authority did not believe it.
 */
export async function generateIdentity(authority: Enroller, options: GenerateIdentityOptions): Promise<Identity> {
  const { now = Date.now, key = await generateKey() } = options;
  const enroll = async (evidence: Evidence) =>
    await authority.enroll(await signEnrollment(key, { trustDomain: authority.trustDomain, evidence, nowMs: now() }));
  const show = async () => typeof options.evidence === "function" ? await options.evidence() : options.evidence;
  const renew = async (current: string | undefined) =>
    await enroll(current === undefined ? await show() : { type: "wit", token: current });
  return identityOf(key, await renew(undefined), { now, renew, encryptionKey: options.encryptionKey });
}

/** How an identity that was made elsewhere is used. */
export interface ImportIdentityOptions {
  /** What renews the token. @default {nobody: the identity ends with its token} */
  readonly authority?: Enroller;
  /** The encryption key; isolates that share an endpoint share it. @default {a new one that cannot be exported} */
  readonly encryptionKey?: EncryptionKey;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Uses a key and a token that were made elsewhere: by an offline authority, say.
 *
 * @param key The key, from a key source.
 * @param token The identity token that names it.
 * @param options What differs from the defaults.
 * @returns The identity.
 * @throws {AuthError} `malformed_token`, or `wrong_token` where the token names another key.
 */
export function importIdentity(
  key: SigningKey,
  token: string,
  options: ImportIdentityOptions = {},
): Identity {
  const { authority, now = Date.now, encryptionKey } = options;
  if (!authority) return identityOf(key, token, { now, encryptionKey });
  const { trustDomain } = authority;
  const renew = async (current: string | undefined) => {
    if (current === undefined) throw new AuthError("expired_token", "Cannot renew the identity: its token has ended");
    return await authority.enroll(
      await signEnrollment(key, { trustDomain, evidence: { type: "wit", token: current }, nowMs: now() }),
    );
  };
  return identityOf(key, token, { now, renew, encryptionKey });
}

interface Renewal {
  readonly now: () => number;
  readonly encryptionKey: EncryptionKey | undefined;
  /** Gets a new token, by the present one where it still holds. */
  readonly renew?: (current: string | undefined) => Promise<string>;
}

interface Held extends Credential {
  readonly renewAtMs: number;
}

function identityOf(key: SigningKey, token: string, { now, renew, encryptionKey }: Renewal): Identity {
  const { claims, trustDomain } = readWit(token);
  let held = holdToken(key, token, claims.sub);
  let renewing: Promise<void> | undefined;
  let retryAtMs = 0;
  let making = encryptionKey && Promise.resolve(encryptionKey);

  const renewOnce = async () => {
    const current = held.expiresAtMs > now() ? held.token.reveal() : undefined;
    retryAtMs = now() + RETRY_MS;
    held = holdToken(key, await renew!(current), claims.sub);
    if (held.renewAtMs > now()) retryAtMs = 0; // an authority that gave the same token again is not asked at once
  };
  const startRenewal = () => renewing ??= renewOnce().finally(() => renewing = undefined);
  const isDue = () => renew !== undefined && now() >= held.renewAtMs && now() >= retryAtMs;

  return Object.freeze({
    id: claims.sub,
    trustDomain,
    serves: Object.freeze([...claims[SERVES_CLAIM]]),
    roles: Object.freeze([...claims.roles]),
    attributes: Object.freeze({ ...claims[ATTRIBUTES_CLAIM] }),
    key,
    publicKey: key.publicKey,
    sign: key.sign,
    credential() {
      if (held.expiresAtMs > now()) {
        if (isDue()) startRenewal().catch(() => {}); // the present one holds, and there is another try
        return held;
      }
      return renewed();
    },
    encryptionKey: () => making ??= generateEncryptionKey(),
    keepFresh: () =>
      renew ? keepFresh(() => held.renewAtMs - now(), () => isDue() ? startRenewal() : undefined) : NOTHING,
  });

  async function renewed(): Promise<Credential> {
    if (!renew || (!renewing && now() < retryAtMs)) {
      throw new AuthError("expired_token", "Cannot prove the identity: its token has ended");
    }
    await startRenewal();
    if (held.expiresAtMs > now()) return held;
    throw new AuthError("expired_token", "Cannot prove the identity: its new token has ended too");
  }
}

function holdToken(key: SigningKey, token: string, id: string): Held {
  const { claims } = readWit(token);
  if (claims.cnf.jwk.x !== key.jwk.x) {
    throw new AuthError("wrong_token", "Cannot use the token: it is for another key");
  }
  if (claims.sub !== id) throw new AuthError("wrong_token", "Cannot use the token: it is for another identity");
  const [issuedAtMs, expiresAtMs] = [claims.iat * 1_000, claims.exp * 1_000];
  return { token: secret(token), expiresAtMs, renewAtMs: issuedAtMs + (expiresAtMs - issuedAtMs) / 2 };
}

const NOTHING: Disposable = /* @__PURE__ */ Object.freeze({ [Symbol.dispose]() {} });

/** A timer that looks whether a renewal is due, and that a runtime without timers at this moment does without. */
function keepFresh(dueInMs: () => number, renew: () => Promise<void> | undefined): Disposable {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const schedule = () => {
    try {
      timer = setTimeout(look, Math.min(Math.max(dueInMs(), RETRY_MS), MAX_WAIT_MS));
    } catch {
      timer = undefined; // workerd has none outside of a request; there, calls renew
    }
  };
  const look = () => {
    renew()?.catch(() => {}); // there is another try
    schedule();
  };
  schedule();
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** How long to wait after a renewal that failed, in milliseconds. */
const RETRY_MS = 5_000;
const MAX_WAIT_MS = 3_600_000;
