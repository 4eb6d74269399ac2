import { type HashProvider, nobleHash } from "../internal/hash.ts";
import { type Audit, type Call, type OutgoingRequest, type Proof, type Prover, RpcError } from "../rpc/mod.ts";
import { type AnswerTerms, type Exchange, verifyAnswer } from "./answer.ts";
import { AuthError, type AuthReason } from "./auth_error.ts";
import type { Capability, Grant } from "./capability.ts";
import { type ClientSession, clientSessions, type KnownServer } from "./client_session.ts";
import { contentDigest } from "./content_digest.ts";
import { assertAudience } from "./gate.ts";
import type { Identity } from "./identity.ts";
import { newNonce } from "./message_signature.ts";
import { signRequest } from "./request_signature.ts";
import { sessionChannel } from "./session_channel.ts";
import { signSessionRequest } from "./session_signature.ts";
import { type CallHeaders, callHeaders, isBare } from "./shown_right.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import type { Trust } from "./trust.ts";
import { CONTENT_DIGEST_HEADER, SESSION_HEADER, SIGNATURE_HEADER, WIT_HEADER } from "./wire.ts";

/** How a client proves itself, and to whom. */
export interface ProveOptions {
  /** Who the client is. */
  readonly identity: Identity;
  /** Whom it believes. */
  readonly trust: Trust;
  /** Whom it means to call, as a SPIFFE id: an answer that is proven by anybody else is none. */
  readonly peer: string;
  /** The name that the instance is addressed by, where it has one of its own. @default {the peer's id} */
  readonly audience?: string;
  /**
   * The right that the calls are made under, or what gives it for each call: rights end.
   *
   * @default {the one handed on with the call that this one is part of}
   */
  readonly capability?: Capability | (() => Capability | Promise<Capability>);
  /**
   * What the peer may do in turn with that right, for calls of its own: decided for each call, so that it can be as
   * narrow as the message. The holder is the peer.
   *
   * @default {nothing}
   */
  readonly delegate?: (call: Call) => Omit<Grant, "holder"> | undefined;
  /** Where refused answers are recorded. @default {nowhere} */
  readonly audit?: Audit;
  /**
   * What the client knows of the server it means to reach: its encryption key and who signed for it, as a verified record
   * says. Then already the first call opens a session.
   *
   * @default {what the server's first answer says}
   */
  readonly server?: KnownServer;
  /**
   * What hashes the messages of sessions: `nativeHash` of a runtime's subpath, where that is faster.
   *
   * @default {JavaScript's}
   */
  readonly hash?: HashProvider;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Proves every request, and accepts only answers that the peer proves: errors too.
 *
 * The first request is signed, and so is the answer; from then on both have a session, and prove what they say with its
 * keys at a fraction of the cost. Streams are always proven by a session.
 *
 * @example A client that proves itself
 * ```ts
 * import { fetchTransport } from "@postern/rpc";
 * import { createAuthority, createTrust, generateKey, importIdentity, prove } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const key = await generateKey();
 * const identity = importIdentity(key, await authority.issue(key.jwk, { id: "spiffe://example.org/web" }));
 *
 * const transport = fetchTransport("https://localhost:8443", {
 *   prover: prove({ identity, trust, peer: "spiffe://example.org/greeter" }),
 * });
 * ```
 *
 * @param options Identity, trust and peer, and what differs from the defaults.
 * @returns The prover.
 * @throws {TypeError} Identity, trust or peer is missing, or the audience cannot be one.
 * @throws {AuthError} `malformed_id`: the peer is no SPIFFE id.
 */
export function prove(options: ProveOptions): Prover {
  const { identity, trust, peer } = options ?? {};
  for (const [name, part] of Object.entries({ identity, trust, peer })) {
    if (!part) throw new TypeError(`Cannot prove calls without "${name}"`);
  }
  parseWorkloadId(peer);
  const { audience = peer, now = Date.now, hash = nobleHash(), audit } = options;
  assertAudience(audience);
  const sessions = clientSessions({ identity, trust, audience, hash, now, server: options.server });
  const client: ProvingClient = { options, audience, terms: { trust, peer, sessions, hash, audit, now } };
  return { prove: (request) => attempt(client, request, {}) };
}

/** What the proofs of one client share. */
interface ProvingClient {
  readonly options: ProveOptions;
  readonly audience: string;
  readonly terms: AnswerTerms;
}

/** What a second proof of a request has to be. */
interface Again {
  /** When the server that refused the first one did so by its own clock, in seconds since 1970. */
  readonly notBefore?: number;
  /** What was refused, where that was under a session: its id and the counter. */
  readonly instead?: string | undefined;
}

/** What is wrong with a right, not with who holds it. */
const OF_RIGHTS: readonly AuthReason[] = ["expired_right", "wrong_holder", "malformed_chain"];

/** What cannot be proven does not leave, and says so in place of looking like a server that is out of reach. */
async function attempt(client: ProvingClient, request: OutgoingRequest, again: Again): Promise<Proof> {
  return await proven(() => proveRequest(client, request, again));
}

async function proven<Proven>(prove: () => Proven | Promise<Proven>): Promise<Proven> {
  try {
    return await prove();
  } catch (cause) {
    if (!(cause instanceof AuthError)) throw cause;
    if (cause.reason === "wider_right") {
      throw new RpcError("failed_precondition", "Cannot call: the right does not cover what is to be handed on", {
        cause,
      });
    }
    if (OF_RIGHTS.includes(cause.reason)) {
      throw new RpcError("permission_denied", "Cannot call: the right that is held is not good for it", { cause });
    }
    throw new RpcError("unauthenticated", "Cannot call: the client cannot prove itself", { cause });
  }
}

/** Under a session where there is an open one, else signed; a signed request opens the session for those to come. */
async function proveRequest(client: ProvingClient, request: OutgoingRequest, again: Again): Promise<Proof> {
  const { options, terms: { sessions } } = client;
  const { call, body } = request;
  const { headers, own } = !call || isBare(options, call) ? NO_HEADERS : await callHeaders(options, call);
  if (call?.method.options.proof === "signature") return await proveBySignature(client, request, { headers, again });
  const session = await sessions.get(own?.authorization ?? "", own?.expiresAtMs);
  const isKnown = session?.isOpen && (!call || sessions.serves(call.method.service));
  if (isKnown) return proveBySession(client, request, { headers, session });
  if (body === undefined && !session && call && sessions.serves(call.method.service)) {
    throw new RpcError("unauthenticated", "Cannot open a stream: what it would be proven by is about to end");
  }
  // One call opens it, while others are signed; a stream cannot do without.
  const opens = session && (body === undefined || again.instead || session.claim()) ? session : undefined;
  if (again.instead && !opens && !isRepeatable(call)) {
    throw new RpcError("unavailable", "Cannot prove the call again: nothing can say that it is the same one");
  }
  return await proveBySignature(client, request, { headers, session: opens, again });
}

/** Whether it is no harm where a call runs twice. */
const isRepeatable = (call: Call | undefined) => call?.method.options.safe || call?.method.options.idempotent;

const NO_HEADERS: CallHeaders = /* @__PURE__ */ Object.freeze({ headers: Object.freeze({}), own: undefined });

/** What is proven beside the request, and how. */
interface Proving {
  readonly headers: Readonly<Record<string, string>>;
  readonly again?: Again;
  readonly session?: ClientSession | undefined;
}

async function proveBySignature(
  client: ProvingClient,
  request: OutgoingRequest,
  { headers: given, session, again = {} }: Proving,
): Promise<Proof> {
  const { options: { identity }, audience, terms } = client;
  const { method, url, body, call } = request;
  const digest = digestOf(body, terms.hash);
  const { notBefore = 0, instead } = again;
  const headers: Record<string, string> = {
    ...digest !== undefined && { [CONTENT_DIGEST_HEADER]: await digest },
    [WIT_HEADER]: session?.token ?? (await identity.credential()).token.reveal(),
    ...given,
    ...session && { [SESSION_HEADER]: session.opening(instead) },
  };
  const target = url.slice(url.indexOf("/", 8));
  const all: Readonly<Record<string, string>> = { ...request.headers, ...headers };
  const createdMs = Math.max(terms.now(), notBefore * 1_000);
  const nonce = newNonce(createdMs);
  const parts = { method, target, header: (name: string) => all[name] };
  const signed = await signRequest(parts, { created: Math.floor(createdMs / 1_000), nonce, audience }, identity);
  const exchange: Exchange = {
    ...{ call, nonce, session, counter: undefined, parts: { method, target, token: headers[WIT_HEADER] } },
    ...{ answeredBy: undefined, answered: 0 },
  };
  const isIntroduction = body === undefined && !session;
  return {
    headers: { ...headers, ...signed },
    verify: (response) => verifyAnswer(terms, exchange, response),
    // The server's own clock says what is late enough for it; after an introduction nothing has to be later.
    again: () => attempt(client, request, isIntroduction ? {} : { instead, notBefore: exchange.answered + 1 }),
    ...isIntroduction && { isIntroduction },
    ...body === undefined && session && following(client, session, signed[SIGNATURE_HEADER]!),
  };
}

function proveBySession(
  client: ProvingClient,
  request: OutgoingRequest,
  { headers: given, session }: Proving & { readonly session: ClientSession },
): Proof | Promise<Proof> {
  const { hash } = client.terms;
  const digest = digestOf(request.body, hash);
  return digest instanceof Promise
    ? digest.then((each) => underSession(client, request, { given, session, digest: each }))
    : underSession(client, request, { given, session, digest });
}

function underSession(
  client: ProvingClient,
  request: OutgoingRequest,
  { given, session, digest }: {
    readonly given: Readonly<Record<string, string>>;
    readonly session: ClientSession;
    readonly digest: string | undefined;
  },
): Proof {
  const { terms } = client;
  const { method, url, body, call } = request;
  keepFresh(client.options.identity);
  const counter = session.next();
  const headers: Record<string, string> = { ...given };
  if (digest !== undefined) headers[CONTENT_DIGEST_HEADER] = digest;
  if (session.right !== "" && headers["authorization"] === session.right) delete headers["authorization"];
  const all: Readonly<Record<string, string>> = { ...request.headers, ...headers };
  const parts = { method, target: url.slice(url.indexOf("/", 8)), header: (name: string) => all[name] };
  const at = { id: session.id, counter, created: Math.floor(terms.now() / 1_000) };
  const signed = signSessionRequest(parts, at, session.clientMac);
  const exchange: Exchange = {
    ...{
      call,
      nonce: `${session.id}.${counter}`,
      session,
      counter,
      parts: { method, target: parts.target, token: undefined },
    },
    ...{ answeredBy: undefined, answered: 0 },
  };
  return {
    headers: Object.assign(headers, signed),
    verify: (response) => verifyAnswer(terms, exchange, response),
    again() {
      session.isOpen = false; // the server has forgotten it, or is another one with the same key
      // Not before the server's own time: one that was restarted a moment ago takes nothing from before.
      return attempt(client, request, { instead: exchange.nonce, notBefore: exchange.answered });
    },
    ...body === undefined && following(client, session, signed[SIGNATURE_HEADER]),
  };
}

/** An identity renews itself when it is asked for its token, and under a session nobody needs that. */
function keepFresh(identity: Identity): void {
  const credential = identity.credential();
  if (credential instanceof Promise) credential.catch(() => {}); // the session holds for a while yet
}

/** What a stream or a connection needs beyond its head's proof. */
function following(
  { options, terms: { sessions, hash, now } }: ProvingClient,
  { keys, assertServerHolds, usableUntilMs }: ClientSession,
  signature: string,
): Pick<Proof, "channel" | "headersFor" | "isUsable"> {
  return {
    isUsable: () => usableUntilMs > now(),
    channel: sessionChannel({ keys, side: "client", signature, hash, assertHolds: assertServerHolds }),
    headersFor(call) {
      keepFresh(options.identity);
      if (!sessions.serves(call.method.service)) {
        throw new RpcError("unavailable", "Cannot call: the server's identity may not serve the service");
      }
      if (isBare(options, call)) return NO_HEADERS.headers;
      return proven(() => callHeaders(options, call)).then(({ headers }) => headers);
    },
  };
}

/** The digest of a body; none of one that follows, or that is empty. */
function digestOf(body: string | Uint8Array | undefined, hash: HashProvider): undefined | string | Promise<string> {
  if (body === undefined) return undefined;
  return contentDigest(typeof body === "string" ? new TextEncoder().encode(body) : body, hash);
}
