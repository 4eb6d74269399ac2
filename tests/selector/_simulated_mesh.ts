// A mesh in one process: real records, real readers and real balancing on a simulated network, clock and cryptography.
import {
  type Authority,
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  type Trust,
} from "../../src/auth/mod.ts";
import { announce, type Announcement, memoryRegistry, type Registry } from "../../src/registry/mod.ts";
import { type Client, createClient, rpc, RpcError, type Service, service } from "../../src/rpc/mod.ts";
import {
  type BalancedTransport,
  balancedTransport,
  leastLoaded,
  random,
  rendezvous,
  roundRobin,
  type Selector,
} from "../../src/selector/mod.ts";
import * as v from "valibot";
import { type Listener, type Machine, type Network, simulatedNetwork } from "./_simulated_network.ts";
import type { Simulation } from "./_virtual_time.ts";

export const DOMAIN = "example.org";
export const ORDERS = "orders.v1";

const Numbered = v.strictObject({ number: v.number() });
const At = v.object({ at: v.string() });
/** `place` is neither safe nor idempotent: a call that may have been made is never made again. */
const Orders = service(ORDERS, { place: rpc(Numbered, At), look: rpc(Numbered, At, { safe: true }) });

/** How large a mesh is, and what differs from the usual. */
export interface MeshOptions {
  readonly instances: number;
  readonly clients: number;
  /** How far the clocks of clients and of instances may be off the true time, in milliseconds. @default {0} */
  readonly clientSkewMs?: number;
  readonly instanceSkewMs?: number;
  /** In milliseconds. @default {60_000} */
  readonly leaseMs?: number;
  /** In milliseconds. @default {that of `announce`} */
  readonly settleMs?: number;
  /** After how long a client reads again, in milliseconds. @default {that of `cachedRegistry`} */
  readonly refreshMs?: number;
  /** How long a client waits between two calls, at least and at most, in milliseconds. @default {often for most of them, seldom for some} */
  readonly paceMs?: readonly [number, number];
  /** Whether the instances of one identity share its key, so that there are fewer tokens to verify. @default {false} */
  readonly sharedKeys?: boolean;
  /** After how long some clients make a safe call a second time, in milliseconds. @default {200} */
  readonly hedgeAfterMs?: number;
  /** How long an instance takes for a call at most, in milliseconds. @default {60} */
  readonly workMs?: number;
  /** What stands between the records that were registered and everybody who reads them. @default {nothing} */
  readonly reading?: (registry: Registry) => Registry;
  /** Serves the store to machines. @default {they read and write it as it is} */
  readonly serving?: (store: Registry, trust: Trust) => (machine: Machine) => Registry;
}

/** A server that was started. */
export interface SimulatedInstance extends Machine {
  readonly endpoint: string;
  readonly listener: Listener;
  readonly announcement: Announcement;
}

/** A program that calls. */
export interface SimulatedClient extends Machine {
  readonly orders: Client<typeof Orders extends Service<infer Methods> ? Methods : never>;
  readonly transport: BalancedTransport;
}

/** A call that failed. */
export interface Lost {
  readonly client: string;
  readonly number: number;
  readonly method: string;
  /** When it began and ended, in milliseconds of the true time. */
  readonly beganAtMs: number;
  readonly endedAtMs: number;
  readonly code: string;
  readonly message: string;
}

/** A mesh that runs. */
export interface SimulatedMesh {
  readonly simulation: Simulation;
  readonly network: Network;
  readonly authority: Authority;
  /** Where records are kept. */
  readonly store: Registry;
  readonly instances: Set<SimulatedInstance>;
  readonly clients: readonly SimulatedClient[];
  readonly lost: Lost[];
  /** Which share of the calls that began within a time took longer than half a second and were answered. */
  slowShare(fromMs: number, untilMs: number): number;
  /** How many calls were begun. */
  readonly calls: () => number;
  /** Starts one more instance. */
  launch(): Promise<SimulatedInstance>;
  /** Ends one as a deploy does: it says so, waits, and stops when it has answered what it was asked. */
  drain(instance: SimulatedInstance): Promise<void>;
  /** Ends one as a power cut does. */
  crash(instance: SimulatedInstance, state: "refusing" | "silent"): void;
  /** Lets all clients call, until `stop`. */
  start(): void;
  /** Lets nobody begin another call, and waits until those that were begun are over. */
  stop(): Promise<void>;
}

