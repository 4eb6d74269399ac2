import { endpointOf, type Member } from "../../src/selector/fleet.ts";
import type { Pool } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { call, eject, ended, of, probed, rig, SHOP, three } from "./_fleet.ts";
import { candidate } from "./_pool.ts";

test("createFleet() has no instances at first", () => {
  assert.equal(rig().fleet.size, 0);
});

test("update() takes instances over, and makes one transport to each", () => {
  const { fleet, connected } = rig();
  fleet.update(three);
  assert.equal(fleet.size, 3);
  assert.deepEqual(connected, three);
  fleet.update(three);
  fleet.update([...three]);
  assert.equal(connected.length, 3);
});

test("update() leaves out what is not accepted, and what cannot be reached by calls", () => {
  const { fleet, connected } = rig({ accepts: ({ region }) => region === "eu" });
  const reached = of("a", { region: "eu" });
  fleet.update([reached, of("b", { region: "us" }), of("c", { region: "eu", endpoints: ["nats://c.example.org"] })]);
  assert.equal(fleet.size, 1);
  assert.deepEqual(connected, [reached]);
});

test("update() takes nothing over where a filter fails, and fails again with the same list", () => {
  const wrong = new Error("a filter that is wrong");
  let isWrong = false;
  const { fleet, seen } = rig({
    accepts() {
      if (isWrong) throw wrong;
      return true;
    },
  });
  fleet.update(three);
  isWrong = true;
  const fewer = three.slice(1);
  for (let i = 0; i < 2; i++) assert.throws(() => fleet.update(fewer), wrong, `time ${i}`);
  isWrong = false;
  fleet.update(fewer);
  assert.deepEqual(seen(), ["bc", ""], "whose record ended is not called");
});

test("endpointOf() is the first one for calls, a WebSocket where there is no other", () => {
  assert.equal(
    endpointOf(of("a", { endpoints: ["wss://s.test", "https://one.test", "https://two.test"] })),
    "https://one.test",
  );
  assert.equal(endpointOf(of("a", { endpoints: ["wss://s.test"] })), "wss://s.test");
  assert.equal(endpointOf(of("a", { endpoints: ["nats://s.test"] })), undefined);
});

test("update() calls an instance that drains only where there is no other", () => {
  const { fleet, seen } = rig();
  fleet.update([of("a", { draining: true }), of("b")]);
  assert.deepEqual(seen(), ["b", ""]);
  fleet.update([of("a", { draining: true }), of("b", { draining: true })]);
  assert.deepEqual(seen(), ["ab", ""]);
});

test("update() does not keep one that is well from calls for one that drains and is not accepted", () => {
  const { fleet, seen } = rig({ accepts: ({ region }) => region !== "us" });
  fleet.update([of("a", { draining: true }), of("b", { region: "us" })]);
  assert.deepEqual(seen(), ["a", ""]);
});

test("update() goes on with what is known of an instance whose record was renewed", () => {
  const { fleet, connected, member, seen } = rig();
  fleet.update(three);
  const a = member("a");
  eject(fleet, a);
  const renewed = of("a", { sequence: 2, weight: 7, region: "eu" });
  fleet.update([renewed, ...three.slice(1)]);
  assert.deepEqual(seen(), ["bc", "a"]);
  assert.equal(connected.length, 3);
  assert.equal(a.instance, renewed, "what is new in the record counts");
});

for (
  const [what, change] of [
    ["endpoint", { endpoints: ["https://elsewhere.example.org"] }],
    ["audience", { audience: `${SHOP}#a` }],
  ] as const
) {
  test(`update() makes a new transport to an instance that has another ${what}, and keeps what is known of it`, () => {
    const { fleet, connected, member, seen, now } = rig();
    fleet.update(three);
    const before = member("a");
    eject(fleet, before);
    const moved = of("a", change);
    fleet.update([moved, ...three.slice(1)]);
    assert.deepEqual(connected.slice(3), [moved]);
    assert.deepEqual(seen(), ["bc", "a"]);
    now.pass(1_000);
    const tried = fleet.probe(true)!;
    assert.equal(tried.instance, moved);
    assert.notEqual(tried, before);
    fleet.update([of("a"), ...three.slice(1)]); // and back again, while it is tried
    assert.equal(fleet.probe(true), undefined, "one at a time");
    fleet.observe(tried, probed("failed"));
    now.pass(1_999);
    assert.equal(fleet.probe(true), undefined, "it is kept out for twice as long");
    assert.deepEqual(seen(), ["bc", "a"]);
    now.pass(1);
    assert.equal(fleet.probe(true)?.instance.id, "a");
  });

  test(`update() counts failures in a row of an instance that has another ${what}`, () => {
    const { fleet, member, seen } = rig();
    fleet.update(three);
    for (let i = 0; i < 3; i++) {
      fleet.observe(member("a"), ended("failed"));
      fleet.update([i % 2 === 0 ? of("a", change) : of("a"), ...three.slice(1)]);
    }
    assert.deepEqual(seen(), ["bc", "a"]);
  });
}

test("update() forgets instances that left", () => {
  const { fleet, connected, seen, member } = rig();
  fleet.update(three);
  const a = member("a");
  fleet.update(three.slice(1));
  assert.deepEqual(seen(), ["bc", ""]);
  fleet.observe(a, ended("down"));
  fleet.update([...three]);
  assert.deepEqual(seen(), ["abc", ""]);
  assert.equal(connected.length, 4);
});

