// Three instances; one is killed, one is replaced, and the shop goes on calling all the time.
import { createClient, fetchTransport } from "@postern/rpc";
import type { Identity } from "@postern/rpc/auth";
import type { RuntimeFetch } from "@postern/rpc/deno";
import type { Registry } from "@postern/rpc/registry";
import { balancedTransport } from "@postern/rpc/selector";
import { join, trust } from "../02_identity/authority.ts";
import { SHOP, Stock } from "./contract.ts";
import { type RunningInstance, startInstance } from "./instance.ts";
import { endpoints } from "./registry.ts";

/** Where the story takes place. */
export interface Scene {
  /** The registry as somebody reaches it. */
  readonly reach: (identity: Identity) => Registry;
  readonly cert: string;
  readonly key: string;
  readonly fetch: RuntimeFetch;
  readonly show: (line: string) => unknown;
}

/** Tells the story, and throws when a call was lost. */
export async function tellStory({ reach, cert, key, fetch, show }: Scene): Promise<void> {
  await using running = new AsyncDisposableStack();
  const start = async (name: string, version: string): Promise<RunningInstance> =>
    running.use(await startInstance({ name, version, registry: reach, cert, key }));
  const [one, two] = [await start("one", "1.0.0"), await start("two", "1.0.0")];
  await start("three", "1.0.0");

  const identity = await join(SHOP);
  const transport = balancedTransport(reach(identity), {
    identity,
    trust,
    endpoints,
    connect: (url, prover) => fetchTransport(url, { prover, fetch }),
  });
  using _following = transport.follow("stock.v1");
  const stock = createClient(Stock, transport);

  const before = await callWhile(() => stock.count({ item: "kettle" }), () => pause(600));
  show(`three instances:         ${before}`);

  const killing = await callWhile(() => stock.count({ item: "kettle" }), async () => {
    await one.kill();
    await pause(600);
  });
  show(`one is killed:           ${killing}`);

  // Taking must not be done twice, so no call that may have arrived is made again: none has to be.
  const rolling = await callWhile(() => stock.take({ item: "kettle" }), async () => {
    await start("two", "1.1.0");
    await two[Symbol.asyncDispose]();
    await pause(300);
  });
  show(`two is rolled to 1.1.0:  ${rolling}`);
}

/** Calls without a break, eight at a time, while something happens; says who answered. */
async function callWhile(
  call: () => Promise<{ readonly by: string }>,
  happens: () => Promise<void>,
): Promise<string> {
  const answers = new Map<string, number>();
  let isOver = false;
  const caller = async () => {
    while (!isOver) {
      const { by } = await call();
      answers.set(by, (answers.get(by) ?? 0) + 1);
    }
  };
  const callers = Promise.all(Array.from({ length: 8 }, caller));
  await Promise.race([happens(), callers]).finally(() => isOver = true);
  await callers;
  const shares = [...answers].sort().map(([by, count]) => `${by} ${count}`);
  return `${[...answers.values()].reduce((sum, count) => sum + count)} calls, 0 failed (${shares.join(", ")})`;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
