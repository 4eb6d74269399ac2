import type { Trust } from "./trust.ts";

/** How a trust is kept up to date. */
export interface FollowTrustOptions {
  /** How often to look, in milliseconds; what is revoked is refused after so long at the latest. @default {60_000} */
  readonly everyMs?: number;
  /**
   * Told of a look that failed: the source is out of reach, or gave an older bundle.
   *
   * @default {a constant line on the error output}
   */
  readonly onError?: (error: unknown) => void;
}

/**
 * Looks for newer bundles by the clock, so that what an authority revoked or rotated takes effect.
 *
 * @example Follow an authority
 * ```ts
 * import { createAuthority, createTrust, followTrust } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * using following = followTrust(trust, authority, { everyMs: 10_000 });
 * ```
 *
 * @param trust The trust.
 * @param source Where signed bundles come from: an authority of this process or a remote one.
 * @param options How often.
 * @returns What ends it.
 * @throws {RangeError} The time is out of range.
 */
export function followTrust(
  trust: Trust,
  source: { signedBundle(): Promise<string> },
  options: FollowTrustOptions = {},
): Disposable {
  const { everyMs = 60_000, onError = () => console.error("A newer trust bundle could not be had") } = options;
  if (!(everyMs >= 100 && everyMs <= 86_400_000)) {
    throw new RangeError(`Cannot look for bundles every ${everyMs} ms: it must be from 100 to 86400000`);
  }
  let ended = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = async () => {
    try {
      await trust.update(await source.signedBundle());
    } catch (error) {
      if (!ended) onError(error);
    }
    if (!ended) timer = setTimeout(look, everyMs); // after this look, so that a slow source is not asked twice at once
  };
  timer = setTimeout(look, everyMs);
  return {
    [Symbol.dispose]() {
      ended = true;
      clearTimeout(timer);
    },
  };
}
