import { letGo } from "../internal/let_go.ts";
import { bodyReader, MAX_END_BYTES } from "./block_reader.ts";
import type { Call, Reply } from "./call.ts";
import { CONTENT_DIGEST_HEADER, END_STREAM, ERROR_MEDIA_TYPE, streamMediaType } from "./connect_protocol.ts";
import { coded } from "./coded.ts";
import { assertNoRedirect, mediaTypeOf, otherMediaType, receive, received, release } from "./fetch_answer.ts";
import { type FetchDeadline, startDeadline } from "./fetch_deadline.ts";
import { headersOf, type Sending } from "./fetch_request.ts";
import { incomingMessages } from "./incoming_messages.ts";
import type { Proof } from "./prover.ts";
import { receivedEnd, receivedError } from "./received_error.ts";
import { type Outgoing, outgoingOf } from "./stream_request.ts";
import { CANCELED, ProveAgainError, RECEIVED, RpcError } from "./rpc_error.ts";

/**
 * Makes a streaming call over HTTPS: the request proves its head, and the rest of it block by block, where the prover
 * proves anything.
 *
 * @see {@link https://connectrpc.com/docs/protocol#streaming-rpcs}
 */
export async function fetchStream(call: Call, sending: Sending): Promise<Reply> {
  const deadline = startDeadline(call);
  try {
    const answers = await Promise.race([exchange({ call, sending, deadline }), deadline.over]);
    if (call.method.streamsOutput) return { message: undefined, messages: answers };
    return { message: await only(answers) };
  } catch (cause) {
    const error = received(cause);
    deadline.giveUp(error); // whatever of it still goes on
    deadline.end();
    throw error;
  }
}

/** A streaming call on its way. */
interface Exchange {
  readonly call: Call;
  readonly sending: Sending;
  readonly deadline: FetchDeadline;
}

async function exchange(exchange: Exchange): Promise<AsyncIterableIterator<unknown>> {
  const { call, sending: { base, prover, codec }, deadline } = exchange;
  const url = base + call.method.path;
  const headers = headersOf(call, streamMediaType(codec.name));
  const outgoing = outgoingOf(call, codec, deadline);
  let proof = await prover.prove({ method: "POST", url, headers, body: undefined, call });
  for (let proofs = 1;; proofs++) {
    const sentAt = performance.now();
    try {
      return await attempt(exchange, url, { ...headers, ...proof.headers }, proof, outgoing);
    } catch (error) {
      if (!(error instanceof ProveAgainError) || !proof.verify || !proof.again || proofs === MAX_PROOFS) throw error;
      if (!proof.isIntroduction) {
        // Messages that were asked for cannot be asked for again.
        if (outgoing.begun) throw error;
        // A server that started after the call was sent cannot say what the one before it did with the call.
        const { safe, idempotent } = call.method.options;
        if (!safe && !idempotent && error.ageMs <= performance.now() - sentAt) throw error;
      }
      proof = await proof.again();
    }
  }
}

/** An introduction, a stream, and both once more for a server that has just started. */
const MAX_PROOFS = 4;

async function attempt(
  { call, sending, deadline }: Exchange,
  url: string,
  headers: Readonly<Record<string, string>>,
  proof: Proof,
  outgoing: Outgoing,
): Promise<AsyncIterableIterator<unknown>> {
  if (proof.verify && !proof.channel && !proof.isIntroduction) {
    throw new RpcError("failed_precondition", "Cannot call: what proves the client's calls does not prove streams");
  }
  const body = proof.isIntroduction ? {} : outgoing.begin(proof.channel);
  const init = { method: "POST", headers, signal: deadline.signal, ...sending.init, ...body };
  const response = await sending.send(url, init as RequestInit);
  assertNoRedirect(response);
  const isWhole = response.status !== 200 || (proof.verify && response.headers.has(CONTENT_DIGEST_HEADER));
  if (isWhole || proof.isIntroduction) throw await refusal(response, call, sending, proof);
  return await answersOf(response, proof, { call, sending, deadline }, outgoing);
}

