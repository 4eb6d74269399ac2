// What happens to a mesh, and what must hold all the same; each scenario is one run of a simulation.
import assert from "node:assert/strict";
import { createTrust } from "../../src/auth/mod.ts";
import { cachedRegistry, registryService, remoteRegistry, verifiedRegistry } from "../../src/registry/mod.ts";
import { createServer, RpcError } from "../../src/rpc/mod.ts";
import { rogueRegistry } from "./_rogue_registry.ts";
import { DOMAIN, type MeshOptions, ORDERS, type SimulatedMesh, simulatedMesh } from "./_simulated_mesh.ts";
import type { Machine } from "./_simulated_network.ts";
import { simulate, type Simulation } from "./_virtual_time.ts";

/** How large a mesh is. */
export type Size = Pick<MeshOptions, "instances" | "clients">;

/** Instances start, end and die by chance; a lease after the last death nobody meets the dead any more. */
export function churn(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { now, sleep } = simulation;
    const mesh = await simulatedMesh(simulation, size);
    mesh.start();
    await churning(mesh, size, 90_000);
    const diedAtMs = now();
    await sleep(LEASE_MS);
    const met = mesh.network.sightings.metDead.size;
    await sleep(30_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
    const unexplained = mesh.lost.filter(({ number }) => !mesh.network.sightings.metDead.has(number));
    assert.deepEqual(unexplained, [], "calls were lost that met no instance that had died");
    assert.equal(mesh.network.sightings.metDead.size, met, "an instance was called a lease after it had died");
    assert.deepEqual(mesh.lost.filter(({ beganAtMs }) => beganAtMs > diedAtMs + LEASE_MS), []);
  });
}

/** Who is cut off from the registry, and how. */
export interface Partition {
  readonly clients: "all" | "some" | "none";
  readonly instances: "all" | "some" | "none";
  readonly cut: NonNullable<Machine["cut"]>;
  readonly lastsMs: number;
}

/** The registry is out of reach: clients go on until the records expire, and are well again a lease after it is back. */
export function partition(seed: number, size: Size, { cut, lastsMs, ...who }: Partition): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { chance, now, sleep } = simulation;
    const mesh = await simulatedMesh(simulation, size);
    mesh.start();
    await sleep(30_000);
    const part = <Item>(items: Iterable<Item>, which: Partition["clients"]) => {
      const all = [...items];
      return which === "all" ? all : which === "some" ? chance.some(all, Math.ceil(all.length / 2)) : [];
    };
    const machines: readonly Machine[] = [...part(mesh.clients, who.clients), ...part(mesh.instances, who.instances)];
    const cutAtMs = now();
    for (const machine of machines) machine.cut = cut;
    await sleep(lastsMs);
    for (const machine of machines) machine.cut = undefined;
    const healedAtMs = now();
    await sleep(LEASE_MS + 20_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
    // A record has two thirds of its lease left when it is renewed, and was read at most one refresh before.
    const holdUntilMs = Math.min(cutAtMs + LEASE_MS * 2 / 3 - 5_000, healedAtMs);
    assert.deepEqual(mesh.lost.filter(({ beganAtMs }) => beganAtMs < holdUntilMs), [], "lost while the records held");
    assert.deepEqual(mesh.lost.filter(({ beganAtMs }) => beganAtMs > healedAtMs + LEASE_MS), [], "lost a lease later");
    const slow = mesh.slowShare(cutAtMs, holdUntilMs);
    assert.ok(slow < 0.1, `${Math.round(slow * 100)} % of the calls waited for a registry that was cut off`);
  });
}

/** Connections are refused for a while and then are not: who tries again makes no call twice that must be made once. */
export function stumbling(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { chance, now, sleep } = simulation;
    const mesh = await simulatedMesh(simulation, { ...size, paceMs: [300, 1_500], hedgeAfterMs: 40 });
    mesh.start();
    const endsAtMs = now() + 60_000;
    while (now() < endsAtMs) {
      await sleep(chance.between(300, 2_000));
      const { listener } = chance.pick([...mesh.instances]);
      listener.state = "refusing";
      sleep(chance.between(500, 5_000)).then(() => void (listener.state = "serving"));
    }
    await mesh.stop();
    assertNothingForbidden(mesh);
    assert.deepEqual(mesh.lost.filter(({ number }) => !mesh.network.sightings.metDead.has(number)), []);
  });
}

