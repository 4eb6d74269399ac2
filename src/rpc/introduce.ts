import { type ClientHello, CONNECTION_MEDIA_TYPE, readServerHello } from "./hello.ts";
import type { Method } from "./contract.ts";
import type { Proof, Prover } from "./prover.ts";
import { receivedError } from "./received_error.ts";
import { ProveAgainError, RECEIVED, RpcError } from "./rpc_error.ts";

/** What a client introduces itself with. */
export interface Introduction {
  /** The URL under which the server knows the connection, `https:`. */
  readonly url: string;
  readonly prover: Prover;
  /** The codec's name. */
  readonly codec: string;
  /** Sends a message, and gives the one that comes back. */
  readonly exchange: (hello: string) => Promise<Uint8Array | string>;
}

/**
 * Proves to a server who calls, and checks who answers; once more, where the server asks for another proof.
 *
 * @returns The proof that was accepted.
 * @throws {RpcError} The server does not let the client in, or its answer is not proven.
 */
export async function introduce({ url, prover, codec, exchange }: Introduction): Promise<Proof> {
  const first = await prover.prove({ method: "GET", url, headers: {}, body: undefined, call: undefined });
  const refusal = await attempt(first);
  if (!refusal && !first.isIntroduction) return first;
  if (!(refusal instanceof ProveAgainError) || !first.verify || !first.again) throw refusal ?? untrusted();
  const second = await first.again();
  const again = await attempt(second);
  if (again || second.isIntroduction) throw again ?? untrusted();
  return second;

  async function attempt(proof: Proof): Promise<RpcError | undefined> {
    const hello: ClientHello = { headers: proof.headers ?? {}, codec };
    const { status, headers, body } = readServerHello(await exchange(JSON.stringify(hello)));
    const isIn = status === 200;
    const bytes = isIn ? undefined : new TextEncoder().encode(body);
    if (isIn && (body !== "" || headers["content-type"] !== CONNECTION_MEDIA_TYPE)) throw untrusted();
    await proof.verify?.({ status, headers: new Headers(headers), body: bytes });
    return isIn ? undefined : await receivedError(NO_METHOD, status, bytes);
  }
}

const untrusted = () => new RpcError("unavailable", "Cannot trust the server: its first message is not one", RECEIVED);

/** A connection is refused as itself: no contract says anything of the details. */
const NO_METHOD = /* @__PURE__ */ Object.freeze({ service: "", name: "", options: {} }) as Method;
