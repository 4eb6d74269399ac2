// One size of a registry, measured: records made by the real signer, served by the real service, read by the real readers.
import type { Call } from "@postern/rpc/rpc";
import { anonymous, createServer, fetchTransport, rpc, service } from "@postern/rpc";
import {
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  type Trust,
} from "@postern/rpc/auth";
import {
  cachedRegistry,
  memoryRegistry,
  readRecord,
  type Registry,
  registryService,
  remoteRegistry,
  signRecord,
  verifiedRegistry,
} from "@postern/rpc/registry";
import { leastLoaded, random, rendezvous, roundRobin, type Selector } from "@postern/rpc/selector";
import process from "node:process";
import * as v from "valibot";
import { createFleet } from "../../src/selector/fleet.ts";
import { median } from "./measure.ts";

/** What one size costs, by the names of the table's rows. */
export interface Growth {
  readonly instances: number;
  readonly figures: Readonly<Record<string, number>>;
}

const ROUNDS = 5;
const DOMAIN = "example.org";
const ORDERS = "orders.v1";
const Numbered = v.strictObject({ number: v.number() });
const Orders = service(ORDERS, { place: rpc(Numbered, v.object({})) });

/** Measures a registry with so many instances of one service. */
export async function measureGrowth(instances: number): Promise<Growth> {
  const authority = await createAuthority(DOMAIN);
  const trust = await createTrust({ [DOMAIN]: authority.bundle() });
  const identities = await Promise.all(Array.from({ length: IDENTITIES }, async (_, i) => {
    const key = await generateKey();
    const token = await authority.issue(key.jwk, { id: `spiffe://${DOMAIN}/orders-${i}`, serves: [ORDERS] });
    return importIdentity(key, token);
  }));
  const world: World = { instances, trust, identities };
  await warmUp({ instances: 10, trust, identities });
  const before = await heap();
  const store = memoryRegistry();
  for (let i = 0; i < instances; i++) await store.register(await recordOf(world, i, 1));
  const registryBytes = await heap() - before;
  await using served = serve(world, store);
  const first = await wholeRead(served, world);
  const figures: Record<string, number> = {
    "a record (bytes)": (await store.resolve(ORDERS))[0]!.length,
    "reading all of it (bytes)": first.bytes,
    "reading all of it, for each instance (bytes)": first.bytes / instances,
    "reading all of it (ms)": first.ms,
    ...await changing(served, world, store),
    ...await verifying(world, store),
    ...await incremental(world, store),
    ...await selecting(world, store),
    "memory of the registry, for each instance (bytes)": registryBytes / instances,
    "memory of its feed, for each instance (bytes)": first.feedBytes / instances,
    "memory of a client, for each instance (bytes)": first.clientBytes / instances,
  };
  return { instances, figures };
}

interface World {
  readonly instances: number;
  readonly trust: Trust;
  readonly identities: readonly Identity[];
}

/** Makes the runtime load and compile what it keeps, so that no instance is charged for it. */
async function warmUp(world: World): Promise<void> {
  const store = memoryRegistry();
  for (let i = 0; i < world.instances; i++) await store.register(await recordOf(world, i, 1));
  await using served = serve(world, store);
  for (let i = 0; i < 20; i++) await wholeRead(served, world);
}

/** How many identities the instances have. */
const IDENTITIES = 8;

const recordOf = ({ identities }: World, at: number, sequence: number) =>
  signRecord(identities[at % IDENTITIES]!, {
    services: { [ORDERS]: "" },
    endpoints: [`https://i${at}.${DOMAIN}`],
    instance: `i${at}`,
    region: "eu-west",
    version: "1.2.3",
  }, { sequence, lifetimeMs: 300_000 });

interface Served extends AsyncDisposable {
  /** The registry as a client has it that has read nothing yet. */
  connect(): Registry;
  /** How many bytes went there and back, of bodies. */
  readonly bytes: () => number;
}

