import {
  type Admission,
  type Audit,
  type Caller,
  type Guard,
  type Incoming,
  type Right,
  RpcError,
  type Seal,
} from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import { readOrigin } from "./call_context.ts";
import { chainVerifier, type VerifiedChain } from "./capability_chain.ts";
import { contentDigest } from "./content_digest.ts";
import type { Identity } from "./identity.ts";
import { assertInTime, newNonce, SKEW_S, verifyMessageSignature } from "./message_signature.ts";
import { decidesFor, type Policy, type Rule } from "./policy.ts";
import { reasonOf, refusalOf } from "./refusal.ts";
import { memoryReplay, type ReplayStore } from "./replay.ts";
import { type ReadRequestSignature, readRequestSignature, type RequestParts, valueOf } from "./request_signature.ts";
import { signResponse } from "./response_signature.ts";
import { permits } from "./tool_map.ts";
import type { Trust } from "./trust.ts";
import { CAPABILITY_SCHEME, CONTENT_DIGEST_HEADER, CREDENTIAL_HEADERS, WIT_HEADER } from "./wire.ts";
import type { Workload } from "./wit.ts";

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
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Lets in callers that prove who they are and that a rule allows, and proves every answer.
 *
 * @example A protected server
 * ```ts
 * import { createServer, implement, rpc, service } from "@postern/rpc";
 * import { allow, createAuthority, createTrust, generateKey, importIdentity, policy, protect } from "@postern/rpc/auth";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const key = await generateKey();
 * const token = await authority.issue(key.jwk, { id: "spiffe://example.org/greeter", serves: ["greeter.v1"] });
 *
 * const server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: protect({
 *     identity: importIdentity(key, token),
 *     trust,
 *     policy: policy([allow({ caller: "spiffe://example.org/web", call: "greeter.v1/hello" })]),
 *   }),
 * });
 * ```
 *
 * @param options Identity, trust and policy, and what differs from the defaults.
 * @returns The guard.
 * @throws {TypeError} Identity, trust or policy is missing, or an audience cannot be one.
 */
export function protect(options: ProtectOptions): Guard {
  const gate = gateOf(options);
  return {
    start(services) {
      gate.policy.start(services, gate.trust.trustDomains);
      const foreign = services.map(({ name }) => name).filter((name) => !gate.identity.serves.includes(name));
      if (foreign.length > 0) {
        throw new TypeError(
          `Cannot serve "${foreign.join('", "')}": the identity "${gate.identity.id}" may not serve it`,
        );
      }
      return gate.identity.keepFresh();
    },
    async admit(incoming) {
      const seen: Seen = { caller: undefined, believed: false };
      try {
        return incoming.request ? await admitRequest(gate, incoming, seen) : admitOwn(gate, incoming);
      } catch (error) {
        throw refuse(gate, incoming, seen, error);
      }
    },
  };
}

/**
 * The checks, in their order: what is cheap and needs no trust first, nothing is used before it was verified, and the
 * body is not decoded by any of them.
 *
 * Before them the server has looked at the connection, the method, the path, the framing and the sizes; after them it
 * decodes the message, checks it against the contract, and asks {@linkcode deciding} about what is in it.
 */
async function admitRequest(gate: Gate, incoming: Incoming, seen: Seen): Promise<Admission> {
  const parts = partsOf(gate, incoming.request!);
  if (isStranger(parts)) return admitStranger(gate, incoming);
  const signature = readRequestSignature(parts);
  assertInTime(signature, gate.now());
  assertAddressed(gate, signature);
  const caller = await gate.trust.verify(parts.header(WIT_HEADER) ?? "");
  await verifyMessageSignature(signature, caller.key, valueOf(parts));
  seen.caller = caller;
  // Its body may take its time to arrive: nobody keeps more of the server waiting than he may have run.
  const leave = enter(gate, gate.arriving, caller);
  try {
    return await admitCaller(gate, incoming, { seen, parts, signature, caller });
  } finally {
    leave();
  }
}

