/** The calls of the WebSocket programs. */
import { anonymous, createClient, webSocketTransport } from "@postern/rpc/rpc";
import type { RuntimeWebSocket } from "../../../src/runtime/runtime.ts";
import { Counter } from "./websocket_app.ts";

/** What a WebSocket client program is asked to do. */
export interface WebSocketInput {
  /** Whom TLS is to trust. */
  readonly caCerts: readonly string[];
  /** Servers, by name. */
  readonly call: Readonly<Record<string, string>>;
}

/**
 * Calls a server in every way that must work between any two runtimes.
 *
 * @param open The client runtime's `createWebSocket()`.
 * @param url The server.
 * @returns `ok` or what went wrong.
 */
export async function runCalls(open: RuntimeWebSocket, url: string): Promise<string> {
  const transport = webSocketTransport(url.replace("https:", "wss:"), { prover: anonymous(), open });
  try {
    const client = createClient(Counter, transport, { timeoutMs: 5_000 });
    const wrong: string[] = [];
    const expect = (name: string, got: unknown, wanted: unknown) => {
      if (JSON.stringify(got) !== JSON.stringify(wanted)) wrong.push(`${name} gave ${JSON.stringify(got)}`);
    };
    expect("double", await client.double({ n: 21 }), { n: 42 });
    expect("large", (await client.large({ n: 300_000 })).text.length, 300_000);
    expect("upTo", await collect(client.upTo({ n: 100 })), Array.from({ length: 100 }, (_, i) => i + 1));
    expect("sum", await client.sum(numbers(100)), { n: 5_050 });
    expect("both", await collect(client.both(numbers(3))), [2, 4, 6]);
    const many = await Promise.all(Array.from({ length: 50 }, (_, n) => client.double({ n })));
    expect("many", many.every(({ n }, i) => n === 2 * i), true);
    return wrong.join("; ") || "ok";
  } catch (error) {
    return `failed: ${error}`;
  } finally {
    await transport[Symbol.asyncDispose]();
  }
}

async function* numbers(count: number) {
  for (let n = 1; n <= count; n++) yield { n };
}

async function collect(messages: AsyncIterable<{ readonly n: number }>): Promise<number[]> {
  const all: number[] = [];
  for await (const { n } of messages) all.push(n);
  return all;
}
