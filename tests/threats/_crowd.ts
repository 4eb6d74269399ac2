// A protected server that many streams come to at once, and what its handlers made and hold.
import { allow, memoryReplay, policy, protect, prove } from "../../src/auth/mod.ts";
import {
  createClient,
  createServer,
  fetchTransport,
  implement,
  rpc,
  service,
  stream,
  webSocketTransport,
} from "../../src/rpc/mod.ts";
import * as v from "valibot";
import { collect, gate } from "../rpc/_rig.ts";
import { network, type Wire } from "../rpc/_sockets.ts";
import { DOMAIN, WEB, world } from "../auth/_world.ts";

const Item = v.strictObject({ n: v.number(), data: v.optional(v.string()) });
export const Crowd = service("crowd.v1", {
  /** One message, and another one when it is time. */
  wait: rpc(Item, stream(Item)),
  /** Messages of `data`'s size without an end, as fast as they are taken. */
  flood: rpc(Item, stream(Item)),
  echo: rpc(stream(Item), stream(Item)),
});
const ID = `spiffe://${DOMAIN}/crowd`;
const MANY = 20_000;

/**
 * The server and a client of each kind; `made` says how many messages each `flood` made, by its number.
 *
 * @param prepare Sees each connection before it begins.
 */
export async function crowd(prepare?: (wire: Wire) => void) {
  const at = await world();
  const { now, trust } = at;
  const identity = await at.join(ID, { serves: ["crowd.v1"] });
  const web = await at.join(WEB);
  const goOn = gate();
  const made = new Map<number, number>();
  const state = { running: 0, most: 0 };
  const enter = () => state.most = Math.max(state.most, ++state.running);
  const handlers = {
    async *wait({ n }: { readonly n: number }) {
      enter();
      try {
        yield { n };
        await goOn.opened;
        yield { n: n + 1 };
      } finally {
        state.running--;
      }
    },
    async *flood({ n, data = "" }: { readonly n: number; readonly data?: string }) {
      enter();
      try {
        for (let count = 1;; count++) {
          made.set(n, count);
          yield { n: count, data };
        }
      } finally {
        state.running--;
      }
    },
    async *echo(items: AsyncIterable<{ readonly n: number }>) {
      enter();
      try {
        for await (const each of items) yield each;
      } finally {
        state.running--;
      }
    },
  };
  const server = createServer(implement(Crowd, handlers as never), {
    guard: protect({
      identity,
      trust,
      policy: policy([allow({ caller: WEB, call: "crowd.v1/*" })]),
      now,
      replay: memoryReplay({ now }),
      maxConcurrentCallsPerCaller: MANY,
    }),
    limits: { maxConcurrentCalls: MANY },
    log: collect().log,
  });
  const prover = () => prove({ identity: web, trust, peer: ID, now });
  const fetch = async (url: string, init: RequestInit) => asSent(await server.fetch(new Request(url, init)));
  const net = network(server, prepare);
  const socket = webSocketTransport("wss://crowd.test", { prover: prover(), open: net.open });
  return {
    ...{ server, goOn, made, state, net, socket },
    clients: {
      http: createClient(Crowd, fetchTransport("https://crowd.test", { prover: prover(), fetch })),
      socket: createClient(Crowd, socket),
    },
  };
}

/** Each chunk comes in a turn of its own, as from a network: otherwise a reader who is never kept waiting stops all clocks. */
function asSent(response: Response): Response {
  const reader = response.body!.getReader();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      await new Promise((resolve) => setTimeout(resolve));
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
  return new Response(body, { status: response.status, headers: response.headers });
}