/** The registry's own service; what proves who calls is left out, as it costs the same with every registry. */
function serve({ trust }: World, store: Registry): Served {
  const caller = { id: `spiffe://${DOMAIN}/web`, roles: [], attributes: {} };
  const implementation = registryService(store, { trust, maxInstancesPerIdentity: 100_000 });
  const server = createServer(implementation, { guard: { start() {}, admit: () => ({ caller }) }, log: () => {} });
  let bytes = 0;
  const fetch = async (url: string, init: RequestInit) => {
    const response = await server.fetch(new Request(url, init));
    const body = new Uint8Array(await response.arrayBuffer());
    bytes += body.length +
      (typeof init.body === "string" ? init.body : new Uint8Array(init.body as never ?? [])).length;
    const { status, headers } = response;
    return new Response(body, { status, headers });
  };
  return {
    connect: () => remoteRegistry(fetchTransport("https://registry.example.org", { prover: anonymous(), fetch })),
    bytes: () => bytes,
    async [Symbol.asyncDispose]() {
      implementation[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A client that starts: everything is read and verified. */
async function wholeRead(served: Served, { trust }: World) {
  const beforeFeed = await heap();
  await (async () => void await served.connect().resolve(ORDERS))();
  const feedBytes = await heap() - beforeFeed;
  const before = { bytes: served.bytes(), heap: await heap() };
  const client = cachedRegistry(verifiedRegistry(served.connect(), { trust }), { refreshMs: 30_000 });
  await client.instances(ORDERS);
  const bytes = served.bytes() - before.bytes;
  const clientBytes = await heap() - before.heap;
  const times = await rounds(async () => await served.connect().resolve(ORDERS));
  await client.instances(ORDERS); // it is held until here
  return { bytes, feedBytes, clientBytes, ms: median(times) };
}

/** One client that follows: what one change costs on its way from the store to verified instances. */
async function changing(served: Served, world: World, store: Registry): Promise<Record<string, number>> {
  const ending = new AbortController();
  const records = await Promise.all(
    Array.from({ length: CHANGES }, (_, i) => recordOf(world, i % world.instances, 10 + i)),
  );
  const verified = verifiedRegistry(served.connect(), { trust: world.trust });
  const watch = verified.watch(ORDERS, { signal: ending.signal })[Symbol.asyncIterator]();
  await watch.next();
  const bytes = served.bytes();
  const all: { readonly cpuUs: number; readonly ms: number }[] = [];
  for (const record of records) {
    const next = watch.next();
    await new Promise((resolve) => setTimeout(resolve, 5)); // it waits at the registry, as it does most of the time
    const [startUs, startMs] = [cpuUs(), performance.now()];
    await store.register(record);
    await next;
    all.push({ cpuUs: cpuUs() - startUs, ms: performance.now() - startMs });
  }
  ending.abort();
  await watch.return?.();
  return {
    "a change, for one that follows (bytes)": (served.bytes() - bytes) / CHANGES,
    "a change, at the registry and the client (us of processor)": median(all.map(({ cpuUs }) => cpuUs)),
    "a change, until the client knows (ms)": median(all.map(({ ms }) => ms)),
  };
}

const CHANGES = 20;

/** Verifying everything for the first time, beside one operation of the runtime's own. */
async function verifying({ trust, instances, identities }: World, store: Registry): Promise<Record<string, number>> {
  const records = await store.resolve(ORDERS);
  const some = records.slice(0, 500);
  const key = await crypto.subtle.importKey("raw", identities[0]!.publicKey, "Ed25519", true, ["verify"]);
  const bytes = new TextEncoder().encode(records[0]!.slice(0, records[0]!.lastIndexOf(".")));
  const signature = await identities[0]!.sign(bytes);
  const alone = async () => {
    for (let i = 0; i < some.length; i++) await crypto.subtle.verify("Ed25519", key, signature, bytes);
  };
  const ours = async () => {
    const verified = verifiedRegistry(store, { trust });
    for (const record of some) await verified.verify(record);
  };
  const aloneMs: number[] = [];
  const oursMs: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const times = [await timed(alone), await timed(ours)] as const;
    if (round === 0) continue; // it does not count
    aloneMs.push(times[0]);
    oursMs.push(times[1]);
  }
  const allMs = await rounds(async () => await verifiedRegistry(store, { trust }).resolve(ORDERS));
  const perRecordUs = 1_000 / some.length;
  return {
    "one Ed25519 verification (us)": median(aloneMs) * perRecordUs,
    "verifying a record (us)": median(oursMs) * perRecordUs,
    "verifying a record, to one Ed25519 verification (ratio)": median(oursMs.map((each, i) => each / aloneMs[i]!)),
    "reading a record without its signature (us)": readingUs(some),
    "verifying all of them, 32 at once (ms)": median(allMs),
    "the same, for each instance (us)": median(allMs) / instances * 1_000,
  };
}

/** The part of a record's verification that is no cryptography and no policy. */
function readingUs(records: readonly string[]): number {
  const times: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    for (const record of records) readRecord(record);
    if (round > 0) times.push((performance.now() - start) / records.length * 1_000);
  }
  return median(times);
}

/** A verified view that reads again after one record changed, and after none did. */
async function incremental(world: World, store: Registry): Promise<Record<string, number>> {
  let records = [...await store.resolve(ORDERS)];
  const array: Registry = { ...store, resolve: () => Promise.resolve(records) };
  const verified = verifiedRegistry(array, { trust: world.trust });
  await verified.resolve(ORDERS);
  const changed: number[] = [];
  const unchanged: number[] = [];
  for (let i = 0; i < 2 * ROUNDS; i++) {
    const record = await recordOf(world, 0, 1_000 + i);
    records = [...records];
    records[records.findIndex((each) => readRecord(each).claims.jti === "i0")] = record;
    changed.push(await timed(() => verified.resolve(ORDERS)));
    unchanged.push(await timed(() => verified.resolve(ORDERS)));
  }
  return {
    "reading again after one change, at the client (us)": median(changed) * 1_000,
    "reading again after no change, at the client (us)": median(unchanged) * 1_000,
  };
}

/** What each call costs, and the first call after a change. */
async function selecting({ trust, instances }: World, store: Registry): Promise<Record<string, number>> {
  const cached = cachedRegistry(verifiedRegistry(store, { trust }), { refreshMs: 30_000 });
  await cached.instances(ORDERS);
  const found = () => cached.instances(ORDERS) as Exclude<ReturnType<typeof cached.instances>, Promise<unknown>>;
  const figures: Record<string, number> = { "resolve alone, remembered (us)": perCallUs(() => void found()) };
  const method = Orders.methods.place;
  const calls: readonly Call[] = Array.from({ length: 64 }, (_, number) => ({
    method: method as never,
    message: { number },
    timeoutMs: 1_000,
  }));
  const tried: ReadonlySet<never> = new Set<never>();
  const selectors: Record<string, () => Selector> = {
    leastLoaded,
    random,
    roundRobin,
    rendezvous: () => rendezvous(({ message }) => `${(message as { readonly number: number }).number}`),
  };
  for (const [name, selector] of Object.entries(selectors)) {
    const fleet = createFleet({
      selector: selector(),
      accepts: () => true,
      connect: () => () => Promise.reject(new Error("Nobody is called here")),
      panicShare: 0.5,
      now: () => performance.now(),
    });
    let at = 0;
    const select = () => {
      fleet.update(found());
      fleet.probe(false);
      fleet.choose(calls[at = (at + 1) % calls.length]!, tried);
    };
    figures[`resolve and select, ${name} (us)`] = perCallUs(select);
    const list = found();
    const again: number[] = [];
    for (let i = 0; i < 4 * ROUNDS; i++) {
      const changed = [...list]; // as after a change: another list, of the same instances but for one
      changed[i % instances] = { ...changed[i % instances]! };
      const start = performance.now();
      fleet.update(changed);
      fleet.choose(calls[0]!, tried);
      again.push((performance.now() - start) * 1_000);
    }
    figures[`the first select after a change, ${name} (us)`] = median(again);
  }
  return figures;
}

/** The time of one call of what is too short to be timed alone, in microseconds. */
function perCallUs(run: () => void): number {
  const times: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    let count = 0;
    for (; performance.now() < start + 100; count += 500) {
      for (let i = 0; i < 500; i++) run();
    }
    if (round > 0) times.push((performance.now() - start) / count * 1_000);
  }
  return median(times);
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** Times in milliseconds, after a round that does not count. */
async function rounds(run: () => Promise<unknown>): Promise<number[]> {
  await run();
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) times.push(await timed(run));
  return times;
}

/** The processor time that this process has used, in microseconds. */
function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** What is in use of the heap, in bytes, when all garbage is gone. */
async function heap(): Promise<number> {
  const { gc } = globalThis as { readonly gc?: () => void };
  if (!gc) throw new Error("Cannot measure memory: start with --v8-flags=--expose-gc");
  await new Promise((resolve) => setTimeout(resolve, 50)); // what has just ended may be held until the next turn
  for (let i = 0; i < 3; i++) gc();
  return Deno.memoryUsage().heapUsed;
}
