import { sha256 } from "@noble/hashes/sha2.js";
import { toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import type { Attested, Attestor } from "./attestor.ts";
import { type Secret, secret } from "./secret.ts";

/** Hands out and judges join tokens: each is good for one workload, once, for a short time. */
export interface JoinTokens extends Attestor {
  /**
   * Makes a token for a workload that is about to start.
   *
   * @param workload Who it will be.
   * @param options How long the token is good, in milliseconds. @default {600_000}
   * @returns The token.
   */
  create(workload: Attested, options?: { readonly lifetimeMs?: number }): Secret;
}

/**
 * Join tokens of 256 random bits, of which only the hash is kept.
 *
 * @param options The clock, and how many tokens may be open at once. @default {10_000}
 * @returns The attestor.
 */
export function joinTokens(
  options: { readonly now?: () => number; readonly maxOpenTokens?: number } = {},
): JoinTokens {
  const { now = Date.now, maxOpenTokens = 10_000 } = options;
  const open = new Map<string, { readonly workload: Attested; readonly expiresAtMs: number }>();
  const forgetExpired = () => {
    for (const [hash, { expiresAtMs }] of open) if (expiresAtMs <= now()) open.delete(hash);
  };
  return {
    type: "join_token",
    create(workload, { lifetimeMs = 600_000 } = {}) {
      if (!(lifetimeMs >= 1 && lifetimeMs <= 86_400_000)) {
        throw new RangeError(`Cannot make a join token for ${lifetimeMs} ms: it must be from 1 to 86400000`);
      }
      forgetExpired();
      if (open.size >= maxOpenTokens) throw new RangeError("Cannot make a join token: too many are open");
      const token = toBase64Url(crypto.getRandomValues(new Uint8Array(32)));
      open.set(hashOf(token), { workload, expiresAtMs: now() + lifetimeMs });
      return secret(token);
    },
    attest(token) {
      // Looked up by its hash, so that how long the look-up takes tells nothing of a token.
      const hash = hashOf(token);
      const found = open.get(hash);
      open.delete(hash);
      if (!found || found.expiresAtMs <= now()) {
        throw new AuthError("not_attested", "Cannot attest the workload: its join token is unknown, used or too old");
      }
      return found.workload;
    },
  };
}

const hashOf = (token: string) => toBase64Url(sha256(new TextEncoder().encode(token)));
