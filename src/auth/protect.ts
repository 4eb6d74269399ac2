import { type Admission, type Guard, type Incoming, RpcError, type Seal, type Service } from "../rpc/mod.ts";
import { admitConnection, admitted, channelFor, partsOf, sealBySignature, type Sealing } from "./admission.ts";
import { AuthError } from "./auth_error.ts";
import { readOrigin } from "./call_context.ts";
import { verifyRight } from "./caller_right.ts";
import { assertCertificate } from "./certificate_binding.ts";
import { contentDigest } from "./content_digest.ts";
import { deciding, enter, matchingRules, refuse, type Seen } from "./decision.ts";
import { type Gate, gateOf, type ProtectOptions } from "./gate.ts";
import { assertInTime, SKEW_S, verifyMessageSignature } from "./message_signature.ts";
import { type ReadRequestSignature, readRequestSignature, type RequestParts, valueOf } from "./request_signature.ts";
import { openSession } from "./server_session.ts";
import { isUnderSession } from "./session_signature.ts";
import { admitUnderSession } from "./under_session.ts";
import {
  CONTENT_DIGEST_HEADER,
  CREDENTIAL_HEADERS,
  SIGNATURE_HEADER,
  SIGNATURE_INPUT_HEADER,
  TRACE_HEADER,
  WIT_HEADER,
} from "./wire.ts";
import type { Workload } from "./wit.ts";

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
    start(services, tell) {
      gate.policy.start(services, gate.trust.trustDomains);
      const foreign = services.map(({ name }) => name).filter((name) => !gate.identity.serves.includes(name));
      if (foreign.length > 0) {
        throw new TypeError(
          `Cannot serve "${foreign.join('", "')}": the identity "${gate.identity.id}" may not serve it`,
        );
      }
      if (isOneOfMany() && gate.replay.shared === false && services.some(hasUnrepeatable)) tell(REPLAY_NOTICE);
      gate.calls = services.flatMap(({ methods }) => Object.values(methods).map(({ path }) => path.slice(1)));
      return gate.identity.keepFresh();
    },
    admit(incoming) {
      const seen: Seen = { caller: undefined, believed: false };
      const refused = (error: unknown): never => {
        throw refuse(gate, incoming, seen, error);
      };
      try {
        const admitted = incoming.request ? admitRequest(gate, incoming, seen) : admitOwn(gate, incoming);
        return admitted instanceof Promise ? admitted.catch(refused) : admitted;
      } catch (error) {
        return refused(error);
      }
    },
  };
}

/** Whether the runtime is known to run several isolates behind one endpoint, which see nothing of each other's memory. */
function isOneOfMany(): boolean {
  return globalThis.navigator?.userAgent === "Cloudflare-Workers";
}

const hasUnrepeatable = ({ methods }: Service) =>
  Object.values(methods).some(({ options }) => !options.safe && !options.idempotent);

const REPLAY_NOTICE = "Isolates that share this endpoint need a shared replay store: without one, somebody between a " +
  "caller and them can have a call run once in each";

/**
 * The checks, in their order: what is cheap and needs no trust first, nothing is used before it was verified, and the
 * body is not decoded by any of them.
 *
 * Before them the server has looked at the connection, the method, the path, the framing and the sizes; after them it
 * decodes the message, checks it against the contract, and asks {@linkcode deciding} about what is in it.
 */
function admitRequest(gate: Gate, incoming: Incoming, seen: Seen): Admission | Promise<Admission> {
  const parts = partsOf(gate, incoming.request!);
  if (isUnderSession(parts.header(SIGNATURE_INPUT_HEADER))) return admitUnderSession(gate, incoming, seen, parts);
  if (isStranger(parts)) return admitStranger(gate, incoming);
  return admitSigned(gate, incoming, seen, parts);
}

async function admitSigned(gate: Gate, incoming: Incoming, seen: Seen, parts: RequestParts): Promise<Admission> {
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
  const sealing: Sealing = { parts, nonce: signature.nonce, opened: undefined };
  const seal = sealBySignature(gate, sealing);
  assertAfterStart(gate, incoming, signature, seal);
  // Again, because the body may have taken its time: a nonce is remembered only as long as its request is in time.
  assertInTime(signature, gate.now());
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
  const session = await openSession(gate, { parts, signature, caller, right });
  sealing.opened = session;
  const opened = session && { session, signature: parts.header(SIGNATURE_HEADER)! };
  if (incoming.carries === "connection") return admitConnection(gate, opened, seal);
  const origin = readOrigin(parts, signature.components.includes(`"${TRACE_HEADER}"`), gate.identity);
  const rules = matchingRules(gate, incoming, caller, right);
  const channel = incoming.carries === "stream" ? channelFor(gate, opened) : undefined;
  return admitted(gate, incoming, { caller, right, rules, origin, seal, channel });
}

/** A request whose signature is its caller's. */
interface Signed {
  readonly seen: Seen;
  readonly parts: RequestParts;
  readonly signature: ReadRequestSignature;
  readonly caller: Workload;
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
  if (incoming.carries === "connection") return admitStrangersConnection(gate);
  const rules = matchingRules(gate, incoming, undefined, undefined, "unsigned");
  return { decide: deciding(gate, incoming, { caller: undefined, rules, right: undefined }) };
}

/** A connection without proofs carries calls to what is open to anyone. */
function admitStrangersConnection(gate: Gate): Admission {
  const question = { caller: undefined, capability: false };
  const isOpen = gate.calls.some((call) => gate.policy.matching({ ...question, call }).length > 0);
  if (!isOpen) throw new AuthError("unsigned", "Cannot accept the connection: it proves nothing");
  return {
    admitCall(incoming) {
      try {
        if (!isStranger(partsOf(gate, incoming.request!))) {
          throw new AuthError("unsigned", "Cannot accept the call: its connection proves nothing");
        }
        return admitStranger(gate, incoming);
      } catch (error) {
        throw refuse(gate, incoming, { caller: undefined, believed: false }, error);
      }
    },
  };
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
  if (incoming.carries !== "body") return; // what follows is proven block by block
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
