// A mesh in one process: verified records, instances that do what a test says, and time that a test lets pass.
import type { Identity } from "../../src/auth/mod.ts";
import { type InstanceDescription, type Registry, RegistryError, signRecord } from "../../src/registry/mod.ts";
import {
  type Call,
  createClient,
  NotSentError,
  type Reply,
  type RpcCode,
  RpcError,
  type Service,
} from "../../src/rpc/mod.ts";
import { type BalancedTransport, balancedTransport, type BalancedTransportOptions } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { type World, world } from "../auth/_world.ts";
import { Shop } from "./_pool.ts";

export const SHOP = "spiffe://example.org/shop";
export const WEB = "spiffe://example.org/web";

/** What an instance does with a call. */
export type Behaviour = (call: Call) => Promise<Reply> | Reply;

/** A registry that a test breaks. */
export interface BrokenRegistry extends Registry {
  /** How often it was read. */
  readonly reads: number;
  /** What it does when it is read. */
  state: "well" | "failing" | "hanging";
}

export interface Mesh extends World {
  readonly web: Identity;
  readonly shop: Identity;
  readonly registry: BrokenRegistry;
  /** Where each attempt went, in order. */
  readonly attempts: string[];
  /** The calls that came with them. */
  readonly calls: Call[];
  /** Which endpoints transports were made to. */
  readonly connected: string[];
  /** What instances do that do not simply answer, by their ids. */
  readonly behaviours: Map<string, Behaviour>;
  /** Registers an instance, or renews its record. */
  add(id: string, about?: Partial<InstanceDescription> & { readonly identity?: Identity }): Promise<void>;
  /** Takes an instance out of the registry. */
  remove(id: string): void;
  transport(options?: Partial<BalancedTransportOptions>): BalancedTransport;
  client(options?: Partial<BalancedTransportOptions>): ShopClient;
  /** A client that has read the registry, so that its calls wait for nothing but instances. */
  ready(options?: Partial<BalancedTransportOptions>): Promise<ShopClient>;
}

export type ShopClient = ReturnType<typeof createClient<typeof Shop extends Service<infer Methods> ? Methods : never>>;

/** A mesh of some instances of one identity. */
export async function mesh(...ids: readonly string[]): Promise<Mesh> {
  const own = await world();
  const [web, shop] = [await own.join(WEB), await own.join(SHOP, { serves: ["shop.v1", "shop.v2"] })];
  const records = new Map<string, string>();
  const registry = brokenRegistry(records);
  const behaviours = new Map<string, Behaviour>();
  const [attempts, calls, connected]: [string[], Call[], string[]] = [[], [], []];
  let sequence = 0;
  let isWarming = false;
  const made: Mesh = {
    ...own,
    web,
    shop,
    registry,
    attempts,
    calls,
    connected,
    behaviours,
    async add(id, { identity = shop, ...about } = {}) {
      const services = { "shop.v1": "", "shop.v2": "" };
      const description = { services, endpoints: [`https://${id}.example.org`], instance: id, ...about };
      const terms = { sequence: ++sequence, lifetimeMs: 60_000, nowMs: own.now() };
      records.set(id, await signRecord(identity, description, terms));
    },
    remove: (id) => void records.delete(id),
    transport: (options) =>
      balancedTransport(registry, {
        identity: web,
        trust: own.trust,
        now: own.now,
        connect(endpoint, _prover, { id }) {
          connected.push(endpoint);
          return async (call) => {
            if (isWarming) return { message: call.message };
            attempts.push(id);
            calls.push(call);
            return await behaviours.get(id)?.(call) ?? { message: call.message };
          };
        },
        ...options,
      }),
    client: (options) => createClient(Shop, made.transport(options)),
    async ready(options) {
      const client = made.client(options);
      isWarming = true;
      await client.look({ item: "nothing" });
      isWarming = false;
      return client;
    },
  };
  for (const id of ids) await made.add(id);
  return made;
}

