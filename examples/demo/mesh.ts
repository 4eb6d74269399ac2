import { createClient, createServer, fetchTransport, implement } from "@postern/rpc";
import { allow, type Identity, policy, protect } from "@postern/rpc/auth";
import { createFetch, serve, type Serving } from "@postern/rpc/deno";
import { type Registry, RegistryError, signRecord } from "@postern/rpc/registry";
import type { AuditEvent } from "@postern/rpc/rpc";
import { balancedTransport } from "@postern/rpc/selector";
import { devCa } from "../../tools/dev_ca.ts";
import { join, trust } from "../02_identity/authority.ts";
import { SHOP, Stock } from "../04_mesh/contract.ts";
import { startInstance } from "../04_mesh/instance.ts";
import { endpoints, type RunningRegistry, startRegistry } from "../04_mesh/registry.ts";
import { type Scene, tellStory } from "../04_mesh/story.ts";

/** A registry as a service, and what may happen around it. */
export interface Mesh extends AsyncDisposable {
  /** Three instances, one killed, one rolled; throws when a call was lost. */
  roll(): Promise<void>;
  /** Somebody with an identity of its own registers for a service that it may not serve; gives the refusal. */
  registerRogue(): Promise<RegistryError>;
  /** The registry gives the rogue's record, a redirected one and an old one beside the honest one; gives who was called. */
  lie(): Promise<Lies>;
}

/** What came of a registry's lies. */
export interface Lies {
  readonly calls: number;
  readonly rogueCalls: number;
  /** Why records were refused. */
  readonly reasons: readonly string[];
}

export async function startMesh(show: Scene["show"]): Promise<Mesh> {
  await using started = new AsyncDisposableStack();
  const { ca, cert, key } = await devCa();
  const fetch = started.use(createFetch({ caCerts: [ca] }));
  const registry = started.use(await startRegistry({ cert, key, fetch, log: () => {} }));
  const scene = { reach: registry.reach, cert, key, fetch, show };
  const rogue = started.use(await startRogue(scene));
  const all = started.move();
  return {
    roll: () => tellStory(scene),
    registerRogue: async () => {
      try {
        await registry.reach(rogue.identity).register(await rogue.record());
      } catch (error) {
        if (error instanceof RegistryError) return error;
        throw error;
      }
      throw new Error("The rogue was registered");
    },
    lie: () => lie(scene, registry, rogue),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

interface Rogue extends AsyncDisposable {
  readonly identity: Identity;
  readonly serving: Serving;
  /** A record of its own that names the service of others. */
  record(): Promise<string>;
  readonly calls: () => number;
}

/** A workload of the domain that would like to be called in place of stock. */
async function startRogue({ cert, key }: Scene): Promise<Rogue> {
  const identity = await join("spiffe://example.org/other", ["stock.v2"]);
  const impostor = await join("spiffe://example.org/stock", ["stock.v1"]); // so that its server starts at all
  let calls = 0;
  const take = () => {
    calls++;
    return { left: 0, by: "the rogue" };
  };
  const server = createServer(implement(Stock, { count: take, take }), {
    guard: protect({ identity: impostor, trust, policy: policy([allow({ caller: SHOP, call: "stock.v1/*" })]) }),
  });
  const serving = await serve(server, { cert, key, port: 0 });
  const description = { services: { "stock.v1": "" }, endpoints: [serving.url] };
  return {
    identity,
    serving,
    record: () => signRecord(identity, description, { sequence: 1, lifetimeMs: 60_000 }),
    calls: () => calls,
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
    },
  };
}

async function lie(scene: Scene, registry: RunningRegistry, rogue: Rogue): Promise<Lies> {
  await using _honest = await startInstance({ ...scene, name: "honest", version: "1.0.0", registry: registry.reach });
  const identity = await join(SHOP);
  const events: AuditEvent[] = [];
  const transport = balancedTransport(lying(registry.reach(identity), rogue), {
    identity,
    trust,
    endpoints,
    audit: { record: (event) => void events.push(event) },
    connect: (url, prover) => fetchTransport(url, { prover, fetch: scene.fetch }),
  });
  const stock = createClient(Stock, transport);
  for (let i = 0; i < 50; i++) await stock.count({ item: "kettle" });
  return { calls: 50, rogueCalls: rogue.calls(), reasons: events.map(({ reason }) => reason!) };
}

/** A registry that was taken over: it knows every honest record, and gives others too. */
function lying(registry: Registry, rogue: Rogue): Registry {
  return {
    ...registry,
    async resolve(service, options) {
      const honest = await registry.resolve(service, options);
      const { port } = new URL(rogue.serving.url);
      return [await rogue.record(), ...honest.map((record) => redirected(record, port)), ...honest];
    },
  };
}

/** The honest record with the rogue's port in it. */
function redirected(record: string, port: string): string {
  const [head, claims, signature] = record.split(".");
  const text = atob(claims!.replaceAll("-", "+").replaceAll("_", "/")).replace(/localhost:\d+/, `localhost:${port}`);
  return [head, btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""), signature].join(".");
}
