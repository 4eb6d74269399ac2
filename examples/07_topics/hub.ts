// A broker as a service of its own, over WebSockets, with an ear in it: it keeps whatever passes.
import { createServer } from "@postern/rpc";
import { allow, type Identity, policy, protect, prove } from "@postern/rpc/auth";
import { type Broker, brokerService, hubBroker, memoryBroker } from "@postern/rpc/broker";
import { createWebSocket, serve } from "@postern/rpc/deno";
import { webSocketTransport } from "@postern/rpc";
import type { Log } from "@postern/rpc/rpc";
import { join, trust } from "../02_identity/authority.ts";
import { HUB, rules } from "./contracts.ts";

/** A hub that runs. */
export interface Hub extends AsyncDisposable {
  /** The hub as somebody reaches it. */
  reach(identity: Identity): Promise<Broker>;
  /** The broker behind it, for whoever has taken the hub over. */
  readonly broker: Broker;
  /** All that it ever heard. */
  readonly heard: readonly string[];
}

/** What a hub runs with. */
export interface HubOptions {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Where its log goes. @default {the error output} */
  readonly log?: Log;
}

export async function startHub({ ca, cert, key, log }: HubOptions): Promise<Hub> {
  await using started = new AsyncDisposableStack();
  const heard: string[] = [];
  const broker = overheard(started.use(memoryBroker()), heard);
  const identity = await join(HUB, ["postern.broker.v1"]);
  const service = brokerService(broker, { trust, policy: rules });
  // Anyone of the domain may come in; the hub asks the rules about each topic.
  const mayCome = policy([allow({ caller: "spiffe://example.org/*", call: "postern.broker.v1/*" })]);
  const server = createServer(service, { guard: protect({ identity, trust, policy: mayCome }), ...log && { log } });
  const serving = started.use(await serve(server, { cert, key, port: 0, drainMs: 1_000 }));
  started.use(service); // first its subscriptions end, then the server
  const open = createWebSocket({ caCerts: [ca] });
  const all = started.move();
  return {
    heard,
    broker,
    async reach(identity) {
      const prover = prove({ identity, trust, peer: HUB });
      const transport = all.use(webSocketTransport(serving.url.replace("https:", "wss:"), { prover, open }));
      return all.use(await hubBroker(transport));
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function overheard(broker: Broker, heard: string[]): Broker {
  return {
    ...broker,
    publish(event, options) {
      heard.push(JSON.stringify(event));
      return broker.publish(event, options);
    },
  };
}
