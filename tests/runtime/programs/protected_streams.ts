/** The streaming calls of the protected client programs: each shape over HTTP and over a WebSocket, in both encodings. */
import { cbor, createClient, fetchTransport, json, RpcError, type Transport, webSocketTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import type { RuntimeWebSocket } from "../../../src/runtime/runtime.ts";
import type { Fetch } from "./calls.ts";
import { Guarded } from "./protected_app.ts";
import type { ProtectedPeer, ProtectedSelf } from "./protected_calls.ts";

/** How the client's runtime reaches servers. */
export interface Ways {
  /** Its fetch. */
  readonly fetch: Fetch;
  /** Its WebSockets. */
  readonly open: RuntimeWebSocket;
}

/**
 * Makes calls of every shape to a protected server, by both transports, and says what came of each. Over HTTP/1.1 a
 * runtime's fetch may not read an answer before it has sent its request: what then becomes of a conversation is said too.
 *
 * @param ways How the server is reached.
 * @param peer The server.
 * @param self The client.
 * @returns `ok` or what went wrong, by call.
 */
export async function runProtectedStreams(
  ways: Ways,
  peer: ProtectedPeer,
  self: ProtectedSelf,
): Promise<Record<string, string>> {
  const results: Record<string, string> = {};
  for (const way of ["http", "socket"] as const) {
    for (const codec of [json(), cbor()]) {
      const transport = transportOf({ way, codec, ways, peer, self });
      const client = createClient(Guarded, transport);
      for (const [name, call] of Object.entries(CALLS)) {
        if (codec.name === "cbor" && !IN_BOTH.includes(name)) continue;
        results[`${way} ${codec.name} ${name}`] = await attempt(client, call);
      }
      await transport[Symbol.asyncDispose]?.();
    }
  }
  return results;
}

interface At {
  readonly way: "http" | "socket";
  readonly codec: ReturnType<typeof cbor>;
  readonly ways: Ways;
  readonly peer: ProtectedPeer;
  readonly self: ProtectedSelf;
}

type Stub = ReturnType<typeof createClient<(typeof Guarded)["methods"]>>;

const IN_BOTH = ["unary", "down", "up", "both"];

const CALLS: Readonly<Record<string, (client: Stub) => Promise<unknown>>> = {
  unary: async (client) => (await client.left({})).n >= 0,
  down: async (client) => (await all(client.upTo({ n: 100 }))).join() === range(100).join(),
  up: async (client) => (await client.sum(numbers(100))).n === 5_050,
  both: async (client) => (await all(client.double(numbers(50)))).join() === range(50).map((n) => 2 * n).join(),
  empty: async (client) => (await client.sum(numbers(0))).n === 0 && (await all(client.upTo({ n: 0 }))).length === 0,
  large: async (client) => {
    let length = 0;
    for await (const { data } of client.upTo({ n: 5, data: "x".repeat(200_000) })) length += data!.length;
    return length === 1_000_000 || length;
  },
  error: async (client) => {
    const read: number[] = [];
    const error = await errorOf((async () => {
      for await (const { n } of client.upTo({ n: -2 })) read.push(n);
    })());
    const isWhole = error.code === "out_of_range" && error.message === "There are no more" && error.correlationId;
    return isWhole && read.join() === "1,2" && JSON.stringify(error.details) === '{"left":3}' || error;
  },
  denied: async (client) => {
    const error = await errorOf(all(client.shutStream(numbers(1))));
    return error.code === "permission_denied" && error.message === "Cannot call this method" || error;
  },
  left: async (client) => {
    const before = (await client.left({})).n;
    for await (const { n } of client.upTo({ n: 1_000_000 })) if (n === 3) break;
    for (let turn = 0; turn < 200; turn++) {
      if ((await client.left({})).n > before) return true;
    }
    return "the handler was not told";
  },
  conversation: async (client) => {
    let answered: () => void = () => {};
    async function* questions() {
      for (let n = 1; n <= 3; n++) {
        const answer = new Promise<void>((resolve) => answered = resolve);
        yield { n };
        await answer;
      }
    }
    const answers: number[] = [];
    for await (const { n } of client.double(questions(), { timeoutMs: 1_000 })) {
      answers.push(n);
      answered();
    }
    return answers.join() === "2,4,6" || answers.join();
  },
};

async function attempt(client: Stub, call: (client: Stub) => Promise<unknown>, isSecond = false): Promise<string> {
  try {
    const result = await call(client);
    return result === true ? "ok" : `unexpected: ${result}`;
  } catch (error) {
    // A kept connection that its server let go of just then: a stream cannot be sent again by the runtime, as other calls are.
    if (!isSecond && String((error as Error).cause).includes("ECONNRESET")) return await attempt(client, call, true);
    return error instanceof RpcError ? `${error.code}: ${error.message} (${error.cause})` : `failed: ${error}`;
  }
}

function transportOf({ way, codec, ways, peer, self }: At): Transport & Partial<AsyncDisposable> {
  const prover = prove({ identity: self.identity, trust: self.trust, peer: peer.id });
  return way === "http"
    ? fetchTransport(peer.url, { prover, codec, fetch: ways.fetch })
    : webSocketTransport(peer.url.replace("https:", "wss:"), { prover, codec, open: ways.open });
}

async function* numbers(count: number) {
  for (let n = 1; n <= count; n++) yield { n };
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

async function all(items: AsyncIterable<{ readonly n: number }>): Promise<number[]> {
  const numbers: number[] = [];
  for await (const { n } of items) numbers.push(n);
  return numbers;
}

async function errorOf(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}
