// What the tests of cached registries share: a verified registry that does what a test says.
import {
  cachedRegistry,
  type CachedRegistryOptions,
  type Instance,
  RegistryError,
  type VerifiedRegistry,
} from "../../src/registry/mod.ts";
import { clock, ORDERS, SERVICE } from "./_rig.ts";

export const unreachable = () => new RegistryError("unreachable", "Cannot reach it");

export const ids = (instances: readonly Instance[]) => instances.map(({ id }) => id);

/** A verified registry that does what a test says, and a cache in front of it. */
export function stage(options: CachedRegistryOptions = {}) {
  const now = clock();
  const instance = (id: string, lifetimeMs = 60_000): Instance => ({
    name: `${ORDERS}#${id}`,
    identity: ORDERS,
    id,
    services: { [SERVICE]: "" },
    endpoints: [],
    audience: ORDERS,
    version: "0.0.0",
    toolkit: "t",
    region: undefined,
    weight: 100,
    draining: false,
    encryptionKey: undefined,
    signer: undefined,
    sequence: 1,
    expiresAtMs: now() + lifetimeMs,
  });
  const asked: { readonly service: string; readonly signal: AbortSignal | undefined }[] = [];
  const watched: AbortSignal[] = [];
  const script = {
    revision: 0,
    stillHolding: (instances: readonly Instance[]): Promise<readonly Instance[]> => Promise.resolve(instances),
    resolve: (): Promise<readonly Instance[]> => Promise.resolve([]),
    // deno-lint-ignore require-yield
    watch: async function* (_: AbortSignal): AsyncGenerator<readonly Instance[]> {
      throw unreachable();
    },
  };
  const registry: VerifiedRegistry = {
    get revision() {
      return script.revision;
    },
    refusals: () => new Map(),
    stillHolding: (instances) => script.stillHolding(instances),
    verify: () => Promise.reject(unreachable()),
    resolve(service, { signal } = {}) {
      asked.push({ service, signal });
      return script.resolve();
    },
    watch(_, { signal } = {}) {
      watched.push(signal!);
      return script.watch(signal!);
    },
  };
  return { now, instance, asked, watched, script, cache: cachedRegistry(registry, { now, ...options }) };
}

/** Lets everything go on that needs no time. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((done) => setTimeout(done, 0));
}

export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await settled();
}
