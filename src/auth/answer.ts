import { type Audit, type Call, type IncomingResponse, RpcError } from "../rpc/mod.ts";
import type { HashProvider } from "../internal/hash.ts";
import { AuthError } from "./auth_error.ts";
import type { ClientSession, ClientSessions } from "./client_session.ts";
import { contentDigest } from "./content_digest.ts";
import { assertInTime, verifyMessageSignature } from "./message_signature.ts";
import { readResponseSignature, valueOf } from "./response_signature.ts";
import { isSameText, sessionResponseBase, sessionResponseInput, sessionSignature } from "./session_signature.ts";
import type { Trust } from "./trust.ts";
import {
  CONTENT_DIGEST_HEADER,
  ENCRYPTION_KEY_HEADER,
  SESSION_HEADER,
  SIGNATURE_HEADER,
  SIGNATURE_INPUT_HEADER,
  WIT_HEADER,
} from "./wire.ts";

/** One request and, once it is there, its proven answer. */
export interface Exchange {
  /** The call; undefined for a connection. */
  readonly call: Call | undefined;
  /** What makes the request one of a kind. */
  readonly nonce: string;
  readonly parts: { readonly method: string; readonly target: string; readonly token: string | undefined };
  /** The session that it was made under, or that it opens. */
  readonly session: ClientSession | undefined;
  /** Its counter, where it was made under the session. */
  readonly counter: number | undefined;
  /** Whose token the answer had, where that was good. */
  answeredBy: string | undefined;
  /** When the answer was signed, in seconds since 1970. */
  answered: number;
}

/** Whom a client believes, and what it remembers of its peer. */
export interface AnswerTerms {
  readonly trust: Trust;
  readonly peer: string;
  readonly sessions: ClientSessions;
  readonly hash: HashProvider;
  readonly audit: Audit | undefined;
  readonly now: () => number;
}

/**
 * Checks an answer, before anything of it is decoded: proven for this very request, by the peer that was meant, which its
 * authority lets serve the service.
 *
 * @throws {RpcError} `unavailable`: an answer that is not proven is no answer, so that nobody on the way can make a client
 * believe in a refusal, wait, or give a server up.
 */
export function verifyAnswer(
  terms: AnswerTerms,
  exchange: Exchange,
  response: IncomingResponse,
): void | Promise<void> {
  const refused = (cause: unknown): never => {
    // The server may have forgotten the session and be kept from saying so: the next call is signed.
    if (exchange.counter !== undefined) exchange.session!.isOpen = false;
    recordRefused(terms, exchange, cause);
    throw new RpcError("unavailable", "Cannot trust the answer: the service that was called did not prove it", {
      cause,
    });
  };
  try {
    const verifying = isUnderSession(exchange, response)
      ? verifyUnderSession(terms, exchange, response)
      : verifySigned(terms, exchange, response);
    return verifying?.catch(refused);
  } catch (cause) {
    return refused(cause);
  }
}

/** A server signs where it does not know the session, and proves by the session where it does. */
function isUnderSession({ counter }: Exchange, { headers }: IncomingResponse): boolean {
  return counter !== undefined && !headers.has(WIT_HEADER);
}

function verifyUnderSession(
  { hash }: AnswerTerms,
  { session, counter }: Exchange,
  { status, headers, body }: IncomingResponse,
): void | Promise<void> {
  const digest = headers.get(CONTENT_DIGEST_HEADER) ?? undefined;
  const answer = { status, contentType: headers.get("content-type") ?? "", digest, counter: counter! };
  const expected = sessionSignature(session!.serverMac(sessionResponseBase(answer)));
  const isProven = headers.get(SIGNATURE_INPUT_HEADER) === sessionResponseInput(answer) &&
    isSameText(headers.get(SIGNATURE_HEADER) ?? "", expected);
  if (!isProven) throw new AuthError("bad_signature", "Cannot accept the answer: its proof is not its session's");
  return assertDigest(digest, body, hash);
}

function assertDigest(
  claimed: string | undefined,
  body: Uint8Array | undefined,
  hash: HashProvider,
): void | Promise<void> {
  const compare = (actual: string | undefined) => {
    if (claimed === actual) return;
    throw new AuthError("bad_digest", "Cannot accept the answer: its body is not what was proven");
  };
  const actual = body && contentDigest(body, hash);
  return actual instanceof Promise ? actual.then(compare) : compare(actual);
}

async function verifySigned(
  { trust, peer, sessions, hash, now }: AnswerTerms,
  exchange: Exchange,
  { status, headers, body }: IncomingResponse,
): Promise<void> {
  const answer = { status, request: exchange.parts, header: (name: string) => headers.get(name) };
  const signature = readResponseSignature(answer, exchange.nonce);
  assertInTime(signature, now());
  const server = await trust.verify(headers.get(WIT_HEADER) ?? "");
  exchange.answeredBy = server.id;
  if (server.id !== peer) throw new AuthError("wrong_peer", "Cannot accept the answer: another identity proves it");
  if (exchange.call && !server.serves.includes(exchange.call.method.service)) {
    throw new AuthError("wrong_peer", "Cannot accept the answer: its identity may not serve the service");
  }
  await verifyMessageSignature(signature, server.key, valueOf(answer));
  await assertDigest(headers.get(CONTENT_DIGEST_HEADER) ?? undefined, body, hash);
  exchange.answered = signature.created;
  const encryptionKey = headers.get(ENCRYPTION_KEY_HEADER);
  if (encryptionKey !== null) sessions.learn(encryptionKey, server);
  const { session } = exchange;
  if (session && exchange.counter === undefined) session.isOpen = headers.get(SESSION_HEADER) === session.id;
}

function recordRefused({ audit, peer }: AnswerTerms, { call, answeredBy }: Exchange, cause: unknown): void {
  const reason = cause instanceof AuthError ? cause.reason : "internal";
  const { traceparent } = call?.origin ?? {};
  const fields = {
    peer,
    ...answeredBy === undefined ? {} : { answeredBy },
    ...traceparent === undefined ? {} : { traceparent },
  };
  try {
    audit?.record({ event: "answer.refuse", reason, method: call?.method.path.slice(1), fields });
  } catch {
    // The answer is refused all the same.
  }
}
