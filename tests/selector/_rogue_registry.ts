// A registry of which a tenth is lies: what others signed, what nobody signed, what has ended, and what is older than it says.
import { createAuthority, generateKey, type Identity, importIdentity, signJws } from "../../src/auth/mod.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import {
  type InstanceDescription,
  readRecord,
  type RecordTerms,
  type Registry,
  signRecord,
} from "../../src/registry/mod.ts";
import { RECORD_TYPE } from "../../src/registry/record.ts";
import { DOMAIN, ORDERS, type SimulatedInstance, type SimulatedMesh } from "./_simulated_mesh.ts";
import type { Simulation } from "./_virtual_time.ts";

/** A registry that lies. */
export interface RogueRegistry {
  /** Puts the lies among what the registry gives. */
  over(registry: Registry): Registry;
  /** Makes lies, of each kind about as many and one at least. */
  forge(mesh: SimulatedMesh, count: number): Promise<void>;
  /** Keeps some of the records that are true now, to give them again for ever, and one that was over before. */
  remember(mesh: SimulatedMesh): Promise<void>;
}

export function rogueRegistry({ chance }: Simulation): RogueRegistry {
  const lies: string[] = [];
  let moved: string | undefined;
  /** Among the others, not behind them: the order is the registry's too. */
  const mixed = (records: readonly string[]) => {
    const all = [...records];
    for (const lie of lies) all.splice(chance.below(all.length + 1), 0, lie);
    return all;
  };
  return {
    over: (registry) => ({
      ...registry,
      resolve: async (service, options) => mixed(await registry.resolve(service, options)),
      async *watch(service, options) {
        for await (const records of registry.watch(service, options)) yield mixed(records);
      },
    }),
    async forge(mesh, count) {
      for (let i = 0; i < Math.max(count, KINDS.length); i++) {
        const lie = KINDS[i % KINDS.length]!;
        lies.push(await lie(mesh, `https://rogue-${i}.${DOMAIN}`, `rogue-${i}`));
      }
      // An instance that has moved; where it was, somebody else may listen by now.
      const [{ endpoint }] = chance.some([...mesh.instances], 1) as [SimulatedInstance];
      const identity = honest(mesh);
      const record = (from: string, sequence: number) =>
        recordOf(identity, { endpoints: [from], instance: "moved" }, { sequence, lifetimeMs: 300_000 });
      lies.push(await record(endpoint, 2));
      moved = await record(`https://rogue-moved.${DOMAIN}`, 1);
    },
    async remember({ store, instances }) {
      if (moved) lies.push(moved); // all clients have read the newer one by now
      moved = undefined;
      lies.push(...chance.some(await store.resolve(ORDERS), Math.ceil(instances.size / 50)));
    },
  };
}

/** Makes a record that leads to a rogue's endpoint, and that nobody may take. */
type Kind = (mesh: SimulatedMesh, endpoint: string, instance: string) => Promise<string>;

const KINDS: readonly Kind[] = [
  // Somebody else's record, another endpoint written into it.
  async ({ store, simulation }, endpoint) => {
    const [header, payload, signature] = simulation.chance.pick(await store.resolve(ORDERS)).split(".");
    const text = new TextDecoder().decode(fromBase64(payload!)!);
    const changed = text.replace(/"endpoints":\["[^"]*"\]/, `"endpoints":["${endpoint}"]`).replace(
      /"seq":\d+/,
      `"seq":999`,
    );
    return `${header}.${toBase64Url(new TextEncoder().encode(changed))}.${signature}`;
  },
  // Somebody else's identity token, without the key.
  async (mesh, endpoint, instance) => {
    const { sign } = await generateKey();
    return await recordOf({ ...honest(mesh), sign }, { endpoints: [endpoint], instance });
  },
  // The same, in the name of an instance that is there, as its newer record.
  async (mesh, endpoint) => {
    const { sign } = await generateKey();
    const { identity, name } = mesh.simulation.chance.pick([...mesh.instances]);
    return await recordOf({ ...identity, sign }, { endpoints: [endpoint], instance: name }, { sequence: 999 });
  },
  // An authority of the same name that nobody trusts.
  async (_, endpoint, instance) => {
    const authority = await createAuthority(DOMAIN);
    const key = await generateKey();
    const token = await authority.issue(key.jwk, { id: `spiffe://${DOMAIN}/orders-1`, serves: [ORDERS] });
    return await recordOf(importIdentity(key, token), { endpoints: [endpoint], instance });
  },
  // An identity of the domain that may not serve this.
  async ({ clients }, endpoint, instance) => await recordOf(clients[0]!.identity, { endpoints: [endpoint], instance }),
  // A lease that is over.
  async (mesh, endpoint, instance) => {
    const nowMs = mesh.simulation.now() - 120_000;
    return await recordOf(honest(mesh), { endpoints: [endpoint], instance }, { nowMs });
  },
  // One that is to begin later.
  async (mesh, endpoint, instance) => {
    const nowMs = mesh.simulation.now() + 86_400_000;
    return await recordOf(honest(mesh), { endpoints: [endpoint], instance }, { nowMs });
  },
  // A lease without an end, which nobody here would sign.
  async (mesh, endpoint, instance) => {
    const { sign, ...identity } = honest(mesh);
    const { claims } = readRecord(await recordOf({ ...identity, sign }, { endpoints: [endpoint], instance }));
    return await signJws(RECORD_TYPE, { ...claims, exp: claims.iat + 86_400 }, { sign });
  },
  // A way out of the domain.
  async (mesh, _, instance) => await recordOf(honest(mesh), { endpoints: [`https://${instance}.evil.test`], instance }),
  // Another environment.
  async (mesh, endpoint, instance) =>
    await recordOf(honest(mesh), { endpoints: [endpoint], instance, namespace: "staging" }),
];

const honest = ({ instances, simulation }: SimulatedMesh): Identity => simulation.chance.pick([...instances]).identity;

const recordOf = (
  identity: Identity,
  description: Omit<InstanceDescription, "services">,
  terms: Partial<RecordTerms> = {},
) =>
  signRecord(identity, { services: { [ORDERS]: "" }, ...description }, { sequence: 1, lifetimeMs: 60_000, ...terms });
