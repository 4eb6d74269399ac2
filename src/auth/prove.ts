import {
  type Audit,
  type Call,
  type IncomingResponse,
  type OutgoingRequest,
  type Proof,
  type Prover,
  RpcError,
} from "../rpc/mod.ts";
import { AuthError, type AuthReason } from "./auth_error.ts";
import { MAX_CALLERS, writeCallers } from "./call_context.ts";
import { attenuate, type Capability, type Grant, readChain } from "./capability.ts";
import { contentDigest } from "./content_digest.ts";
import type { Identity } from "./identity.ts";
import { assertInTime, newNonce, verifyMessageSignature } from "./message_signature.ts";
import { assertAudience } from "./gate.ts";
import { signRequest } from "./request_signature.ts";
import { readResponseSignature, valueOf } from "./response_signature.ts";
import { secret } from "./secret.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import type { Trust } from "./trust.ts";
import { CALLERS_HEADER, CAPABILITY_SCHEME, CONTENT_DIGEST_HEADER, DELEGATION_HEADER, WIT_HEADER } from "./wire.ts";

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
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Proves every request, and accepts only answers that the peer proves: errors too.
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
  assertAudience(options.audience ?? peer);
  return { prove: (request) => attempt(options, request, 0) };
}

/** What is wrong with a right, not with who holds it. */
const OF_RIGHTS: readonly AuthReason[] = ["expired_right", "wrong_holder", "malformed_chain"];

/** What cannot be proven does not leave, and says so in place of looking like a server that is out of reach. */
async function attempt(options: ProveOptions, request: OutgoingRequest, notBefore: number): Promise<Proof> {
  try {
    return await proveRequest(options, request, notBefore);
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

async function proveRequest(options: ProveOptions, request: OutgoingRequest, notBefore: number): Promise<Proof> {
  const { identity, peer, now = Date.now } = options;
  const { method, url, body, call } = request;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const headers: Record<string, string> = {
    [CONTENT_DIGEST_HEADER]: await contentDigest(bytes),
    [WIT_HEADER]: (await identity.credential()).token.reveal(),
    ...await contextHeaders(options, call),
  };
  const target = url.slice(url.indexOf("/", 8));
  const all: Readonly<Record<string, string>> = { ...request.headers, ...headers };
  const createdMs = Math.max(now(), notBefore * 1_000);
  const nonce = newNonce(createdMs);
  const created = Math.floor(createdMs / 1_000);
  const parts = { method, target, header: (name: string) => all[name] };
  const terms = { created, nonce, audience: options.audience ?? peer };
  const exchange: Exchange = { call, nonce, parts, answeredBy: undefined, answered: 0 };
  return {
    headers: { ...headers, ...await signRequest(parts, terms, identity) },
    verify: (response) => verifyResponse(options, exchange, response),
    // The server's own clock says what is late enough for it.
    again: () => attempt(options, request, exchange.answered + 1),
  };
}

/** One request and, once it is there, the time of its proven answer. */
interface Exchange {
  readonly call: Call;
  readonly nonce: string;
  readonly parts: { readonly method: string; readonly target: string };
  /** Whose token the answer had, where that was good. */
  answeredBy: string | undefined;
  /** When the answer was signed, in seconds since 1970. */
  answered: number;
}

/** The right that the call is made under, who it came through, and what is handed on with it. */
async function contextHeaders(options: ProveOptions, call: Call): Promise<Record<string, string>> {
  const { identity, peer, delegate } = options;
  const headers: Record<string, string> = {};
  const callers = call.origin?.callers ?? [];
  if (callers.length > MAX_CALLERS) throw new RpcError("failed_precondition", "Cannot call: the call goes in circles");
  if (callers.length > 0) headers[CALLERS_HEADER] = writeCallers(callers);
  const own = typeof options.capability === "function" ? await options.capability() : options.capability;
  const held = own ?? handedOn(call);
  const tool = call.method.path.slice(1);
  if (held && Object.hasOwn(held.tools, tool)) {
    const shown = own ?? await narrowed(options, held, tool);
    headers["authorization"] = CAPABILITY_SCHEME + shown.chain.reveal();
  }
  const grant = delegate?.(call);
  if (!grant) return headers;
  if (!held) throw new RpcError("failed_precondition", "Cannot call: there is no right that could be handed on");
  const handed = await attenuate(held, identity, { ...grant, holder: peer }, clock(options));
  headers[DELEGATION_HEADER] = handed.chain.reveal();
  return headers;
}

function handedOn({ origin }: Call): Capability | undefined {
  return origin?.delegation ? readChain(secret(origin.delegation.reveal())) : undefined;
}

/** A right that is good for more than this call and this peer is made narrower before the peer sees it. */
async function narrowed(options: ProveOptions, held: Capability, tool: string): Promise<Capability> {
  const { identity, peer } = options;
  const isNarrow = held.audience !== undefined && Object.keys(held.tools).length === 1;
  if (isNarrow || held.depthLeft === 0) return held;
  const audience = options.audience ?? peer;
  const tools = { [tool]: held.tools[tool]! };
  return await attenuate(held, identity, { holder: identity.id, tools, audience, lifetimeMs: 60_000 }, clock(options));
}

const clock = ({ now }: ProveOptions) => now ? { now } : {};

/**
 * Checks an answer, before anything of it is decoded: signed for this very request, by the peer that was meant, which its
 * authority lets serve the service.
 *
 * @throws {RpcError} `unavailable`: an answer that is not proven is no answer, so that nobody on the way can make a client
 * believe in a refusal, wait, or give a server up.
 */
async function verifyResponse(options: ProveOptions, exchange: Exchange, response: IncomingResponse): Promise<void> {
  const { trust, peer, now = Date.now } = options;
  const { call, nonce, parts } = exchange;
  try {
    const { status, headers, body } = response;
    const answer = { status, request: parts, header: (name: string) => headers.get(name) };
    const signature = readResponseSignature(answer, nonce);
    assertInTime(signature, now());
    const server = await trust.verify(headers.get(WIT_HEADER) ?? "");
    exchange.answeredBy = server.id;
    if (server.id !== peer) throw new AuthError("wrong_peer", "Cannot accept the answer: another identity proves it");
    if (!server.serves.includes(call.method.service)) {
      throw new AuthError("wrong_peer", "Cannot accept the answer: its identity may not serve the service");
    }
    await verifyMessageSignature(signature, server.key, valueOf(answer));
    if (headers.get(CONTENT_DIGEST_HEADER) !== await contentDigest(body)) {
      throw new AuthError("bad_digest", "Cannot accept the answer: its body is not what was signed");
    }
    exchange.answered = signature.created;
  } catch (cause) {
    recordRefused(options, exchange, cause);
    throw new RpcError("unavailable", "Cannot trust the answer: the service that was called did not prove it", {
      cause,
    });
  }
}

function recordRefused({ audit, peer }: ProveOptions, { call, answeredBy }: Exchange, cause: unknown): void {
  const reason = cause instanceof AuthError ? cause.reason : "internal";
  const { traceparent } = call.origin ?? {};
  const fields = {
    peer,
    ...answeredBy === undefined ? {} : { answeredBy },
    ...traceparent === undefined ? {} : { traceparent },
  };
  try {
    audit?.record({ event: "answer.refuse", reason, method: call.method.path.slice(1), fields });
  } catch {
    // The answer is refused all the same.
  }
}