test("choose() prepares the selector once as long as nothing changes", () => {
  const { fleet, pools, choose } = rig();
  fleet.update(three);
  for (let i = 0; i < 5; i++) fleet.observe(choose(), ended("fine"));
  assert.equal(pools.length, 1);
  eject(fleet, choose());
  choose();
  assert.equal(pools.length, 2);
});

test("update() prepares nothing anew for the list that it has", () => {
  const { fleet, pools, choose } = rig();
  fleet.update(three);
  choose();
  fleet.update(three);
  choose();
  assert.equal(pools.length, 1);
  fleet.update([...three]);
  choose();
  assert.equal(pools.length, 2);
});

test("choose() keeps calls from an instance that was ejected, and shows it to the selector", () => {
  const { fleet, seen, member } = rig();
  fleet.update(three);
  eject(fleet, member("b"));
  assert.deepEqual(seen(), ["ac", "b"]);
});

test("choose() takes back an instance that a probe found well", () => {
  const { fleet, seen, member, now } = rig();
  fleet.update(three);
  eject(fleet, member("b"));
  now.pass(1_000);
  const tried = fleet.probe(true)!;
  assert.equal(tried.instance.id, "b");
  fleet.observe(tried, probed("fine"));
  assert.deepEqual(seen(), ["abc", ""]);
});

test("choose() calls all where fewer are well than the panic share", () => {
  for (
    const [panicShare, out, expected] of [[0.5, 2, "cd"], [0.5, 3, "abcd"], [1, 1, "abcd"], [0.25, 3, "d"]] as const
  ) {
    const { fleet, seen, member } = rig({ panicShare });
    fleet.update([...three, of("d")]);
    eject(fleet, ...["a", "b", "c"].slice(0, out).map(member));
    assert.equal(seen()[0], expected, `panicShare ${panicShare}, ${out} of 4 ejected`);
  }
});

test("choose() tells the selector of nobody ejected where all are called", () => {
  const { fleet, seen, member } = rig();
  fleet.update(three);
  eject(fleet, ...["a", "b", "c"].map(member));
  assert.deepEqual(seen(), ["abc", ""]);
});

for (const panicShare of [0, 0.01, 0.5, 1]) {
  test(`choose() never is without an instance, panicShare ${panicShare}`, () => {
    const { fleet, member, choose } = rig({ panicShare });
    fleet.update(three);
    const members = ["a", "b", "c"].map(member);
    eject(fleet, ...members);
    const first = choose();
    assert.ok(members.includes(first));
    assert.notEqual(choose(first), first);
  });
}

test("choose() takes one that it was to already only where there is no other", () => {
  const { fleet, member, choose } = rig();
  fleet.update(three);
  const [a, b, c] = ["a", "b", "c"].map(member) as [Member, Member, Member];
  assert.equal(choose(a), b);
  assert.equal(choose(a, b), c);
  assert.ok([a, b, c].includes(choose(a, b, c)));
});

test("choose() takes one that is ejected before one that it was to already", () => {
  const { fleet, member, choose, seen } = rig();
  fleet.update(three);
  const [a, b, c] = ["a", "b", "c"].map(member) as [Member, Member, Member];
  eject(fleet, c);
  assert.deepEqual(seen([a]), ["b", "c"]);
  assert.equal(choose(a, b), c);
  assert.deepEqual(seen([a, b]), ["c", ""]);
});

test("choose() refuses what the selector was not given", () => {
  const strangers = [candidate(SHOP, "a"), { ...candidate(SHOP, "a") }, undefined, null, {}];
  for (const stranger of strangers) {
    const { fleet } = rig({ selector: () => () => stranger as never });
    fleet.update(three);
    assert.throws(() => fleet.choose(call, new Set()), {
      name: "TypeError",
      message: "Cannot make the call: the selector chose an instance that it was not given",
    });
  }
});

test("choose() refuses one that is ejected, one that left, and one that it was to already", () => {
  let wanted: unknown;
  let pool: Pool | undefined;
  const { fleet } = rig({
    selector(given) {
      pool = given;
      return () => (wanted ?? given.candidates[0]) as never;
    },
  });
  fleet.update(three);
  const a = fleet.choose(call, new Set());
  wanted = a;
  assert.throws(() => fleet.choose(call, new Set([a])), TypeError);
  eject(fleet, a);
  assert.throws(() => fleet.choose(call, new Set()), TypeError);
  wanted = pool!.ejected[0];
  assert.throws(() => fleet.choose(call, new Set()), TypeError);
  wanted = undefined;
  const b = fleet.choose(call, new Set());
  fleet.update([three[0]!, three[2]!]);
  wanted = b;
  assert.throws(() => fleet.choose(call, new Set()), TypeError);
});

test("choose() gives a selector a list that it cannot bring another instance into", () => {
  const { fleet, pools } = rig();
  fleet.update(three);
  fleet.choose(call, new Set());
  assert.throws(() => (pools[0]!.candidates as unknown[]).push(candidate(SHOP, "evil")), TypeError);
  const { fleet: panicking, pools: others, member } = rig();
  panicking.update(three);
  eject(panicking, ...["a", "b", "c"].map(member));
  panicking.choose(call, new Set());
  assert.throws(() => (others.at(-1)!.candidates as unknown[]).push(candidate(SHOP, "evil")), TypeError);
});
