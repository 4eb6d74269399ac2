// The way to the hub, for the consumers and for the test itself.
import { type Identity, prove, type Trust } from "../../../src/auth/mod.ts";
import { type Broker, hubBroker } from "../../../src/broker/mod.ts";
import { webSocketTransport } from "../../../src/rpc/mod.ts";
import { createWebSocket } from "../../../src/runtime/deno.ts";
import { HUB } from "./kill_app.ts";

/** Who goes where. */
export interface HubReach {
  readonly identity: Identity;
  readonly trust: Trust;
  readonly ca: string;
  readonly port: number;
}

/** Connects; disposing ends the broker, and then the connection. */
export async function reachHub({ identity, trust, ca, port }: HubReach): Promise<AsyncDisposable & { broker: Broker }> {
  await using stack = new AsyncDisposableStack();
  const open = createWebSocket({ caCerts: [ca] });
  const prover = prove({ identity, trust, peer: HUB });
  const transport = stack.use(webSocketTransport(`wss://localhost:${port}`, { prover, open }));
  const broker = stack.use(await hubBroker(transport));
  const all = stack.move();
  return { broker, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
