// Somebody registers instances to draw calls to them.
import { allow, type Identity, memoryReplay, policy, protect } from "../../src/auth/mod.ts";
import { createServer, fetchTransport, implement, type Prover, type Server } from "../../src/rpc/mod.ts";
import { leastLoaded, random, rendezvous, roundRobin, sameRegionFirst, type Selector } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { watchedAudit, world } from "../auth/_world.ts";
import { failing, failsWith, hanging, heldTime, type Mesh, mesh, SHOP, watching, WEB } from "../selector/_mesh.ts";
import { callOf, candidate, type Held, identities, pool, several, Shop } from "../selector/_pool.ts";
import { seeded, sigmas } from "../selector/_stats.ts";

const EVIL = "spiffe://example.org/evil";
const BOOK = { item: "book" };
const CALLS = 10_000;
const itemOf = ({ message }: { readonly message: unknown }) => (message as { readonly item: string }).item;
const SELECTORS: Readonly<Record<string, (seed: number) => Selector>> = {
  random: (seed) => random({ random: seeded(seed) }),
  roundRobin: (seed) => roundRobin({ random: seeded(seed) }),
  leastLoaded: (seed) => leastLoaded({ random: seeded(seed) }),
  rendezvous: (seed) => rendezvous(itemOf, { secret: new Uint8Array(32).fill(seed) }),
  sameRegionFirst: (seed) => sameRegionFirst(random({ random: seeded(seed) }), { region: "eu", random: seeded(seed) }),
};

/** How many calls go to the false identity; `serve` is told of each. */
function captured(selector: Selector, candidates: readonly Held[], serve: (chosen: Held) => void = () => {}): number {
  const pick = selector(pool(candidates));
  let count = 0;
  for (let i = 0; i < CALLS; i++) {
    const chosen = pick(callOf("look", `key-${i}`)) as Held;
    if (chosen.instance.identity === EVIL) count++;
    serve(chosen);
  }
  return count;
}

for (const [name, make] of Object.entries(SELECTORS)) {
  for (const honest of [1, 2, 9]) {
    const share = 1 / (honest + 1);

    test(`T6.4 1,000 instances of one identity win no more than its share beside ${honest} others under ${name}()`, () => {
      const found = captured(make(honest), [...identities(honest), ...several(1_000, EVIL)]);
      assert.ok(sigmas(found, CALLS, share) <= 3, `${found} of ${CALLS}`);
    });

    test(`T6.4 the greatest weight of all wins no more than the usual one beside ${honest} others under ${name}()`, () => {
      const heavy = several(1_000, EVIL, { weight: 100 });
      const found = captured(make(honest), [...identities(honest, { weight: 100 }), ...heavy]);
      assert.ok(sigmas(found, CALLS, share) <= 3, `${found} of ${CALLS}`);
    });

    test(`T6.4 1,000 instances that answer at once win no more than one share beside ${honest} that work, ${name}()`, () => {
      const honestOnes = identities(honest, { inFlight: 5 });
      const found = captured(make(honest), [...honestOnes, ...several(1_000, EVIL)]);
      assert.ok(sigmas(found, CALLS, share) <= 3, `${found} of ${CALLS}`);
    });
  }

  test(`T6.4 ten instances that ask for less win no more than one that does under ${name}()`, () => {
    const found = captured(make(3), [...identities(3, { weight: 100 }), ...several(10, EVIL, { weight: 20 })]);
    assert.ok(sigmas(found, CALLS, 20 / 320) <= 3, `${found} of ${CALLS}`);
  });
}

test("T6.4 a weight above 100 is refused with its record", async () => {
  const { add, client, attempts } = await mesh();
  await add("honest");
  for (const weight of [101, 1e9]) {
    await add("heavy", { weight }).catch(() => {});
    for (let i = 0; i < 20; i++) await client().look(BOOK);
  }
  assert.deepEqual(new Set(attempts), new Set(["honest"]));
});

test("T6.4 an instance of an identity that may not serve the service is never called", async () => {
  const made = await mesh("honest");
  const evil = await made.join(EVIL);
  await made.add("evil", { identity: evil }).catch(() => {});
  const shop = made.client();
  for (let i = 0; i < 50; i++) await shop.look(BOOK);
  assert.deepEqual(new Set(made.attempts), new Set(["honest"]));
});

test("T6.4 an instance of another trust domain is never called", async () => {
  const made = await mesh("honest");
  const foreign = await world("example.net", made.now);
  const evil = await foreign.join("spiffe://example.net/shop", { serves: ["shop.v1"] });
  await made.add("evil", { identity: evil, endpoints: ["https://shop.example.net"] });
  const shop = made.client();
  for (let i = 0; i < 50; i++) await shop.look(BOOK);
  assert.deepEqual(new Set(made.attempts), new Set(["honest"]));
});

test("T6.4 a selector cannot bring in an instance of its own, and no call is made", async () => {
  const { client, attempts } = await mesh("honest");
  const selectors: Selector[] = [
    () => () => candidate(EVIL, "evil"),
    ({ candidates }) => () => ({ ...candidates[0]!, instance: { ...candidates[0]!.instance, identity: EVIL } }),
    ({ candidates }) => {
      (candidates as unknown[]).push(candidate(EVIL, "evil"));
      return () => candidates.at(-1)!;
    },
  ];
  for (const selector of selectors) await assert.rejects(client({ selector }).look(BOOK), TypeError);
  assert.deepEqual(attempts, []);
});

