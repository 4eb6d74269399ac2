import type { Call } from "./call.ts";
import type { Channel } from "./channel.ts";

/** A request as a client is about to send it, complete but for its proof. */
export interface OutgoingRequest {
  /** The HTTP method. */
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  /** Its headers by their lower-case names, complete but for those of the proof. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body; undefined where a stream or a connection's frames follow. */
  readonly body: string | Uint8Array | undefined;
  /** The call that it makes; undefined for a connection, which carries many. */
  readonly call: Call | undefined;
}

/** A response as a client received it, its body not decoded yet. */
export interface IncomingResponse {
  /** The HTTP status. */
  readonly status: number;
  /** The headers. */
  readonly headers: Headers;
  /** The raw body; undefined where a stream or a connection's frames follow. */
  readonly body: Uint8Array | undefined;
}

/** The proof of one request, and what its response has to prove. */
export interface Proof {
  /** The headers that carry the proof. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Checks the response before anything of it is decoded; MUST throw an {@linkcode RpcError} to refuse it. */
  verify?(response: IncomingResponse): void | Promise<void>;
  /**
   * Proves the same request once more, after a verified answer of the server that it did nothing and wants another proof.
   *
   * @returns The new proof.
   */
  again?(): Proof | Promise<Proof>;
  /**
   * Whether the request only asks the server for what a stream's proof needs. It is sent with an empty body, the answer is
   * verified, and what counts is proven {@linkcode Proof.again}.
   *
   * @default {false}
   */
  readonly isIntroduction?: boolean;
  /** Proves what follows the heads of a stream or a connection, each way; used once the answer's head was verified. */
  readonly channel?: Channel;
  /**
   * For a connection: whether more calls may be made on it; one whose proof is about to end carries those under way to
   * their end, and the next call is made on another.
   *
   * @default {always}
   */
  isUsable?(): boolean;
  /**
   * For a connection: gives the headers that go with one call on it; MUST throw an {@linkcode RpcError} for a call that the
   * server may not answer.
   */
  headersFor?(call: Call): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
}

/**
 * Proves a client's requests and checks that the responses are proven too.
 *
 * A transport to a network cannot be built without one.
 */
export interface Prover {
  /** Proves one request; called again for every attempt. */
  prove(request: OutgoingRequest): Proof | Promise<Proof>;
}

/**
 * Calls without an identity: nothing is proven, to the server or by it, beyond what TLS does.
 *
 * Such a client reaches only what a server opens to anyone.
 *
 * @example A client without an identity
 * ```ts
 * import { anonymous, fetchTransport } from "@postern/rpc";
 *
 * const transport = fetchTransport("https://localhost:8443", { prover: anonymous() });
 * ```
 *
 * @returns The prover.
 */
export function anonymous(): Prover {
  return { prove: () => NOTHING };
}

const NOTHING: Proof = /* @__PURE__ */ Object.freeze({});
