// How a fleet tries instances again, and compares them.
import type { Member } from "../../src/selector/fleet.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { eject, ended, probed, rig, three } from "./_fleet.ts";

test("probe() gives nobody while nobody is ejected, nor before it is time", () => {
  const { fleet, now, member } = rig();
  fleet.update(three);
  now.pass(100_000);
  assert.equal(fleet.probe(true), undefined);
  eject(fleet, member("a"));
  now.pass(999);
  assert.equal(fleet.probe(true), undefined);
});

test("probe() gives one ejected instance after the other, each once at a time", () => {
  const { fleet, now, member } = rig();
  fleet.update(three);
  eject(fleet, ...["a", "b"].map(member));
  now.pass(1_000);
  const tried = [fleet.probe(true), fleet.probe(true), fleet.probe(true)];
  assert.deepEqual(tried.map((each) => each?.instance.id), ["a", "b", undefined]);
});

test("probe() waits for twice as long with a call that cannot be made elsewhere", () => {
  const { fleet, now, member } = rig();
  fleet.update(three);
  eject(fleet, member("a"));
  now.pass(1_999);
  assert.equal(fleet.probe(false), undefined);
  now.pass(1);
  assert.equal(fleet.probe(false)?.instance.id, "a");
});

test("probe() gives the instance again later when the probe failed, or said nothing", () => {
  const { fleet, now, member } = rig();
  fleet.update(three);
  eject(fleet, member("a"));
  now.pass(1_000);
  fleet.observe(fleet.probe(true)!, probed("none"));
  const again = fleet.probe(true)!;
  assert.equal(again.instance.id, "a");
  fleet.observe(again, probed("failed"));
  now.pass(1_999);
  assert.equal(fleet.probe(true), undefined);
  now.pass(1);
  assert.equal(fleet.probe(true)?.instance.id, "a");
});

test("observe() does not take an older call's end for the probe's", () => {
  for (const older of ["none", "failed", "down"] as const) {
    const { fleet, now, member, seen } = rig();
    fleet.update(three);
    const a = member("a");
    eject(fleet, a);
    now.pass(1_000);
    assert.equal(fleet.probe(true), a);
    fleet.observe(a, ended(older));
    assert.equal(fleet.probe(true), undefined, older);
    fleet.observe(a, probed("fine"));
    assert.deepEqual(seen(), ["abc", ""]);
  }
});

test("observe() ejects who is much slower than the others, compared once in a second", () => {
  const { fleet, now, member, seen } = rig();
  fleet.update(three);
  const [a, b, c] = ["a", "b", "c"].map(member) as [Member, Member, Member];
  const round = () => [a, b, c].forEach((each) => fleet.observe(each, ended("fine", each === c ? 900 : 10)));
  for (let i = 0; i < 20; i++) round();
  assert.deepEqual(seen(), ["abc", ""], "not before a second is over");
  now.pass(1_000);
  fleet.observe(a, ended("fine", 10));
  assert.deepEqual(seen(), ["ab", "c"]);
  now.pass(1_000);
  assert.equal(fleet.probe(true), c);
});

test("observe() compares again only after another second", () => {
  const { fleet, now, member, seen } = rig();
  fleet.update(three);
  const [a, b, c] = ["a", "b", "c"].map(member) as [Member, Member, Member];
  now.pass(1_000);
  fleet.observe(a, ended("fine", 10));
  now.pass(999);
  for (let i = 0; i < 20; i++) [a, b, c].forEach((each) => fleet.observe(each, ended("fine", each === c ? 900 : 10)));
  assert.deepEqual(seen(), ["abc", ""]);
  now.pass(1);
  fleet.observe(b, ended("fine", 10));
  assert.deepEqual(seen(), ["ab", "c"]);
});

test("observe() never ejects all for being slow", () => {
  const { fleet, now, member, seen } = rig({ panicShare: 0 });
  fleet.update(three);
  const members = ["a", "b", "c"].map(member);
  for (let i = 0; i < 100; i++) {
    now.pass(500);
    members.forEach((each, at) => fleet.observe(each, ended("fine", [1, 50_000, 2_000_000][at]!)));
  }
  assert.ok(seen()[0]!.length > 0);
});
