import type { Admission, Incoming, Seal } from "../rpc/mod.ts";
import { admitConnection, admitted, channelFor, rulesOf, sealBySignature } from "./admission.ts";
import { AuthError } from "./auth_error.ts";
import { readOrigin } from "./call_context.ts";
import { verifyRight } from "./caller_right.ts";
import type { VerifiedChain } from "./capability_chain.ts";
import { assertCertificate } from "./certificate_binding.ts";
import { contentDigest } from "./content_digest.ts";
import type { Seen } from "./decision.ts";
import type { Gate } from "./gate.ts";
import { SKEW_S } from "./message_signature.ts";
import type { RequestParts } from "./request_signature.ts";
import type { ServerSession } from "./server_session.ts";
import {
  isSameText,
  type ReadSessionSignature,
  readSessionSignature,
  sessionResponseBase,
  sessionResponseInput,
  sessionSignature,
} from "./session_signature.ts";
import { CONTENT_DIGEST_HEADER, SIGNATURE_HEADER, SIGNATURE_INPUT_HEADER } from "./wire.ts";

/**
 * The checks of a request under a session, in the order of those of a signed one. What was shown when the session was
 * opened is not shown again, and nothing is waited for: so each costs a few microseconds.
 */
export function admitUnderSession(
  gate: Gate,
  incoming: Incoming,
  seen: Seen,
  parts: RequestParts,
): Admission | Promise<Admission> {
  const read = readSessionSignature(parts);
  const session = gate.sessions.get(read.id);
  if (!session || session.revision !== gate.trust.revision) throw unknown(gate, incoming, parts, read);
  assertFresh(read, gate.now());
  if (!isSameText(session.clientMac(read.base), read.mac)) {
    throw new AuthError("bad_signature", "Cannot accept the request: its proof is not its session's");
  }
  seen.caller = session.caller;
  if (!session.window.take(read.counter)) throw new AuthError("replayed", "Cannot accept the request: it came before");
  // From here on this very request can never be let in again.
  const seal = sealUnderSession(gate, session, read.counter);
  incoming.sealRefusal(seal);
  assertCertificate(incoming, session.caller);
  seen.believed = true;
  if (incoming.method?.options.proof === "signature") {
    throw new AuthError("signature_required", "Cannot accept the call: it is not signed by itself");
  }
  const settle = (shown?: VerifiedChain) => settled(gate, incoming, { session, parts, read, seal, shown });
  const pending = waitedFor(gate, incoming, { session, parts, read });
  return pending ? pending.then(settle) : settle();
}

/** A request whose proof was verified. */
interface Verified {
  readonly session: ServerSession;
  readonly parts: RequestParts;
  readonly read: ReadSessionSignature;
}

/** What few requests need: a right of their own, or a look at what other instances have seen. */
function waitedFor(
  gate: Gate,
  { method, carries }: Incoming,
  { session, parts, read }: Verified,
): Promise<VerifiedChain | undefined> | undefined {
  const { safe, idempotent } = method?.options ?? {};
  const mustTake = gate.replay.shared !== false && (carries === "connection" || !(safe || idempotent));
  if (!mustTake && parts.header("authorization") == null) return undefined;
  return (async () => {
    if (mustTake) {
      const nonce = `${session.id}.${read.counter}`;
      const expiresAtMs = (read.created + LIFETIME_S + SKEW_S) * 1_000;
      await gate.replay.take({ signer: session.caller.id, nonce, expiresAtMs });
    }
    return await verifyRight(gate, parts, session.caller);
  })();
}

function settled(
  gate: Gate,
  incoming: Incoming,
  { session, parts, read, seal, shown }: Verified & { readonly seal: Seal; readonly shown: VerifiedChain | undefined },
): Admission {
  const opened = { session, signature: parts.header(SIGNATURE_HEADER)! };
  if (incoming.carries === "connection") return admitConnection(gate, opened, seal);
  const { caller } = session;
  return admitted(gate, incoming, {
    caller,
    right: shown ?? session.right,
    rules: rulesOf(gate, incoming, session, shown),
    origin: readOrigin(parts, read.coversTrace, gate.identity),
    seal,
    ...incoming.carries === "stream"
      ? { channel: channelFor(gate, opened) }
      : { checkBody: (body) => assertDigest(gate, parts, body) },
  });
}

function assertDigest({ hash }: Gate, parts: RequestParts, body: Uint8Array): void | Promise<void> {
  const claimed = parts.header(CONTENT_DIGEST_HEADER) ?? undefined;
  if (body.length === 0 && claimed === undefined) return;
  const compare = (actual: string) => {
    if (claimed === actual) return;
    throw new AuthError("bad_digest", "Cannot accept the request: its body is not what was proven");
  };
  const actual = contentDigest(body, hash);
  return typeof actual === "string" ? compare(actual) : actual.then(compare);
}

/**
 * The refusal of a session that this server does not know, signed so that the caller can believe it: this server did
 * nothing. So that strangers cannot make it sign without end, there are only so many in a second.
 */
function unknown(gate: Gate, incoming: Incoming, parts: RequestParts, read: ReadSessionSignature): AuthError {
  const nonce = `${read.id}.${read.counter}`;
  if (gate.takeSignedRefusal()) incoming.sealRefusal(sealBySignature(gate, { parts, nonce, opened: undefined }));
  const cause = gate.sessions.rememberedForMs(gate.replay); // for the caller to judge by
  return new AuthError("unknown_session", "Cannot accept the request: its session is not known", { cause });
}

function assertFresh({ created }: ReadSessionSignature, nowMs: number): void {
  const ageS = nowMs / 1_000 - created;
  if (ageS < -SKEW_S) throw new AuthError("stale", "Cannot accept the request: it is from the future");
  if (ageS >= LIFETIME_S + SKEW_S) throw new AuthError("stale", "Cannot accept the request: it is too old");
}

/** Proves answers to a request under its session, under the key of the other direction. */
function sealUnderSession({ hash, encodeText }: Gate, { serverMac }: ServerSession, counter: number): Seal {
  return ({ status, contentType, body }) => {
    const bytes = typeof body === "string" ? encodeText(body) : body;
    const prove = (digest: string | undefined) => ({
      ...digest !== undefined && { [CONTENT_DIGEST_HEADER]: digest },
      [SIGNATURE_INPUT_HEADER]: sessionResponseInput({ digest, counter }),
      [SIGNATURE_HEADER]: sessionSignature(serverMac(sessionResponseBase({ status, contentType, digest, counter }))),
    });
    const digest = bytes && contentDigest(bytes, hash);
    return digest instanceof Promise ? digest.then(prove) : prove(digest);
  };
}

/** How long a request under a session lives, in seconds. */
const LIFETIME_S = 30;