/** Servers that prove themselves, by their endpoints, and a client's way to them. */
function serving({ trust, now }: Mesh) {
  const servers = new Map<string, Server>();
  const answered: string[] = [];
  const rules = policy([allow({ caller: WEB, call: "shop.v1/*" })]);
  return {
    answered,
    /** One that takes calls which are addressed to these. */
    serve(host: string, identity: Identity, audiences: readonly string[] = []) {
      const handle = ({ item }: { readonly item: string }) => {
        answered.push(host);
        return { item: `${item} of ${host}` };
      };
      const guard = protect({ identity, trust, policy: rules, replay: memoryReplay({ now }), now, audiences });
      const implemented = implement(Shop, { look: handle, put: handle, buy: handle });
      servers.set(`https://${host}.example.org`, createServer(implemented, { guard, log: () => {} }));
    },
    connect: (endpoint: string, prover: Prover) =>
      fetchTransport(endpoint, {
        prover,
        fetch: (url, init) => servers.get(new URL(url).origin)!.fetch(new Request(url, init)),
      }),
  };
}

/** Chooses one as long as it is there. */
const preferring = (id: string): Selector => ({ candidates }) => () =>
  candidates.find(({ instance }) => instance.id === id) ?? candidates[0]!;

test("T6.4 the instance that was chosen proves itself with the answer", async () => {
  const made = await mesh("honest");
  const { serve, connect } = serving(made);
  serve("honest", made.shop);
  assert.deepEqual(await made.client({ connect }).look(BOOK), { item: "book of honest" });
});

test("T6.4 an answer that another identity proves is none, and its instance is ejected", async () => {
  const made = await mesh("honest", "taken");
  const evil = await made.join(EVIL, { serves: ["shop.v1"] });
  const { serve, connect, answered } = serving(made);
  serve("honest", made.shop);
  serve("taken", evil, [SHOP]); // it may serve the service too, and takes calls that are meant for the shop
  const audit = watchedAudit();
  const shop = made.client({ connect, audit, selector: preferring("taken"), maxAttempts: 1 });
  for (let i = 0; i < 3; i++) await failsWith(shop.look(BOOK), "unavailable");
  assert.deepEqual(answered, ["taken", "taken", "taken"]);
  assert.deepEqual(audit.events.map(({ reason, fields }) => [reason, fields?.["answeredBy"]]), [
    ["wrong_peer", EVIL],
    ["wrong_peer", EVIL],
    ["wrong_peer", EVIL],
  ]);
  assert.deepEqual(await shop.look(BOOK), { item: "book of honest" });
  assert.equal(answered.length, 4, "it is ejected");
});

test("T6.4 an answer that another identity proves costs a safe call nothing but a second attempt", async () => {
  const made = await mesh("honest", "taken");
  const { serve, connect, answered } = serving(made);
  serve("honest", made.shop);
  serve("taken", await made.join(EVIL, { serves: ["shop.v1"] }), [SHOP]);
  const shop = made.client({ connect, selector: preferring("taken"), random: { below: () => 0 } });
  assert.deepEqual(await shop.look(BOOK), { item: "book of honest" });
  assert.deepEqual(answered, ["taken", "honest"]);
});

test("T6.4 a server under another identity takes no call that is addressed to the chosen one", async () => {
  const made = await mesh("taken");
  const { serve, connect, answered } = serving(made);
  serve("taken", await made.join(EVIL, { serves: ["shop.v1"] }));
  await failsWith(made.client({ connect, maxAttempts: 1 }).look(BOOK), "unavailable");
  assert.deepEqual(answered, []);
});

test("T6.4 an instance cannot get out of being ejected by renewing its record, nor by moving", async () => {
  const { ready, add, now, attempts, behaviours } = await mesh("bad", "good");
  behaviours.set("bad", failing("internal"));
  const shop = await ready({ selector: preferring("bad") });
  using _time = heldTime();
  for (let i = 0; i < 3; i++) await failsWith(shop.buy(BOOK), "internal");
  for (
    const about of [{ weight: 1 }, { weight: 100 }, { endpoints: ["https://a.example.org"] }, {
      endpoints: ["https://b.example.org"],
    }]
  ) {
    await add("bad", { version: "9.9.9", ...about });
    now.pass(6_001);
    await shop.buy(BOOK);
  }
  assert.deepEqual(attempts, ["bad", "bad", "bad", "good", "good", "good", "good"]);
});

test("T6.4 an instance that fails at once wins no more calls than one that is busy", async () => {
  const made = await mesh("honest");
  const evil = await made.join(EVIL, { serves: ["shop.v1"] });
  for (let i = 0; i < 5; i++) await made.add(`evil-${i}`, { identity: evil });
  made.behaviours.set("honest", hanging);
  for (let i = 0; i < 5; i++) made.behaviours.set(`evil-${i}`, failing("not_found"));
  const shop = await made.ready({ selector: leastLoaded({ random: seeded(5) }) });
  using time = heldTime();
  const calls = Array.from({ length: 400 }, () => watching(shop.buy(BOOK, { timeoutMs: 50 })));
  await time.pass(50);
  await time.settle();
  assert.ok(calls.every(({ pending }) => !pending));
  const won = made.attempts.filter((id) => id !== "honest").length;
  assert.ok(sigmas(won, made.attempts.length, 0.5) <= 3, `${won} of ${made.attempts.length}`);
});
