import type { Identity } from "../../src/auth/mod.ts";
import {
  cachedRegistry,
  type Instance,
  memoryRegistry,
  type Registry,
  type RegistryChanges,
  RegistryError,
  RegistryService,
  remoteRegistry,
} from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { anonymous, createServer, fetchTransport, implement, publicOnly } from "../../src/rpc/mod.ts";
import { mustCome } from "../_patience.ts";
import { watchedAudit } from "../auth/_world.ts";
import {
  type Claims,
  DOMAIN,
  ENDPOINT,
  heldTimers,
  joinOther,
  type Lie,
  lyingRegistry,
  ORDERS,
  partsOf,
  rig,
  sealText,
  SERVICE,
} from "../registry/_rig.ts";

// The registry is in an attacker's hands. It has seen every record that was ever registered, it answers what it likes, and
// beside it the attacker runs a workload of his own, which may serve something else. What does a client still get?

const EVIL = `https://evil.${DOMAIN}`;

/** Two honest instances in a registry that lies, the attacker's workload, and the client's view of it all. */
async function stage() {
  const world = await rig();
  const { now, recordOf, orders } = world;
  const mallory = await joinOther(world, "mallory", { serves: ["games.v1"] });
  const store = memoryRegistry({ now });
  const honest = [await recordOf(orders, { instance: "a" }), await recordOf(orders, { instance: "b" })];
  for (const record of honest) await store.register(record);
  const audit = watchedAudit();
  let lie: Lie = (records) => records;
  const registry = lyingRegistry(store, (records, service) => lie(records, service));
  const view = world.verified(registry, { audit });
  const resolve = () => view.resolve(SERVICE);
  return {
    ...world,
    mallory,
    store,
    honest: honest as [string, string],
    audit,
    registry,
    view,
    tell: (next: Lie) => void (lie = next),
    resolve,
    /** What the client gets, shortly: the ids of the instances and where they are. */
    gets: async () => (await resolve()).map(({ id, endpoints }) => `${id} ${endpoints[0]}`).sort(),
    reasons: () => audit.events.map(({ reason }) => reason as string),
  };
}

const BOTH = [`a ${ENDPOINT}`, `b ${ENDPOINT}`];

