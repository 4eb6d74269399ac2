// `deno run -A bench/broker.ts`: what a message costs from publisher to acknowledgement, beside what cannot be done without: a
// queue for one in memory, a signature and its verification for a signed one, NATS's own client for one over NATS.
import { allow, createAuthority, createTrust, generateKey, importIdentity, policy } from "@postern/rpc/auth";
import { createPubSub, memoryBroker, plainPubSub, topic } from "@postern/rpc/broker";
import * as v from "valibot";
import { natsRows } from "./broker_nats.ts";
import { compare, type Row, row, table } from "./lib/measure.ts";

const Price = topic("prices.v1.changed", v.strictObject({ symbol: v.string(), cents: v.number() }));
const Secret = topic("prices.v1.secret", Price.schema, { encrypted: true });
const PLAIN = 50_000;
const SIGNED = 1_000;

/** What it costs to hand one on in order, with a promise for who waits: the least that a broker in memory does. */
function bareQueue<Item>() {
  const items: Item[] = [];
  let [first, wake] = [0, () => {}];
  return {
    push(item: Item) {
      items.push(item);
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        while (first < items.length) yield items[first++]!;
        items.length = first = 0;
        await new Promise<void>((resolve) => wake = resolve);
      }
    },
  };
}

async function rate(count: number, run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return count / (performance.now() - start) * 1000;
}

async function reading<Item>(source: AsyncIterable<Item>, count: number, each: (item: Item) => void): Promise<void> {
  let left = count;
  for await (const item of source) {
    each(item);
    if (--left === 0) return;
  }
}

async function plainRow(rounds: number): Promise<Row> {
  const all = await compare(rounds, async (isOurs) => {
    if (!isOurs) {
      const queue = bareQueue<{ symbol: string; cents: number }>();
      return await rate(PLAIN, async () => {
        const read = reading(queue, PLAIN, () => {});
        for (let cents = 0; cents < PLAIN; cents++) await queue.push({ symbol: "ACME", cents });
        await read;
      });
    }
    await using bus = plainPubSub();
    await using prices = await bus.subscribe(Price, { maxInFlight: 4_096 });
    return await rate(PLAIN, async () => {
      const read = reading(prices, PLAIN, ({ ack }) => ack());
      for (let cents = 0; cents < PLAIN; cents++) await bus.publish(Price, { symbol: "ACME", cents });
      await read;
    });
  });
  return row("in memory, plain: published, checked, delivered, acknowledged; to a queue", "messages/s", all, {
    atLeast: 0.3,
  });
}

const authority = await createAuthority("example.org");
const trust = await createTrust({ "example.org": authority.bundle() });

async function party(name: string) {
  const [id, key] = [`spiffe://example.org/${name}`, await generateKey()];
  return importIdentity(key, await authority.issue(key.jwk, { id }));
}

const [exchange, desk] = [await party("exchange"), await party("desk")];
const rules = policy([
  allow({ caller: exchange.id, publish: "prices.v1.*" }),
  allow({ caller: desk.id, subscribe: "prices.v1.*" }),
]);

/** Signatures and verifications side by side, as far as the runtime makes them so. */
async function signaturesOnly(count: number): Promise<number> {
  const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]) as CryptoKeyPair;
  const bytes = new Uint8Array(500);
  return await rate(count, async () => {
    let left = count;
    const worker = async () => {
      while (left-- > 0) {
        const signature = await crypto.subtle.sign("Ed25519", pair.privateKey, bytes);
        await crypto.subtle.verify("Ed25519", pair.publicKey, signature, bytes);
      }
    };
    await Promise.all(Array.from({ length: 32 }, worker));
  });
}

async function signedRow(rounds: number, contract: typeof Price): Promise<Row> {
  const all = await compare(rounds, async (isOurs) => {
    if (!isOurs) return await signaturesOnly(SIGNED);
    await using broker = memoryBroker();
    await using publisher = createPubSub(broker, { identity: exchange, trust, policy: rules });
    await using subscriber = createPubSub(broker, { identity: desk, trust, policy: rules });
    await using prices = await subscriber.subscribe(contract, { maxInFlight: 4_096 });
    if (contract.encrypted) {
      await publisher.publish(contract, { symbol: "ACME", cents: 0 }); // the keys are there afterwards
      await reading(
        { [Symbol.asyncIterator]: () => ({ next: () => prices[Symbol.asyncIterator]().next() }) },
        1,
        ({ ack }) => ack(),
      );
    }
    return await rate(SIGNED, async () => {
      const read = reading(prices, SIGNED, ({ ack }) => ack());
      let left = SIGNED;
      const worker = async () => {
        while (left-- > 0) await publisher.publish(contract, { symbol: "ACME", cents: left });
      };
      await Promise.all(Array.from({ length: 32 }, worker));
      await read;
    });
  });
  const what = contract.encrypted ? "signed, guarded, encrypted" : "signed and guarded";
  const budget = contract.encrypted ? "none" : { atLeast: 0.5 };
  return row(`in memory, ${what}; to a signature and a verification each`, "messages/s", all, budget);
}

/** All rows of the broker. */
export async function brokerRows(rounds: number): Promise<Row[]> {
  return [
    await plainRow(rounds),
    await signedRow(rounds, Price),
    await signedRow(rounds, Secret),
    ...await natsRows(rounds),
  ];
}

if (import.meta.main) {
  const rounds = Number(Deno.args.find((arg) => arg.startsWith("--rounds="))?.slice(9) ?? 5);
  console.log(
    `${Deno.build.os} ${Deno.build.arch}, Deno ${Deno.version.deno}, ${rounds} rounds\n\n${
      table(await brokerRows(rounds))
    }`,
  );
}