function brokenRegistry(records: ReadonlyMap<string, string>): BrokenRegistry {
  let reads = 0;
  const registry: BrokenRegistry = {
    properties: { encrypted: true, accessControlled: true },
    get reads() {
      return reads;
    },
    state: "well",
    register: () => Promise.reject(new RegistryError("read_only", "Cannot register here")),
    async resolve() {
      reads++;
      if (registry.state === "hanging") await new Promise(() => {});
      if (registry.state === "failing") throw new RegistryError("unreachable", "Cannot read the registry");
      return [...records.values()];
    },
    async *watch() {
      yield [...records.values()];
    },
    list: () => Promise.resolve(["shop.v1", "shop.v2"]),
  };
  return registry;
}

/** Fails a call as a server does. */
export const failing = (code: RpcCode, proven = true): Behaviour => () => {
  throw new RpcError(code, `It is ${code}`, { received: true, ...proven ? { correlationId: "c1" } : {} });
};

/** Fails a call of which no byte left. */
export const refusing: Behaviour = () => {
  throw new NotSentError("Cannot reach the server", { received: true });
};

/** Never answers, and gives up where it must: what a transport does whose server hangs. */
export const hanging: Behaviour = ({ signal, timeoutMs }) =>
  new Promise((_, reject) => {
    const end = (error: RpcError) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      reject(error);
    };
    const cancel = () => end(new RpcError("canceled", "The call was canceled", { received: true }));
    const timer = setTimeout(() => end(new RpcError("deadline_exceeded", "Too late", { received: true })), timeoutMs);
    signal?.addEventListener("abort", cancel);
    if (signal?.aborted) cancel();
  });

/** Answers after some time, and gives up where it must. */
export const after = (ms: number, then: Behaviour = ({ message }) => ({ message })): Behaviour => async (call) => {
  const error = await Promise.resolve(hanging({ ...call, timeoutMs: Math.min(ms, call.timeoutMs) })).then(
    () => undefined,
    (thrown: RpcError) => thrown,
  );
  if (ms <= call.timeoutMs && error?.code === "deadline_exceeded") return await then(call);
  throw error;
};

/** Time that stands still until a test lets it pass. */
export interface HeldTime extends Disposable {
  /** How many timers wait. */
  readonly timers: number;
  /** Lets everything go on that needs no time. */
  settle(): Promise<void>;
  /** Lets time pass, from one timer's moment to the next. */
  pass(ms: number): Promise<void>;
}

export function heldTime(): HeldTime {
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const now = performance.now;
  const timers = new Map<number, { readonly run: () => void; readonly atMs: number }>();
  let count = 2 ** 40;
  let nowMs = Math.ceil(performance.now());
  const settle = async () => {
    for (let i = 0; i < 3; i++) await new Promise((done) => set(done, 0));
  };
  Object.assign(globalThis, {
    setTimeout(run: () => void, ms = 0) {
      if (ms <= 0) return set(run, 0); // needs no time
      timers.set(++count, { run, atMs: nowMs + ms });
      return count;
    },
    clearTimeout: (id: number) => timers.delete(id) || clear(id),
  });
  performance.now = () => nowMs;
  return {
    get timers() {
      return timers.size;
    },
    settle,
    async pass(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        await settle();
        const nextMs = Math.min(...[...timers.values()].map(({ atMs }) => atMs));
        if (nextMs > endMs) break;
        nowMs = Math.max(nowMs, nextMs);
        for (const [id, { run, atMs }] of [...timers]) {
          if (atMs <= nextMs && timers.delete(id)) run();
        }
      }
      nowMs = endMs;
    },
    [Symbol.dispose]() {
      Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
      performance.now = now;
    },
  };
}

/** How a call ended. */
export interface Outcome {
  readonly value?: unknown;
  readonly error?: RpcError;
}

/** Watches a call without waiting for it. */
export function watching(
  promise: Promise<unknown>,
): { readonly outcome: Outcome | undefined; readonly pending: boolean } {
  let outcome: Outcome | undefined;
  promise.then((value) => outcome = { value }, (error) => outcome = { error });
  return {
    get outcome() {
      return outcome;
    },
    get pending() {
      return outcome === undefined;
    },
  };
}

/** Asserts that a call fails with a code, and gives the error. */
export async function failsWith(promise: Promise<unknown>, code: RpcCode): Promise<RpcError> {
  const error = await promise.then(() => assert.fail(`it did not fail with ${code}`), (thrown) => thrown);
  assert.ok(error instanceof RpcError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}