/** A record in which one claim is another, under the old signature. */
function changed(record: string, changes: Claims): string {
  const [header, payload, signature] = record.split(".") as [string, string, string];
  const claims = { ...JSON.parse(partsOf(record)[1]), ...changes };
  const sorted = Object.fromEntries(Object.entries(claims).sort(([a], [b]) => a < b ? -1 : 1));
  const text = btoa(JSON.stringify(sorted)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  assert.notEqual(text, payload);
  return `${header}.${text}.${signature}`;
}

describe("T9 a registry that lies", () => {
  test("T9 client gets what is true where the registry tells it", async () => {
    const { gets, audit } = await stage();
    assert.deepEqual(await gets(), BOTH);
    assert.deepEqual(audit.events, []);
  });

  test("T9 client gets no instance that was invented, by whoever signs", async () => {
    const { tell, gets, mallory, recordOf, forge, claimsOf, orders, reasons } = await stage();
    const other = await rig(); // an authority of the same name, of the attacker's own
    const invented = [
      await recordOf(mallory, { instance: "x", endpoints: [EVIL] }),
      await forge(mallory, { jti: "x", sub: ORDERS, iss: ORDERS, endpoints: [EVIL] }),
      await forge(mallory, { jti: "x", sub: ORDERS, endpoints: [EVIL] }),
      await forge(mallory, { jti: "x", wit: undefined, iss: `spiffe://${DOMAIN}`, endpoints: [EVIL] }),
      await other.recordOf(other.orders, { instance: "x", endpoints: [EVIL] }),
      await other.issue({ jti: "x", endpoints: [EVIL] }),
      await sealText('{"alg":"none","typ":"svc-record+jwt"}', JSON.stringify(await claimsOf(orders)), mallory),
    ];
    tell((records) => [...invented, ...records]);
    assert.deepEqual(await gets(), BOTH);
    assert.equal(reasons().length, invented.length, "each is recorded");
  });

  test("T9 client is not redirected: an honest record with another endpoint is nobody's", async () => {
    const { tell, gets } = await stage();
    tell((records) => records.map((record) => changed(record, { endpoints: [EVIL] })));
    assert.deepEqual(await gets(), []);
    tell((records) => records.flatMap((record) => [changed(record, { endpoints: [EVIL], seq: 99 }), record]));
    assert.deepEqual(await gets(), BOTH);
  });

  test("T9 client is not redirected by the records of another service", async () => {
    const { tell, gets, mallory, recordOf, reasons } = await stage();
    const games = await recordOf(mallory, { services: { "games.v1": "" }, endpoints: [EVIL] });
    tell(() => [games]);
    assert.deepEqual(await gets(), []);
    assert.deepEqual(reasons(), ["wrong_service"]);
  });

  test("T9 client gives no instance more of the traffic than it asked for", async () => {
    const { tell, resolve, honest } = await stage();
    tell(() => [honest[0], changed(honest[0], { weight: 100, jti: "c" }), ...Array(50).fill(honest[0]), honest[1]]);
    const instances = await resolve();
    assert.deepEqual(instances.map(({ id }) => id).sort(), ["a", "b"], "each once, however often it is told");
  });

  test("T9 client does not get an instance back that has ended, once it knows", async () => {
    const { tell, gets, honest, store, recordOf, orders, resolve, reasons } = await stage();
    await gets();
    await store.register(await recordOf(orders, { instance: "a", sequence: 2, draining: true }));
    await gets();
    tell(() => honest);
    assert.deepEqual((await resolve()).map(({ id, draining }) => `${id} ${draining}`).sort(), ["a true", "b false"]);
    assert.deepEqual(reasons(), ["rollback"]);
  });

  test("T9 client that has just started gets an older record, until its lease ends and no longer", async () => {
    const world = await stage();
    const { now, honest, recordOf, orders, store, registry, tell } = world;
    await store.register(await recordOf(orders, { instance: "a", sequence: 2, endpoints: [`https://new.${DOMAIN}`] }));
    tell(() => [honest[0]]);
    const fresh = world.verified(registry);
    assert.equal((await fresh.resolve(SERVICE))[0]!.sequence, 1);
    now.pass(59_999);
    assert.equal((await fresh.resolve(SERVICE)).length, 1);
    now.pass(1);
    assert.deepEqual(await fresh.resolve(SERVICE), []);
  });

  test("T9 client uses a registry that stands still for as long as the leases, not for ever", async () => {
    const world = await stage();
    const { now, honest, tell, gets, reasons } = world;
    tell(() => honest);
    assert.deepEqual(await gets(), BOTH);
    now.pass(60_000);
    assert.deepEqual(await gets(), []);
    const after = world.verified(world.registry, { audit: world.audit });
    assert.deepEqual(await after.resolve(SERVICE), []);
    assert.deepEqual(reasons(), ["expired_record", "expired_record"]);
  });

  test("T9 client gets the newest of each instance out of old and new ones that are mixed", async () => {
    const { tell, resolve, honest, recordOf, orders } = await stage();
    const later = await Promise.all(["a", "b"].map((instance) => recordOf(orders, { instance, sequence: 2 })));
    const sequences = async () => (await resolve()).map(({ id, sequence }) => `${id}${sequence}`).sort();
    tell(() => [later[0]!, honest[1]]);
    assert.deepEqual(await sequences(), ["a2", "b1"]);
    tell(() => [honest[0], later[1]!]);
    assert.deepEqual(await sequences(), ["a2", "b2"]);
    tell(() => [...honest, ...later].reverse());
    assert.deepEqual(await sequences(), ["a2", "b2"]);
  });

  test("T9 client gets less where records are withheld, and goes on with what it knew where all are", async () => {
    const { tell, gets, view, now, honest } = await stage();
    const cache = cachedRegistry(view, { now });
    const cached = async () => (await cache.instances(SERVICE)).map(({ id }: Instance) => id).sort();
    assert.deepEqual(await cached(), ["a", "b"]);
    tell(() => []);
    now.pass(10_000);
    assert.deepEqual(await cached(), ["a", "b"]);
    assert.deepEqual(await gets(), []);
    tell(() => [honest[1]]);
    now.pass(10_000);
    assert.deepEqual(await cached(), ["b"]);
    tell(() => []);
    now.pass(40_000);
    assert.deepEqual(await cached(), []);
  });

  test("T9 client that keeps looking loses no instance by a registry that would rather know only its friends", async () => {
    const { tell, gets, view, now, honest } = await stage();
    const cache = cachedRegistry(view, { now });
    const cached = async () => (await cache.instances(SERVICE)).map(({ id }: Instance) => id).sort();
    assert.deepEqual(await cached(), ["a", "b"]);
    tell(() => [honest[1]]);
    for (let ms = 3_000; ms < 60_000; ms += 3_000) {
      now.pass(3_000);
      await cached();
      assert.equal((await gets()).length, 1, "it is left out again and again");
      assert.deepEqual(await cached(), ["a", "b"], `after ${ms} ms`);
    }
    now.pass(3_000);
    assert.deepEqual(await cached(), [], "no longer than the leases");
  });

  test("T9 client that watches gets the newest whatever the order in which it is told", async () => {
    const world = await stage();
    const { recordOf, orders, honest } = world;
    const second = await recordOf(orders, { instance: "a", sequence: 2 });
    const third = await recordOf(orders, { instance: "a", sequence: 3 });
    const told: readonly (readonly string[])[] = [[second], [honest[0]], [third], [second], [], [honest[0]], [
      third,
      second,
    ]];
    const registry: Registry = {
      ...world.store,
      async *watch() {
        yield* told;
      },
    };
    const seen: (number | undefined)[] = [];
    for await (const instances of world.verified(registry).watch(SERVICE)) seen.push(instances[0]?.sequence);
    assert.deepEqual(seen, [2, 2, 3, 3, undefined, 3, 3]);
  });

  test("T9 client looks at a bounded part of a huge answer", async () => {
    const { tell, gets, audit, recordOf, orders } = await stage();
    const record = await recordOf(orders);
    const garbage = Array.from({ length: 100_000 }, (_, i) => another(record, i));
    tell((records) => [...records, ...garbage]);
    assert.deepEqual(await gets(), BOTH);
    assert.ok(audit.events.length <= 300, `${audit.events.length}`);
    tell((records) => [...Array.from({ length: 10_000 }, (_, i) => `x${i}`), ...records]);
    assert.deepEqual(await gets(), [], "what is told behind it is withheld");
  });

  test("T9 client does not read a record that is too long, whatever is in it", async () => {
    const { tell, gets, honest } = await stage();
    tell((records) => ["x".repeat(10_000_000), `${honest[0]}${"A".repeat(8_192)}`, ...records]);
    assert.deepEqual(await gets(), BOTH);
  });

  test("T9 client waits for a slow answer no longer than it has patience, and has what it had", async () => {
    const { tell, view, now } = await stage();
    const cache = cachedRegistry(view, { now });
    await cache.instances(SERVICE);
    tell(() => new Promise(() => {}));
    now.pass(10_000);
    using timers = heldTimers();
    const waiting = Promise.resolve(cache.instances(SERVICE));
    await timers.settle();
    timers.fire(1_000);
    assert.deepEqual((await waiting).map(({ id }) => id).sort(), ["a", "b"]);
    timers.fire(5_000);
    await timers.settle();
  });

  test("T9 client is told that the registry cannot be reached where it throws anything", async () => {
    const { tell, view, now } = await stage();
    tell(() => {
      throw new Error("no");
    });
    await assert.rejects(async () => await cachedRegistry(view, { now }).instances(SERVICE), { message: "no" });
  });

  test("T9 client's own workload cannot be impersonated by a registry that may serve the same", async () => {
    const { tell, resolve, join, recordOf } = await stage();
    const rival: Identity = await join(`spiffe://${DOMAIN}/rival`, { serves: [SERVICE] });
    const own = await recordOf(rival, { instance: "a", endpoints: [EVIL], sequence: 1_000 });
    tell((records) => [own, ...records]);
    const instances = await resolve();
    assert.deepEqual(instances.map(({ name }) => name).sort(), [
      `${ORDERS}#a`,
      `${ORDERS}#b`,
      `spiffe://${DOMAIN}/rival#a`,
    ]);
    for (const { identity, endpoints, audience } of instances) {
      assert.equal(endpoints[0], identity === ORDERS ? ENDPOINT : EVIL);
      assert.equal(audience, identity, "a call is addressed to who signed the record");
    }
  });
});

/** Another record under the same signature, cheaply. */
const another = (record: string, i: number) => `${record.slice(0, -20)}${`${i}`.padStart(19, "A")}A`;

describe("T9 a registry service that lies", () => {
  type Answer = Partial<RegistryChanges>;

  /** A registry service that answers what a test says, and the client's registry that calls it. */
  function stageService(answer: (call: number, cursor: string | undefined) => Answer) {
    let calls = 0;
    const nothing = { cursor: "c", reset: false, records: [], gone: [], more: false };
    const service = implement(RegistryService, {
      register: () => ({}),
      deregister: () => ({}),
      resolve: ({ cursor }) => ({ ...nothing, ...answer(calls++, cursor) }),
      list: () => ({ services: [] }),
    });
    const methods = ["register", "deregister", "resolve", "list"].map((name) => `postern.registry.v1/${name}`);
    const server = createServer(service, { guard: publicOnly(methods), log: () => {} });
    const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
    const registry = remoteRegistry(fetchTransport("https://registry.test", { prover: anonymous(), fetch }));
    return { registry, calls: () => calls };
  }

  test("T9 client gives up on an answer that does not end", async () => {
    const { registry, calls } = stageService(() => ({ more: true }));
    await assert.rejects(registry.resolve(SERVICE), { reason: "too_many" });
    assert.ok(calls() <= 512, `${calls()}`);
  });

  test("T9 client gives up on more records than it takes, and begins anew", async () => {
    const page = (call: number) => Array.from({ length: 2_000 }, (_, i) => ({ name: `${call}-${i}`, record: "x" }));
    const { registry, calls } = stageService((call) =>
      call < 9 ? { more: true, records: page(call) } : { reset: true }
    );
    await assert.rejects(registry.resolve(SERVICE), { reason: "too_many" });
    assert.equal(calls(), 9);
    assert.deepEqual(await registry.resolve(SERVICE), [], "nothing of it is kept");
  });

  test("T9 client keeps nothing that is too long to be a record", async () => {
    const long = "x".repeat(100_000);
    const { registry } = stageService((call) => ({ records: [{ name: `${call}`, record: long }] }));
    const kept: string[] = [];
    try {
      for (let i = 0; i < 10; i++) kept.push(...await registry.resolve(SERVICE));
    } catch (error) {
      assert.ok(error instanceof RegistryError);
    }
    assert.ok(kept.every(({ length }) => length <= 8_192), "its memory is the attacker's otherwise");
  });

  test("T9 client takes names that reach into prototypes, and of what is not there, for names", async () => {
    const names = ["__proto__", "constructor", "toString", ""];
    const records = names.map((name) => ({ name, record: `record of ${name}` }));
    const { registry } = stageService((call) => call === 0 ? { records } : { gone: [...names, "never", "was"] });
    assert.equal((await registry.resolve(SERVICE)).length, 4);
    assert.deepEqual(await registry.resolve(SERVICE), []);
    assert.equal(Object.hasOwn(Object.prototype, ""), false);
  });

  test("T9 client believes no name that the service gives to a record", async () => {
    const world = await rig();
    const other = await joinOther(world, "other");
    const [a, b] = [await world.recordOf(world.orders), await world.recordOf(other)];
    const { registry } = stageService(() => ({
      reset: true,
      records: [{ name: `${ORDERS}#i1`, record: b }, { name: "x", record: a }],
    }));
    const names = (await world.verified(registry).resolve(SERVICE)).map(({ name }) => name).sort();
    assert.deepEqual(names, [`${ORDERS}#i1`, `${other.id}#i1`]);
  });

  test("T9 client that watches does not spin where the service answers at once, with nothing", async () => {
    const { registry, calls } = stageService((call) => {
      if (call === 50) throw new Error("so that it ends");
      return {};
    });
    const ending = new AbortController();
    const watching = (async () => {
      for await (const _ of registry.watch(SERVICE, { signal: ending.signal }));
    })();
    watching.catch(() => {});
    for (let i = 0; i < 20; i++) await new Promise((done) => setTimeout(done, 0));
    ending.abort();
    await mustCome(watching.catch(() => {}), "the end of the watch");
    assert.ok(calls() <= 5, `it asked ${calls()} times`);
  });
});
