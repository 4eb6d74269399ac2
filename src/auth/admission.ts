import type { Admission, Caller, Channel, Incoming, Origin, RequestHead, Right, Seal } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import { readOrigin } from "./call_context.ts";
import { verifyRight } from "./caller_right.ts";
import type { VerifiedChain } from "./capability_chain.ts";
import { contentDigest } from "./content_digest.ts";
import { deciding, enter, matchingRules, refuse, untilTheEnd } from "./decision.ts";
import type { Gate } from "./gate.ts";
import { newNonce } from "./message_signature.ts";
import type { Rule } from "./policy.ts";
import type { RequestParts } from "./request_signature.ts";
import { signResponse } from "./response_signature.ts";
import { holding, type ServerSession } from "./server_session.ts";
import { sessionChannel } from "./session_channel.ts";
import { CONTENT_DIGEST_HEADER, ENCRYPTION_KEY_HEADER, SESSION_HEADER, WIT_HEADER } from "./wire.ts";
import type { Workload } from "./wit.ts";

/** A request as its proof is about it. */
export function partsOf({ mountedAt }: Gate, { url, method, headers }: RequestHead): RequestParts {
  return { method, target: mountedAt + url.slice(url.indexOf("/", 8)), header: (name) => headers.get(name) };
}

/** A call of which everything is settled but what its message says. */
export interface Settled {
  readonly caller: Workload;
  readonly right: VerifiedChain | undefined;
  readonly rules: readonly Rule[];
  readonly origin: Origin;
  readonly seal?: Seal;
  readonly channel?: Channel | undefined;
  readonly checkBody?: (body: Uint8Array) => void | Promise<void>;
}

/** Lets a call in, and takes one of its caller's places for it. */
export function admitted(gate: Gate, incoming: Incoming, settled: Settled): Admission {
  const { caller, right, rules, origin, seal, channel, checkBody } = settled;
  const leave = enter(gate, gate.running, caller);
  const decide = deciding(gate, incoming, { caller, rules, right });
  return {
    ...{ caller: publicCaller(caller), origin, capability: right && publicRight(right) },
    ...seal && { seal },
    ...channel && { channel },
    ...incoming.carries === "stream" &&
      { assertHolds: holding(gate, { caller, right, revision: gate.trust.revision }) },
    ...untilTheEnd(gate, incoming, { caller, decide, leave, checkBody }),
  };
}

/** A session, and the signature of the request that came under it or opened it. */
export interface Opened {
  readonly session: ServerSession;
  readonly signature: string;
}

/**
 * Proves what follows a request.
 *
 * @throws {AuthError} `session_required`: there is nothing to prove it by.
 */
export function channelFor(gate: Gate, opened: Opened | undefined): Channel {
  if (!opened) throw new AuthError("session_required", "Cannot accept the stream: there is no session");
  const { session, signature } = opened;
  return sessionChannel({
    keys: session.keys,
    side: "server",
    signature,
    hash: gate.hash,
    assertHolds: holding(gate, session),
  });
}

/** Lets in a connection of somebody who is known; each call on it is decided on by itself. */
export function admitConnection(gate: Gate, opened: Opened | undefined, seal: Seal): Admission {
  const channel = channelFor(gate, opened);
  const { session } = opened!;
  const leave = enter(gate, gate.connected, session.caller);
  return {
    caller: publicCaller(session.caller),
    seal,
    channel,
    end: leave,
    async admitCall(incoming) {
      try {
        return await admitOnConnection(gate, session, incoming);
      } catch (error) {
        throw refuse(gate, incoming, { caller: session.caller, believed: true }, error);
      }
    },
  };
}

async function admitOnConnection(gate: Gate, session: ServerSession, incoming: Incoming): Promise<Admission> {
  holding(gate, session)();
  if (incoming.method?.options.proof === "signature") {
    throw new AuthError("signature_required", "Cannot accept the call: it is not signed by itself");
  }
  const { caller } = session;
  const parts = partsOf(gate, incoming.request!);
  const shown = await verifyRight(gate, parts, caller);
  const right = shown ?? session.right;
  const origin = readOrigin(parts, true, gate.identity); // the connection proves its headers
  return admitted(gate, incoming, { caller, right, rules: rulesOf(gate, incoming, session, shown), origin });
}

/** The rules that match a call under a session, found once for each method. */
export function rulesOf(
  gate: Gate,
  incoming: Incoming,
  { caller, right, rules }: ServerSession,
  shown?: VerifiedChain,
): readonly Rule[] {
  if (shown) return matchingRules(gate, incoming, caller, shown);
  const path = incoming.method?.path ?? "";
  const known = rules.get(path);
  if (known) return known;
  const matching = matchingRules(gate, incoming, caller, right);
  rules.set(path, matching);
  return matching;
}

/** What the answer to a signed request is about. */
export interface Sealing {
  readonly parts: RequestParts;
  /** What makes the request one of a kind. */
  readonly nonce: string;
  /** The session that it opened. */
  opened: ServerSession | undefined;
}

/** Signs answers to a request, so that they are answers to nothing else. */
export function sealBySignature({ identity, now }: Gate, sealing: Sealing): Seal {
  return async ({ status, contentType, body }) => {
    const { token } = await identity.credential();
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const headers = {
      ...bytes && { [CONTENT_DIGEST_HEADER]: await contentDigest(bytes) },
      [WIT_HEADER]: token.reveal(),
      [ENCRYPTION_KEY_HEADER]: (await identity.encryptionKey()).jwk.x,
      ...sealing.opened && { [SESSION_HEADER]: sealing.opened.id },
    };
    const all: Readonly<Record<string, string>> = { "content-type": contentType, ...headers };
    const { method, target, header } = sealing.parts;
    const request = { method, target, token: header(WIT_HEADER) ?? undefined };
    const response = { status, request, header: (name: string) => all[name] };
    const terms = { created: Math.floor(now() / 1_000), nonce: newNonce(), requestNonce: sealing.nonce };
    return { ...headers, ...await signResponse(response, terms, identity) };
  };
}

/** Without the key and the token's times, which are nobody's business. */
export const publicCaller = ({ id, roles, attributes }: Workload): Caller => ({ id, roles, attributes });

export const publicRight = ({ path, tools, tokenIds, expiresAtMs }: VerifiedChain): Right => ({
  path,
  tools,
  tokenIds,
  expiresAtMs,
});