/** The checks that come once it is known who signed: the request itself, and what its caller may. */
async function admitCaller(
  gate: Gate,
  incoming: Incoming,
  { seen, parts, signature, caller }: Signed,
): Promise<Admission> {
  await untilPresent(signature, gate.now());
  await assertDigest(incoming, parts);
  await assertOwnIdentity(gate);
  const seal = sealFor(gate, parts, signature);
  assertAfterStart(gate, incoming, signature, seal);
  await gate.replay.take({
    signer: caller.id,
    nonce: signature.nonce,
    expiresAtMs: (signature.expires + SKEW_S) * 1_000,
  });
  // From here on this very request can never be let in: only then may a refusal be proven. Earlier, somebody on the way
  // could get one for a copy that he broke, show it to the caller, and deliver the whole one afterwards.
  incoming.sealRefusal(seal);
  assertCertificate(incoming, caller);
  seen.believed = true;
  const right = await verifyRight(gate, parts, caller);
  const origin = readOrigin(parts, signature, gate.identity);
  const rules = matchingRules(gate, incoming, caller, right);
  const leave = enter(gate, gate.running, caller);
  const decide = deciding(gate, incoming, { caller, rules, right });
  return {
    ...{ caller: publicCaller(caller), origin, capability: right && publicRight(right), seal },
    ...untilTheEnd(gate, incoming, { caller, decide, leave }),
  };
}

/** A request whose signature is its caller's. */
interface Signed {
  readonly seen: Seen;
  readonly parts: RequestParts;
  readonly signature: ReadRequestSignature;
  readonly caller: Workload;
}

/** Gives the place back when the call is over, and notes one that never came as far as a decision. */
function untilTheEnd(
  gate: Gate,
  incoming: Incoming,
  { caller, decide, leave }: {
    readonly caller: Workload;
    readonly decide: NonNullable<Admission["decide"]>;
    readonly leave: () => void;
  },
): Pick<Admission, "decide" | "end"> {
  let isDecided = false;
  return {
    decide(message) {
      isDecided = true;
      return decide(message);
    },
    end() {
      leave();
      if (isDecided) return;
      refuse(
        gate,
        incoming,
        { caller, believed: true },
        new AuthError("not_decided", "The message was none to decide on"),
      );
    },
  };
}

/**
 * A request of a clock that is ahead waits until it is not from the future any more: taken at once, it would still look
 * new to a server that starts in this one's place a moment later, and does not remember it.
 */
async function untilPresent({ createdMs }: ReadRequestSignature, nowMs: number): Promise<void> {
  const aheadMs = createdMs - nowMs;
  if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs));
}

/** Who could not prove its answer should not act: its caller would have to take the call for one that failed. */
async function assertOwnIdentity({ identity }: Gate): Promise<void> {
  try {
    await identity.credential();
  } catch (cause) {
    throw new RpcError("unavailable", "The server cannot prove itself at the moment", { cause });
  }
}

/** Signs of a caller that wants to be somebody; one of them alone is a proof that somebody took apart. */
function isStranger(parts: RequestParts): boolean {
  return CREDENTIAL_HEADERS.every((name) => parts.header(name) == null);
}

/** Who proves nothing is let in where the policy says "anyone", and nowhere else. */
function admitStranger(gate: Gate, incoming: Incoming): Admission {
  const rules = matchingRules(gate, incoming, undefined, undefined, "unsigned");
  return { decide: deciding(gate, incoming, { caller: undefined, rules, right: undefined }) };
}

/** A call from the same process comes from the server itself, whatever identity it is part of. */
function admitOwn(gate: Gate, incoming: Incoming): Admission {
  const { id, roles, attributes } = gate.identity;
  const caller = { id, roles, attributes };
  const rules = matchingRules(gate, incoming, caller, undefined);
  return { caller, origin: incoming.origin, decide: deciding(gate, incoming, { caller, rules, right: undefined }) };
}

function assertAddressed({ addresses }: Gate, { audience }: ReadRequestSignature): void {
  if (!addresses.has(audience)) throw new AuthError("wrong_audience", "Cannot accept the request: it is for another");
}

async function assertDigest(incoming: Incoming, parts: RequestParts): Promise<void> {
  const body = await incoming.body();
  const claimed = parts.header(CONTENT_DIGEST_HEADER) ?? undefined;
  const actual = body.length === 0 && claimed === undefined ? undefined : await contentDigest(body);
  if (claimed !== actual) {
    throw new AuthError("bad_digest", "Cannot accept the request: its body is not what was signed");
  }
}