/** All records end while calls are under way that are made a second time after a while: not by a record that has ended. */
export function expiring(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const mesh = await simulatedMesh(simulation, { ...size, paceMs: [50, 300], hedgeAfterMs: 60, workMs: 900 });
    for (const instance of mesh.instances) instance.cut = "refused";
    mesh.start();
    await simulation.sleep(LEASE_MS + 1_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
  });
}

/** Nobody's clock is right: no call is made by a record that has expired, and nobody is lost sight of. */
export function skew(seed: number, size: Size, skewMs: number): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { now, sleep } = simulation;
    const mesh = await simulatedMesh(simulation, { ...size, clientSkewMs: skewMs, instanceSkewMs: skewMs });
    mesh.start();
    const unseen: string[] = [];
    const watchers = await Promise.all([-skewMs, 0, skewMs].map((offMs) => observer(mesh, () => now() + offMs)));
    await sleep(10_000);
    for (let second = 0; second < 90; second++) {
      await sleep(1_000);
      for (const { seen, offMs } of watchers.map((see, i) => ({ seen: see(), offMs: (i - 1) * skewMs }))) {
        const names = await seen;
        const missing = [...mesh.instances].filter(({ name }) => !names.has(name)).map(({ name }) => name);
        if (missing.length > 0) unseen.push(`at ${second} s by a clock that is ${offMs} ms off: ${missing.join(" ")}`);
      }
    }
    await mesh.stop();
    assertNothingForbidden(mesh);
    assert.deepEqual(mesh.lost, [], "calls were lost");
    assert.deepEqual(unseen.slice(0, 3), [], "instances that were there were not seen");
  });
}

/** All instances are replaced, one after the other or some at a time, and not one call is lost. */
export function deploy(seed: number, size: Size, atOnce: number, options: Partial<MeshOptions> = {}): Promise<void> {
  return simulate(seed, async (simulation) => {
    const mesh = await simulatedMesh(simulation, { ...size, ...options });
    mesh.start();
    await simulation.sleep(15_000);
    for (let round = 0; round < 2; round++) await rolling(mesh, [...mesh.instances], atOnce);
    await simulation.sleep(10_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
    assert.deepEqual(mesh.lost, [], "calls were lost in a drained deploy");
  });
}

/** A tenth of what the registry gives is forged, expired or replayed, and nobody falls for it. */
export function rogue(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const lying = rogueRegistry(simulation);
    const mesh = await simulatedMesh(simulation, { ...size, reading: lying.over });
    await lying.forge(mesh, Math.ceil(size.instances / 9));
    mesh.start();
    for (let i = 0; i < 9; i++) {
      await simulation.sleep(10_000);
      await lying.remember(mesh);
    }
    await mesh.stop();
    assertNothingForbidden(mesh);
    assert.deepEqual(mesh.lost, [], "calls were lost");
  });
}

/** The same over the registry's own service, followed: deaths, a cut, and a deploy in which no call is lost. */
export function following(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { sleep } = simulation;
    const mesh = await simulatedMesh(simulation, { ...size, serving: served(simulation) });
    for (const { transport } of mesh.clients) transport.follow(ORDERS);
    mesh.start();
    await sleep(10_000);
    await rolling(mesh, [...mesh.instances], Math.ceil(size.instances / 5));
    await sleep(1_000);
    assert.deepEqual(mesh.lost, [], "calls were lost in a drained deploy");
    for (const client of mesh.clients) client.cut = "silent";
    await sleep(30_000);
    for (const client of mesh.clients) client.cut = undefined;
    await sleep(30_000);
    assert.deepEqual(mesh.lost, [], "calls were lost while the registry was cut off");
    await churning(mesh, size, 30_000);
    await sleep(LEASE_MS);
    const lost = mesh.lost.length;
    await sleep(10_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
    assert.deepEqual(mesh.lost.slice(lost), [], "calls were lost a lease after the last death");
  });
}

