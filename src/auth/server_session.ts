import { RpcError } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import { assertRightNotRevoked } from "./caller_right.ts";
import type { VerifiedChain } from "./capability_chain.ts";
import { type CounterWindow, counterWindow } from "./counter_window.ts";
import type { Gate } from "./gate.ts";
import type { Rule } from "./policy.ts";
import type { ReplayStore } from "./replay.ts";
import type { ReadRequestSignature, RequestParts } from "./request_signature.ts";
import type { SessionKeys, SessionTerms } from "./session_keys.ts";
import { isSameText, type TextMac, textMac } from "./session_signature.ts";
import { SESSION_HEADER, WIT_HEADER } from "./wire.ts";
import type { Workload } from "./wit.ts";

/** A session as its server has it: who opened it and with which right, and the keys that both have. */
export interface ServerSession {
  /** Its id: the encapsulated key. */
  readonly id: string;
  readonly caller: Workload;
  /** The right that all of its calls are made under. */
  readonly right: VerifiedChain | undefined;
  /** What it was opened with, to tell whether somebody opens the same one again. */
  readonly opening: string;
  readonly keys: SessionKeys;
  readonly clientMac: TextMac;
  readonly serverMac: TextMac;
  readonly window: CounterWindow;
  /** Until when requests may come under it, in milliseconds since 1970. */
  readonly endsAtMs: number;
  /** Which state of trust it was opened in: in another, its tokens may be revoked. */
  readonly revision: number;
  /** The rules that match each method: they depend on nothing that changes within a session. */
  readonly rules: Map<string, readonly Rule[]>;
}

/** The sessions that a server knows. */
export interface ServerSessions {
  /** A session that requests may come under; undefined where it is not known, or not any more. */
  get(id: string): ServerSession | undefined;
  /** The same, and one that has ended not long ago: which of its counters were used is remembered for longer. */
  remembered(id: string): ServerSession | undefined;
  /** For how long it is remembered what requests under a session were let in, by now, in milliseconds. */
  rememberedForMs(replay: ReplayStore): number;
  /** Whether one more fits. */
  hasRoom(caller: Pick<Workload, "id" | "thumbprint">): boolean;
  set(session: ServerSession): void;
}

/**
 * The sessions of one server, in memory: any other that has its keys can have the same ones.
 *
 * @param now The clock, in milliseconds since 1970.
 */
export function serverSessions(now: () => number): ServerSessions {
  const sessions = new Map<string, ServerSession>();
  let sinceMs = now(); // 0 where a runtime shows no time before the first request
  const counts = new Map<string, number>();
  const count = (name: string, change: number) => {
    const total = (counts.get(name) ?? 0) + change;
    if (total === 0) counts.delete(name);
    else counts.set(name, total);
  };
  const forget = ({ id, caller }: ServerSession) => {
    sessions.delete(id);
    for (const name of [caller.id, caller.thumbprint]) count(name, -1);
  };
  return {
    get(id) {
      const session = sessions.get(id);
      return session && session.endsAtMs > now() ? session : undefined;
    },
    remembered(id) {
      const session = sessions.get(id);
      return session && session.endsAtMs + MAX_REQUEST_MS > now() ? session : undefined;
    },
    rememberedForMs(replay) {
      sinceMs ||= now();
      // A store that is not shared does not have what was let in under sessions.
      const beganMs = replay.shared !== false ? replay.sinceMs : Math.max(sinceMs, replay.sinceMs);
      return Math.min(now() - beganMs, SHORTEST_REQUEST_MS);
    },
    hasRoom({ id, thumbprint }) {
      const isFull = () =>
        sessions.size >= MAX_SESSIONS || (counts.get(id) ?? 0) >= MAX_SESSIONS_PER_CALLER ||
        (counts.get(thumbprint) ?? 0) >= MAX_SESSIONS_PER_KEY;
      if (isFull()) {
        for (const session of [...sessions.values()]) if (session.endsAtMs + MAX_REQUEST_MS <= now()) forget(session);
      }
      return !isFull();
    },
    set(session) {
      const { id, caller } = session;
      if (!sessions.has(id)) { for (const name of [caller.id, caller.thumbprint]) count(name, 1); }
      sessions.set(id, session);
    },
  };
}

/** A signed request that opens a session. */
export interface OpeningRequest {
  readonly parts: RequestParts;
  readonly signature: ReadRequestSignature;
  readonly caller: Workload;
  readonly right: VerifiedChain | undefined;
}

/**
 * Opens the session that a signed and verified request asks for.
 *
 * Opened again, by the same caller with the same tokens, it is the same session: its window only moves on, to where the
 * caller says that it goes on from.
 *
 * @returns The session; undefined where the request asks for none, or where there is no room for it.
 * @throws {AuthError} `malformed_session`, `malformed_key`; `replayed` where the call was made before under the session.
 */