/** What was proven before the replay store saw every nonce may be a replay, and nobody can know. */
function assertAfterStart(
  { replay, now }: Gate,
  incoming: Incoming,
  { createdMs }: ReadRequestSignature,
  seal: Seal,
): void {
  if (createdMs >= replay.sinceMs) return;
  incoming.sealRefusal(seal); // it will be as early at any later time
  const message = "Cannot accept the request: it was made before the server could remember it";
  throw new AuthError("before_start", message, { cause: now() - replay.sinceMs }); // for the caller to judge by
}

/** Where there is a certificate too, both must be of the same workload. */
function assertCertificate({ certificate }: Incoming, caller: Workload): void {
  const bound = caller.certificate;
  if (!certificate && bound === undefined) return;
  const isCallers = bound !== undefined
    ? certificate?.thumbprint === bound
    : certificate!.ids.length === 1 && certificate!.ids[0] === caller.id;
  if (!isCallers) {
    throw new AuthError("certificate_mismatch", "Cannot accept the request: the certificate is another's");
  }
}

/** The right that a caller shows: good in itself, now, here, for it, and for this method. */
async function verifyRight(gate: Gate, parts: RequestParts, caller: Workload): Promise<VerifiedChain | undefined> {
  const value = parts.header("authorization");
  if (value == null) return undefined;
  if (!value.startsWith(CAPABILITY_SCHEME)) {
    throw new AuthError("malformed_chain", "Cannot accept the right: it is of another kind");
  }
  const chain = await gate.verifyChain(value.slice(CAPABILITY_SCHEME.length));
  if (chain.expiresAtMs <= gate.now() || chain.notBeforeMs > gate.now() + SKEW_S * 1_000) {
    throw new AuthError("expired_right", "Cannot accept the right: its time is over or has not come");
  }
  const { id, thumbprint } = chain.holder;
  if (id === undefined ? thumbprint !== caller.thumbprint : id !== caller.id) {
    throw new AuthError("wrong_holder", "Cannot accept the right: it is another's");
  }
  if (chain.audiences.some((audience) => audience !== gate.identity.id && !gate.addresses.has(audience))) {
    throw new AuthError("wrong_right_audience", "Cannot accept the right: it is for use elsewhere");
  }
  gate.trust.assertNotRevoked(gate.identity.trustDomain, { tokens: chain.tokenIds });
  for (const { trustDomain, ...signer } of chain.signers) gate.trust.assertNotRevoked(trustDomain, signer);
  return chain;
}

/** The same answer for a method that is not there and for one that is not the caller's. */
function matchingRules(
  { policy }: Gate,
  { method }: Incoming,
  caller: Caller | undefined,
  right: VerifiedChain | undefined,
  reason: "unsigned" | "not_allowed" = "not_allowed",
): readonly Rule[] {
  const call = method?.path.slice(1) ?? "";
  // A right that is shown is what the call is made under: it allows the method, or the call is refused.
  const isWithin = right === undefined || Object.hasOwn(right.tools, call);
  const rules = policy.matching({ caller, call, capability: right !== undefined && isWithin });
  if (!isWithin || rules.length === 0) throw new AuthError(reason, "Cannot allow the call: no rule or no right does");
  return rules;
}

/** Takes one of the caller's places. */
function enter({ maxConcurrentCallsPerCaller }: Gate, places: Map<string, number>, { id }: Workload): () => void {
  const count = places.get(id) ?? 0;
  if (count >= maxConcurrentCallsPerCaller) {
    throw new AuthError("over_quota", "Cannot take the call: the caller has too many");
  }
  places.set(id, count + 1);
  return () => {
    const left = places.get(id)! - 1;
    if (left === 0) places.delete(id);
    else places.set(id, left);
  };
}

interface Decision {
  readonly caller: Caller | undefined;
  readonly rules: readonly Rule[];
  readonly right: VerifiedChain | undefined;
}

