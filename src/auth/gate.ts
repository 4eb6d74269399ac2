import { type HashProvider, nobleHash } from "../internal/hash.ts";
import { textEncoder } from "../internal/text_encoder.ts";
import type { Audit } from "../rpc/mod.ts";
import { chainVerifier, type VerifiedChain } from "./capability_chain.ts";
import type { Identity } from "./identity.ts";
import type { Policy } from "./policy.ts";
import { memoryReplay, type ReplayStore } from "./replay.ts";
import { type ServerSessions, serverSessions } from "./server_session.ts";
import type { Trust } from "./trust.ts";

/** How a server is protected. */
export interface ProtectOptions {
  /** Who the server is; it proves every answer. */
  readonly identity: Identity;
  /** Whom it believes. */
  readonly trust: Trust;
  /** Who may call what; what no rule allows is denied. */
  readonly policy: Policy;
  /**
   * Names that callers may address this instance by, beside its identity: the URL of its endpoint, say. Where there are
   * any, calls that are addressed to the identity alone are refused, so that a call to one instance cannot be replayed
   * to another.
   *
   * @default {[]}
   */
  readonly audiences?: readonly string[];
  /**
   * What remembers used nonces; instances that share an endpoint must share it.
   *
   * @default {memoryReplay()}
   */
  readonly replay?: ReplayStore;
  /**
   * Where every decision is recorded. Without one, refusals are in the server's log and nothing else is written down.
   *
   * @default {nowhere}
   */
  readonly audit?: Audit;
  /**
   * How many calls of one caller may be answered at once, and as many on their way to that; stops one caller from taking
   * every place.
   *
   * @default {128}
   */
  readonly maxConcurrentCallsPerCaller?: number;
  /** The path under which a router mounts the server and which it takes off before the server sees it. @default {""} */
  readonly mountedAt?: string;
  /**
   * What hashes the messages of sessions: `nativeHash` of a runtime's subpath, where that is faster.
   *
   * @default {JavaScript's}
   */
  readonly hash?: HashProvider;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** What the checks of one server share. */
export interface Gate
  extends Required<Pick<ProtectOptions, "identity" | "trust" | "policy" | "replay" | "mountedAt" | "hash" | "now">> {
  readonly audit: Audit | undefined;
  readonly addresses: ReadonlySet<string>;
  readonly verifyChain: (text: string) => Promise<VerifiedChain>;
  /** How many calls of each caller are on their way to being let in. */
  readonly arriving: Map<string, number>;
  /** How many calls of each caller are being answered. */
  readonly running: Map<string, number>;
  /** How many connections each caller has: as many as it may have calls. */
  readonly connected: Map<string, number>;
  readonly maxConcurrentCallsPerCaller: number;
  readonly sessions: ServerSessions;
  /** What the server serves, as `service/method`; known once it starts. */
  calls: readonly string[];
  /** Whether one more request that nobody proved may cost the server a signature. */
  readonly takeSignedRefusal: () => boolean;
  /** Encodes a text; the bytes are good until it is called again. */
  readonly encodeText: (text: string) => Uint8Array;
}

/**
 * Completes the options of `protect`, and refuses what cannot hold.
 *
 * @throws {TypeError} Identity, trust or policy is missing, or a name cannot be one.
 * @throws {RangeError} The limit is no whole number.
 */
export function gateOf(options: ProtectOptions): Gate {
  const { identity, trust, policy, audiences = [], mountedAt = "", now = Date.now, audit, hash = nobleHash() } =
    options ??
      {};
  for (const [name, part] of Object.entries({ identity, trust, policy })) {
    if (!part) throw new TypeError(`Cannot protect a server without "${name}"`);
  }
  const { maxConcurrentCallsPerCaller = 128 } = options;
  if (!Number.isInteger(maxConcurrentCallsPerCaller) || maxConcurrentCallsPerCaller < 1) {
    throw new RangeError(`Cannot use the limit "maxConcurrentCallsPerCaller": it must be a whole number from 1`);
  }
  if (mountedAt !== "" && !/^(?:\/[\w.~-]+)+$/.test(mountedAt)) {
    throw new TypeError(`Cannot protect a server at "${mountedAt}": it must be a path as "/api"`);
  }
  return {
    identity,
    trust,
    policy,
    mountedAt,
    now,
    audit,
    replay: options.replay ?? memoryReplay({ now }),
    addresses: new Set(audiences.length > 0 ? audiences.map(assertAudience) : [identity.id]),
    verifyChain: chainVerifier({ trust, trustDomain: identity.trustDomain }),
    arriving: new Map(),
    running: new Map(),
    connected: new Map(),
    maxConcurrentCallsPerCaller,
    hash,
    sessions: serverSessions(now),
    calls: [],
    takeSignedRefusal: perSecond(SIGNED_REFUSALS, now),
    encodeText: textEncoder(),
  };
}

/** Allows so many of something in a second, and no more at once. */
function perSecond(count: number, now: () => number): () => boolean {
  let left = count;
  let atMs = now();
  return () => {
    const nowMs = now();
    left = Math.min(count, left + Math.max(0, nowMs - atMs) * count / 1_000); // clocks are set back too
    atMs = nowMs;
    if (left < 1) return false;
    left--;
    return true;
  };
}

/** How many refusals of unknown sessions are signed in a second: about a tenth of one processor. */
const SIGNED_REFUSALS = 1_000;

/**
 * Checks that a text can be an audience: printable, and without what a header would have to escape.
 *
 * @throws {TypeError} It cannot.
 */
export function assertAudience(audience: string): string {
  if (/^[\x21\x23-\x5b\x5d-\x7e]{1,2048}$/.test(audience)) return audience;
  throw new TypeError("Cannot use the audience: it must be printable, without spaces, quotes and backslashes");
}