/** The error of a call that was not let in. */
async function refusal(response: Response, { method }: Call, { codec }: Sending, proof: Proof): Promise<RpcError> {
  const { status, headers } = response;
  const body = await receive(response, Math.max(codec.maxBytes, MAX_END_BYTES)).catch((cause) => {
    // Before an answer is proven, anybody on the way may have made it what it is.
    const isAnyones = proof.verify && cause instanceof RpcError;
    throw isAnyones ? new RpcError("unavailable", "Cannot trust the answer: it cannot be read", { cause }) : cause;
  });
  if (proof.verify) await proof.verify({ status, headers, body });
  const mediaType = mediaTypeOf(headers);
  if (status !== 200) return await receivedError(method, status, mediaType === ERROR_MEDIA_TYPE ? body : undefined);
  const envelopes = bodyReader({ maxBytes: codec.maxBytes, hasEnd: true, mistake: "internal" });
  envelopes.push(body);
  const envelope = mediaType === streamMediaType(codec.name) ? envelopes.next() : undefined;
  const error = envelope?.flags === END_STREAM ? await receivedEnd(method, envelope.bytes) : undefined;
  return error ?? new RpcError("internal", "Cannot read the answer: it is neither a stream nor a refusal");
}

/** The messages of an answer, once its head is proven. */
async function answersOf(
  response: Response,
  proof: Proof,
  { call: { method }, sending: { codec }, deadline }: Exchange,
  outgoing: Outgoing,
): Promise<AsyncIterableIterator<unknown>> {
  const { status, headers } = response;
  try {
    if (proof.verify) await proof.verify({ status, headers, body: undefined });
    if (mediaTypeOf(headers) !== streamMediaType(codec.name)) {
      throw otherMediaType(mediaTypeOf(headers), streamMediaType(codec.name));
    }
  } catch (error) {
    release(response);
    throw error;
  }
  const { channel } = proof;
  return incomingMessages(response.body, {
    envelopes: bodyReader({
      maxBytes: codec.maxBytes,
      hasEnd: true,
      mistake: channel ? "unavailable" : "internal",
      channel,
    }),
    decode: (bytes) => coded(() => codec.decode(bytes), "internal"),
    signal: deadline.signal,
    asError: received, // marked, so that a server which does not catch it does not pass it on
    async atEnd(content) {
      const error = await receivedEnd(method, content);
      if (error) throw error;
    },
    brokenOff: (cause) => new RpcError("unavailable", "The answer broke off", { cause }),
    truncated: () => new RpcError(channel ? "unavailable" : "internal", "The answer ended before it was complete"),
    closed(reader, complete) {
      deadline.end();
      outgoing.stop();
      if (complete) drain(reader, deadline);
      else deadline.giveUp(new RpcError("canceled", CANCELED, RECEIVED));
      if (!complete) reader?.cancel().catch(() => {});
    },
  });
}

/** Takes the end of a body whose last message is known, so that its connection can carry another call. */
function drain(reader: ReadableStreamDefaultReader<Uint8Array> | undefined, { giveUp }: FetchDeadline): void {
  if (!reader) return;
  const stop = () => giveUp(new RpcError("canceled", CANCELED, RECEIVED));
  const timer = setTimeout(stop, MAX_DRAIN_MS);
  reader.read().then(({ done }) => done || stop(), () => {}).finally(() => clearTimeout(timer));
}

/** How long a server may take to end a body after its last message, in milliseconds. */
const MAX_DRAIN_MS = 1_000;

/** The one answer of a method that does not answer with a stream. */
async function only(answers: AsyncIterableIterator<unknown>): Promise<unknown> {
  try {
    const first = await answers.next();
    if (first.done) throw new RpcError("unimplemented", "Cannot read the answer: there is no message in it");
    const second = await answers.next();
    if (!second.done) {
      throw new RpcError("unimplemented", "Cannot read the answer: there are more messages than one in it");
    }
    return first.value;
  } finally {
    void letGo(answers);
  }
}