export async function openSession(gate: Gate, request: OpeningRequest): Promise<ServerSession | undefined> {
  const { parts, signature, caller, right } = request;
  const header = parts.header(SESSION_HEADER);
  if (header == null) return undefined;
  const [, text, id, clientKey, from, insteadId, instead, mac] = OPENING.exec(header) ?? [];
  if (id === undefined) throw new AuthError("malformed_session", "Cannot open the session: its opening is malformed");
  const credentialsEndAtMs = Math.min(caller.expiresAtMs, right?.expiresAtMs ?? Infinity);
  if (instead !== undefined) await takeInstead(gate, caller, { id: insteadId!, counter: Number(instead) });
  const terms: SessionTerms = {
    client: caller,
    server: { id: gate.identity.id, thumbprint: gate.identity.key.thumbprint },
    audience: signature.audience,
    token: parts.header(WIT_HEADER)!,
    right: parts.header("authorization") ?? "",
  };
  const opening = JSON.stringify([terms.token, terms.right, terms.audience, clientKey]);
  const known = gate.sessions.remembered(id);
  if (known && known.opening !== opening) return undefined; // one that somebody else has opened is not touched
  if (!known && !gate.sessions.hasRoom(caller)) return undefined;
  const { acceptSessionKeys } = await import("./session_keys.ts"); // where it is used: it is large
  const keys = known?.keys ??
    await acceptSessionKeys(await gate.identity.encryptionKey(), { id, clientKey: clientKey! }, terms);
  const clientMac = known?.clientMac ?? textMac(gate.hash, keys.client);
  if (!isSameText(clientMac(text!), mac!)) return undefined; // the client means another key of this server, an old one say
  const present = gate.sessions.remembered(id); // two requests may open it at once
  if (present && present.opening !== opening) return undefined;
  if (!present && !gate.sessions.hasRoom(caller)) return undefined;
  const window = present?.window ?? counterWindow(Number(from));
  window.raise(Number(from));
  const session: ServerSession = {
    ...{ id, caller, right, opening, keys, window },
    clientMac: present?.clientMac ?? clientMac,
    serverMac: present?.serverMac ?? textMac(gate.hash, keys.server),
    endsAtMs: gate.sessions.get(id)?.endsAtMs ?? Math.min(gate.now() + SESSION_MS, credentialsEndAtMs),
    revision: gate.trust.revision,
    rules: new Map(),
  };
  gate.sessions.set(session);
  return session;
}

/**
 * Sees to it that a request which its caller makes again by another one was not run, and never is.
 *
 * A refusal of it proves only that whoever refused did not know its session: another instance, or this one after the
 * session's end, and it may have been shown by somebody who delivered the request here before.
 *
 * @throws {AuthError} `replayed`.
 */
async function takeInstead(
  gate: Gate,
  caller: Workload,
  { id, counter }: { readonly id: string; readonly counter: number },
): Promise<void> {
  const session = gate.sessions.remembered(id);
  if (session?.caller.id === caller.id) {
    if (session.window.wasTaken(counter)) {
      throw new AuthError("replayed", "Cannot accept the request: what it is in place of was let in");
    }
    session.window.take(counter);
  }
  const expiresAtMs = gate.now() + MAX_REQUEST_MS;
  await gate.replay.take({ signer: caller.id, nonce: `${id}.${counter}`, expiresAtMs });
}

/** By what something that goes on was let in. */
export interface LetInBy {
  readonly caller: Workload;
  readonly right: VerifiedChain | undefined;
  /** The state of trust in which both were verified. */
  readonly revision: number;
}

/**
 * Gives what refuses to go on once a token has ended or was revoked since: an `RpcError` of code `unauthenticated`, or
 * `permission_denied` where it is the right.
 */
export function holding(gate: Gate, { caller, right, revision }: LetInBy): () => void {
  const { trust, now } = gate;
  const { id, thumbprint, tokenId, trustDomain, expiresAtMs } = caller;
  return () => {
    const nowMs = now();
    if (expiresAtMs <= nowMs) throw new RpcError("unauthenticated", "What the stream was opened with has ended");
    if (right && right.expiresAtMs <= nowMs) throw new RpcError("permission_denied", "The stream's right has ended");
    if (revision === trust.revision) return;
    try {
      trust.assertNotRevoked(trustDomain, { id, key: thumbprint, tokens: [tokenId] });
      if (right) assertRightNotRevoked(gate, right);
    } catch (cause) {
      throw new RpcError("unauthenticated", "What the stream was opened with was revoked", { cause });
    }
  };
}

/** The longest that a session is used for requests, in milliseconds. */
export const SESSION_MS = 600_000;
/** For how long a request can be in time, in milliseconds: so long its counter is remembered, and ended sessions are. */
const MAX_REQUEST_MS = 60_000;
/** For how long a shared store remembers a request under a session at least, in milliseconds. */
const SHORTEST_REQUEST_MS = 30_000;
const MAX_SESSIONS = 8_192;
const MAX_SESSIONS_PER_CALLER = 1_024;
/** Of one key: an identity may be many instances, and each has a session for each of its rights. */
const MAX_SESSIONS_PER_KEY = 64;

/**
 * The encapsulated key, the client's key, where its counters begin, which request this one is in place of, by its session
 * and counter, and a MAC over these under the session's key.
 */
const OPENING = new RegExp(
  String
    .raw`^(enc="([\w-]{43})", key="([\w-]{43})", from=([1-9]\d{0,9})(?:, instead="([\w-]{43})\.([1-9]\d{0,9})")?), ` +
    String.raw`mac="([\w+/]{43}=)"$`,
);