/** Decides on the checked message: the arguments that a right allows, and rules that ask for more. */
function deciding(gate: Gate, incoming: Incoming, { caller, rules, right }: Decision): (message: unknown) => void {
  return (message) => {
    try {
      const call = incoming.method!.path.slice(1);
      if (right && !permits(right.tools, call, message as Readonly<Record<string, unknown>>)) {
        throw new AuthError("argument_not_allowed", "Cannot allow the call: the right is for other arguments");
      }
      if (!decidesFor(rules, { caller, message, now: new Date(gate.now()) })) {
        throw new AuthError("not_allowed", "Cannot allow the call: no rule allows this message");
      }
      recordAllowed(gate, incoming, caller, right);
    } catch (error) {
      throw refuse(gate, incoming, { caller, believed: true }, error);
    }
  };
}

/** Whatever cannot be recorded does not happen. */
function recordAllowed(
  gate: Gate,
  incoming: Incoming,
  caller: Caller | undefined,
  right: VerifiedChain | undefined,
): void {
  if (!gate.audit) return;
  const fields = right && { right: right.tokenIds.join(" ") };
  try {
    gate.audit.record({ ...eventOf("call.allow", incoming, caller), fields });
  } catch (cause) {
    throw new AuthError("audit_full", "Cannot allow the call: it cannot be recorded", { cause });
  }
}

/** Records the refusal, and gives what the caller is told of it. */
function refuse(gate: Gate, incoming: Incoming, { caller, believed }: Seen, error: unknown): Error {
  try {
    gate.audit?.record({ ...eventOf("call.refuse", incoming, caller), reason: reasonOf(error) });
  } catch {
    // The call is refused all the same, and the server's log has it.
  }
  return refusalOf(error, believed);
}

function eventOf(event: string, incoming: Incoming, caller: Caller | undefined) {
  return { event, correlationId: incoming.correlationId, caller: caller?.id, method: incoming.method?.path.slice(1) };
}

/** Signs answers to a request, so that they are answers to nothing else. */
function sealFor({ identity, now }: Gate, parts: RequestParts, { nonce: requestNonce }: ReadRequestSignature): Seal {
  return async ({ status, contentType, body }) => {
    const { token } = await identity.credential();
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const headers = { [CONTENT_DIGEST_HEADER]: await contentDigest(bytes), [WIT_HEADER]: token.reveal() };
    const all: Readonly<Record<string, string>> = { "content-type": contentType, ...headers };
    const response = { status, request: parts, header: (name: string) => all[name] };
    const terms = { created: Math.floor(now() / 1_000), nonce: newNonce(), requestNonce };
    return { ...headers, ...await signResponse(response, terms, identity) };
  };
}

function partsOf({ mountedAt }: Gate, { url, method, headers }: Request): RequestParts {
  return { method, target: mountedAt + url.slice(url.indexOf("/", 8)), header: (name) => headers.get(name) };
}

/** Without the key and the token's times, which are nobody's business. */
const publicCaller = ({ id, roles, attributes }: Workload): Caller => ({ id, roles, attributes });

const publicRight = ({ path, tools, tokenIds, expiresAtMs }: VerifiedChain): Right => ({
  path,
  tools,
  tokenIds,
  expiresAtMs,
});

/** Who turned out to call, for when the call is refused. */
interface Seen {
  caller: Caller | undefined;
  /** Whether it is settled who calls: what is wrong from then on is with what it may. */
  believed: boolean;
}

interface Gate
  extends Required<Pick<ProtectOptions, "identity" | "trust" | "policy" | "replay" | "mountedAt" | "now">> {
  readonly audit: Audit | undefined;
  readonly addresses: ReadonlySet<string>;
  readonly verifyChain: (text: string) => Promise<VerifiedChain>;
  /** How many calls of each caller are on their way to being let in. */
  readonly arriving: Map<string, number>;
  /** How many calls of each caller are being answered. */
  readonly running: Map<string, number>;
  readonly maxConcurrentCallsPerCaller: number;
}

function gateOf(options: ProtectOptions): Gate {
  const { identity, trust, policy, audiences = [], mountedAt = "", now = Date.now, audit } = options ?? {};
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
    maxConcurrentCallsPerCaller,
  };
}

/**
 * Checks that a text can be an audience: printable, and without what a header would have to escape.
 *
 * @throws {TypeError} It cannot.
 */
export function assertAudience(audience: string): string {
  if (/^[\x21\x23-\x5b\x5d-\x7e]{1,2048}$/.test(audience)) return audience;
  throw new TypeError("Cannot use the audience: it must be printable, without spaces, quotes and backslashes");
}