/** Starts the instances and the clients; nobody calls yet. */
export async function simulatedMesh(simulation: Simulation, options: MeshOptions): Promise<SimulatedMesh> {
  const { chance, now, sleep } = simulation;
  const network = simulatedNetwork(simulation, options.workMs ?? 60);
  const authority = await createAuthority(DOMAIN);
  const store = network.witness(memoryRegistry());
  const { reading = (registry) => registry, serving } = options;
  const trustAt = (now: () => number) => createTrust({ [DOMAIN]: authority.bundle() }, { now });
  const wayOf = serving?.(store, await trustAt(now)) ?? (() => reading(store));
  const instances = new Set<SimulatedInstance>();
  const lost: Lost[] = [];
  const answered: { readonly beganAtMs: number; readonly tookMs: number }[] = [];
  const clockOf = (skewMs = 0) => {
    const offMs = skewMs === 0 ? 0 : chance.between(-skewMs, skewMs);
    return () => now() + offMs;
  };
  const join = joining(authority, options.sharedKeys === true);
  let launched = 0;
  let calls = 0;
  let isRunning = false;
  let underWay = 0;

  const launch = async () => {
    const name = `i${++launched}`;
    const endpoint = `https://${name}.${DOMAIN}`;
    const identity = await join(`spiffe://${DOMAIN}/orders-${launched % 10}`, [ORDERS]);
    const machine: Machine = { name, now: clockOf(options.instanceSkewMs), identity, cut: undefined };
    const listener: Listener = { state: "serving", publishedUntilMs: undefined, inFlight: 0 };
    network.listeners.set(endpoint, listener);
    const announcement = await announce({ services: [Orders], draining: false }, {
      registry: deadAfter(listener, network.link(machine, wayOf(machine))),
      identity,
      endpoints: [endpoint],
      instance: name,
      leaseMs: options.leaseMs ?? 60_000,
      ...options.settleMs === undefined ? {} : { settleMs: options.settleMs },
      now: machine.now,
      onError: () => {},
    });
    const instance = Object.assign(machine, { endpoint, listener, announcement });
    instances.add(instance);
    return instance;
  };
  const enroll = async (at: number): Promise<SimulatedClient> => {
    const identity = await join(`spiffe://${DOMAIN}/web-${at % 10}`, []);
    const machine: Machine = { name: `c${at}`, now: clockOf(options.clientSkewMs), identity, cut: undefined };
    const transport = balancedTransport(network.link(machine, wayOf(machine)), {
      identity,
      trust: await trustAt(machine.now),
      selector: selectorOf(at),
      now: machine.now,
      ...options.refreshMs === undefined ? {} : { refreshMs: options.refreshMs },
      ...at % 2 === 1 ? { hedgeAfterMs: options.hedgeAfterMs ?? 200 } : {},
      connect: (endpoint) => network.connect(machine, endpoint),
    });
    return Object.assign(machine, { transport, orders: createClient(Orders, transport, { timeoutMs: TIMEOUT_MS }) });
  };
  const call = async ({ name, orders }: SimulatedClient) => {
    const number = ++calls;
    const method = chance.happens(70) ? "place" : "look";
    const beganAtMs = now();
    underWay++;
    try {
      await orders[method]({ number });
      answered.push({ beganAtMs, tookMs: now() - beganAtMs });
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      const { code, message } = error;
      lost.push({ client: name, number, method, beganAtMs, endedAtMs: now(), code, message });
    } finally {
      underWay--;
    }
  };
  /** A third of the clients call seldom: what they know may be as old as it can get. */
  const keepCalling = async (client: SimulatedClient, at: number) => {
    const [least, most] = options.paceMs ?? (at % 3 === 2 ? SELDOM_MS : OFTEN_MS);
    while (isRunning) {
      await sleep(chance.between(least, most));
      if (isRunning) call(client).catch((error) => network.sightings.violations.push(`${client.name}: ${error}`));
    }
  };

  // Not all at the same time, or all would renew together ever after.
  const spreadMs = (options.leaseMs ?? 60_000) / 3;
  await Promise.all(Array.from({ length: options.instances }, async () => {
    await sleep(chance.between(1, spreadMs));
    await launch();
  }));
  const clients: SimulatedClient[] = [];
  for (let at = 0; at < options.clients; at++) clients.push(await enroll(at));
  return {
    simulation,
    network,
    authority,
    store,
    instances,
    clients,
    lost,
    slowShare(fromMs, untilMs) {
      const within = answered.filter(({ beganAtMs }) => beganAtMs >= fromMs && beganAtMs < untilMs);
      return within.filter(({ tookMs }) => tookMs > 500).length / within.length;
    },
    calls: () => calls,
    launch,
    async drain(instance) {
      instances.delete(instance);
      await instance.announcement[Symbol.asyncDispose]();
      instance.listener.state = "ended"; // what it is still answering it answers
    },
    crash(instance, state) {
      instances.delete(instance);
      instance.listener.state = state;
      void instance.announcement[Symbol.asyncDispose](); // its timers end with it, and nobody hears it
    },
    start() {
      isRunning = true;
      clients.forEach((client, at) => void keepCalling(client, at));
    },
    async stop() {
      isRunning = false;
      while (underWay > 0) await sleep(100);
    },
  };
}

/** Who has died registers nothing any more, and takes nothing out. */
function deadAfter(listener: Listener, registry: Registry): Registry {
  const isDead = () => listener.state === "refusing" || listener.state === "silent";
  const never = new Promise<never>(() => {});
  return {
    ...registry,
    register: async (record) => {
      if (isDead()) return await never;
      const lease = await registry.register(record);
      return { [Symbol.asyncDispose]: async () => isDead() ? await never : await lease[Symbol.asyncDispose]() };
    },
  };
}

/** Makes identities: each with a key of its own, or one for all instances of an identity. */
function joining(
  authority: Authority,
  isShared: boolean,
): (id: string, serves: readonly string[]) => Promise<Identity> {
  const known = new Map<string, Promise<Identity>>();
  const make = async (id: string, serves: readonly string[]) => {
    const key = await generateKey();
    return importIdentity(key, await authority.issue(key.jwk, { id, serves }));
  };
  return (id, serves) => {
    const identity = (isShared ? known.get(id) : undefined) ?? make(id, serves);
    known.set(id, identity);
    return identity;
  };
}

function selectorOf(at: number): Selector {
  const number = (message: unknown) => `${(message as { readonly number: number }).number}`;
  return [leastLoaded, random, roundRobin, () => rendezvous(({ message }) => number(message))][at % 4]!();
}

/** How long clients wait between two calls, in milliseconds. */
const OFTEN_MS = [100, 1_500] as const;
const SELDOM_MS = [1_000, 9_000] as const;
/** How long a call may take, in milliseconds. */
const TIMEOUT_MS = 4_000;