/** All of it together, for as long as a large mesh can be simulated. */
export function everything(seed: number, size: Size): Promise<void> {
  return simulate(seed, async (simulation) => {
    const { chance, sleep } = simulation;
    const lying = rogueRegistry(simulation);
    const mesh = await simulatedMesh(simulation, {
      ...size,
      clientSkewMs: 2_500,
      instanceSkewMs: 2_500,
      leaseMs: 300_000, // each renewal is verified by each client, which is most of the time that this takes
      sharedKeys: true,
      reading: lying.over,
    });
    await lying.forge(mesh, Math.ceil(size.instances / 9));
    mesh.start();
    await sleep(10_000);
    const cut: readonly Machine[] = [
      ...chance.some(mesh.clients, size.clients / 2),
      ...chance.some([...mesh.instances], size.instances / 10),
    ];
    for (const machine of cut) machine.cut = chance.pick(["refused", "silent"]);
    await sleep(5_000);
    for (const machine of cut) machine.cut = undefined;
    await sleep(5_000);
    assert.deepEqual(mesh.lost, [], "calls were lost while the registry was cut off");
    await rolling(mesh, chance.some([...mesh.instances], size.instances / 20), size.instances / 20);
    assert.deepEqual(mesh.lost, [], "calls were lost in a drained deploy");
    await churning(mesh, size, 5_000);
    await mesh.stop();
    assertNothingForbidden(mesh);
  });
}

const LEASE_MS = 60_000;

function assertNothingForbidden({ network: { sightings }, calls }: SimulatedMesh): void {
  assert.deepEqual(sightings.violations, [], "calls went where none may go");
  const twice = [...sightings.made].filter(([, times]) => times > 1);
  assert.deepEqual(twice, [], "calls that are not to be repeated were made more than once");
  assert.ok(calls() > 0 && sightings.answered > calls() / 2, "too few calls were answered for this to say anything");
}

/** Replaces instances: each new one is there before its old one says that it will end. */
async function rolling(mesh: SimulatedMesh, old: SimulatedInstances, atOnce: number): Promise<void> {
  const { chance, sleep } = mesh.simulation;
  for (let i = 0; i < old.length; i += atOnce) {
    await Promise.all(
      old.slice(i, i + atOnce).map(async (instance) => {
        await sleep(chance.between(1, 1_000));
        await mesh.launch();
        await mesh.drain(instance);
      }),
    );
  }
}

type SimulatedInstances = readonly (SimulatedMesh["instances"] extends Set<infer Item> ? Item : never)[];

/** Starts, ends and kills instances for a while; about as many are there afterwards. */
async function churning(mesh: SimulatedMesh, { instances }: Size, lastsMs: number): Promise<void> {
  const { chance, now, sleep } = mesh.simulation;
  const endsAtMs = now() + lastsMs;
  const ending: Promise<void>[] = [];
  while (now() < endsAtMs) {
    await sleep(chance.between(1, Math.ceil(100_000 / instances)));
    const isFew = mesh.instances.size <= instances * 0.8;
    const isMany = mesh.instances.size >= instances * 1.2;
    if (isFew || (!isMany && chance.happens(50))) {
      await mesh.launch();
      continue;
    }
    // Rather one that is answering a call: who dies then leaves a caller who cannot know what was done.
    const busy = [...mesh.instances].filter(({ listener }) => listener.inFlight > 0);
    const instance = chance.pick(busy.length > 0 ? busy : [...mesh.instances]);
    if (chance.happens(30)) ending.push(mesh.drain(instance));
    else mesh.crash(instance, chance.happens(80) ? "refusing" : "silent");
  }
  await Promise.all(ending);
}

/** Somebody who only looks: the names of the instances that a client with this clock has at hand. */
async function observer({ authority, store, network }: SimulatedMesh, now: () => number) {
  const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
  const machine = { name: "observer", now, identity: undefined as never, cut: undefined };
  const cached = cachedRegistry(verifiedRegistry(network.link(machine, store), { trust, now }), { now });
  return async () => new Set((await cached.instances(ORDERS)).map(({ id }) => id));
}

/** The registry's own service in front of a store, called by machines that are who they are. */
function served({ sleep, chance }: Simulation): NonNullable<MeshOptions["serving"]> {
  const cutOff = () => new RpcError("unavailable", "The registry is cut off", { received: true });
  return (store, trust) => {
    let caller: Machine | undefined;
    const guard = {
      start() {},
      admit: () => ({ caller: { id: caller!.identity.id, roles: [], attributes: {} } }),
    };
    const server = createServer(registryService(store, { trust }), { guard, log: () => {} });
    return (machine) => {
      const pass = async (timeoutMs: number) => {
        await sleep(chance.between(1, 20));
        if (machine.cut === "silent") await sleep(timeoutMs);
        if (machine.cut) throw cutOff();
      };
      return remoteRegistry(async (call) => {
        await pass(call.timeoutMs);
        caller = machine; // the guard is asked before anybody else gets a turn
        const reply = await server.call(call);
        await pass(call.timeoutMs);
        return reply;
      });
    };
  };
}
