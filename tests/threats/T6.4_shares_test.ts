// Somebody who may serve registers many instances of one identity: what they do decides nothing about the others.
import type { Member } from "../../src/selector/fleet.ts";
import { type BalancedTransportOptions, random } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { eject, ended, probed, rig } from "../selector/_fleet.ts";
import { after, failing, heldTime, type Mesh, mesh, watching } from "../selector/_mesh.ts";
import { instanceOf } from "../selector/_pool.ts";
import { seeded } from "../selector/_stats.ts";

const EVIL = "spiffe://example.org/evil";
const BOOK = { item: "book" };
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Registers instances of a false identity, which may serve, and gives their ids. */
async function invade({ add, join }: Mesh, count: number): Promise<readonly string[]> {
  const identity = await join(EVIL, { serves: ["shop.v1", "shop.v2"] });
  const ids = numbers(count).map((i) => `evil-${i}`);
  for (const id of ids) await add(id, { identity });
  return ids;
}

/** Registers one instance each of several identities, and gives their ids. */
async function settle({ add, join }: Mesh, count: number): Promise<readonly string[]> {
  const ids = numbers(count).map((i) => `honest-${i}`);
  for (const id of ids) {
    await add(id, { identity: await join(`spiffe://example.org/${id}`, { serves: ["shop.v1", "shop.v2"] }) });
  }
  return ids;
}

/** A selector that notes who is kept out. */
function watched(): {
  readonly out: Set<string>;
  readonly selector: NonNullable<BalancedTransportOptions["selector"]>;
} {
  const out = new Set<string>();
  const inner = random({ random: seeded(3) });
  return {
    out,
    selector(pool) {
      for (const { instance } of pool.ejected) out.add(instance.id);
      return inner(pool);
    },
  };
}

const HONEST = {
  "of one identity": async (made: Mesh) => {
    for (const id of ["a", "b", "c"]) await made.add(id);
    return ["a", "b", "c"];
  },
  "of an identity each": (made: Mesh) => settle(made, 3),
} as const;

for (const [whose, enter] of Object.entries(HONEST)) {
  test(`T6.4 T28 8 instances that answer at once get nobody ejected of 3 that work, ${whose}`, async () => {
    const made = await mesh();
    const honest = await enter(made);
    await invade(made, 8);
    for (const id of honest) made.behaviours.set(id, after(150));
    const { out, selector } = watched();
    const shop = await made.ready({ selector, panicShare: 0 }); // so that whoever is ejected is seen to be
    using time = heldTime();
    for (let i = 0; i < 20; i++) {
      const calls = numbers(30).map(() => watching(shop.look(BOOK)));
      await time.pass(200);
      await time.settle();
      assert.ok(calls.every(({ outcome }) => outcome && "value" in outcome));
    }
    for (const id of [...honest, "evil-0"]) {
      assert.ok(made.attempts.filter((each) => each === id).length > 12, `${id} was measured`);
    }
    assert.deepEqual([...out], []);
  });

  test(`T6.4 T28 4 instances of one identity that fail stay out beside 3 that are well, ${whose}`, async () => {
    const made = await mesh();
    await enter(made);
    const evil = await invade(made, 4);
    for (const id of evil) made.behaviours.set(id, failing("internal"));
    const { out, selector } = watched();
    const shop = await made.ready({ selector });
    using _time = heldTime(); // so that nobody is tried again
    for (let i = 0; i < 400; i++) await shop.buy(BOOK).catch(() => {});
    assert.deepEqual([...out].sort(), evil);
    made.attempts.length = 0;
    for (let i = 0; i < 300; i++) assert.deepEqual(await shop.buy(BOOK), BOOK);
    assert.equal(made.attempts.length, 300);
    assert.equal(made.attempts.filter((id) => evil.includes(id)).length, 0);
  });
}

test("T6.4 T28 who fails everywhere is called still: all identities but one of three are out", () => {
  const { fleet, seen, member } = rig();
  const instances = ["x", "y", "z"].map((id) => instanceOf(`spiffe://example.org/${id}`, id));
  fleet.update([...instances, ...["u", "v", "w"].map((id) => instanceOf("spiffe://example.org/z", id))]);
  const [x, y] = ["x", "y"].map(member) as [Member, Member];
  eject(fleet, x);
  assert.deepEqual(seen(), ["yzuvw", "x"]);
  eject(fleet, y);
  assert.deepEqual(seen(), ["xyzuvw", ""], "one of three is less than half");
});

test("T28 who is slow is found among identities with one instance each, whatever many of another one do", () => {
  const { fleet, now, seen, member } = rig();
  const single = ["a", "b", "c", "d"].map((id) => instanceOf(`spiffe://example.org/${id}`, id));
  const many = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map((id) => instanceOf(EVIL, id));
  fleet.update([...single, ...many]);
  const members = [...single, ...many].map(({ id }) => member(id));
  // Those of one identity are as slow as the slow one, so that it would not stand out among all.
  const tookMs = (id: string) => "1234567".includes(id) ? 900 : "d89".includes(id) ? 1_000 : 10;
  for (let i = 0; i < 10; i++) members.forEach((each) => fleet.observe(each, ended("fine", tookMs(each.instance.id))));
  assert.deepEqual(seen(), ["abcd123456789", ""]);
  now.pass(1_000);
  fleet.observe(members[0]!, ended("fine", 10));
  assert.deepEqual(seen(), ["abc123456789", "d"]);
});

/** 1,000 dead instances of one identity and 20 identities that are well, a second after the last one died. */
function besideTheDead() {
  const made = rig();
  const dead = numbers(1_000).map((i) => instanceOf(EVIL, `evil-${i}`));
  const honest = numbers(20).map((i) => instanceOf(`spiffe://example.org/honest-${i}`, `honest-${i}`));
  made.fleet.update([...dead, ...honest]);
  made.choose();
  const members = made.pools.at(-1)!.candidates as readonly Member[];
  eject(made.fleet, ...members.filter(({ instance }) => instance.identity === EVIL));
  made.now.pass(1_000);
  return { ...made, honest: members.filter(({ instance }) => instance.identity !== EVIL) };
}

test("T6.4 T28 1,000 dead instances of one identity draw no more than 5 % of the calls and 3", () => {
  const { fleet, now } = besideTheDead();
  let tried = 0;
  for (let calls = 1; calls <= 4_000; calls++) {
    now.pass(10);
    const member = fleet.probe(true);
    if (member) tried++;
    if (member) fleet.observe(member, probed("down"));
    assert.ok(tried <= 0.05 * calls + 3, `${tried} of ${calls}`);
  }
  assert.ok(tried > 100, `they are tried again all the same: ${tried}`);
});

test("T6.4 T28 1,000 dead instances of one identity draw 3 calls at once, however long nobody called", () => {
  const { fleet, now } = besideTheDead();
  for (let i = 0; i < 1_000; i++) fleet.probe(false); // these are not due yet
  now.pass(3_600_000);
  const tried = numbers(10).filter(() => fleet.probe(true));
  assert.deepEqual(tried, [0, 1, 2]);
});

test("T6.4 T28 an instance that is well again comes back soon beside 1,000 dead ones of another identity", () => {
  const { fleet, now, honest } = besideTheDead();
  const [unlucky] = honest as [Member];
  eject(fleet, unlucky);
  for (let calls = 1; calls <= 1_000 && unlucky.health.isEjected; calls++) {
    now.pass(10);
    const member = fleet.probe(true);
    if (member) fleet.observe(member, probed(member === unlucky ? "fine" : "down"));
  }
  assert.equal(unlucky.health.isEjected, false);
});
