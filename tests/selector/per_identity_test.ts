import { perIdentity, type Weighted } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, pool, several } from "./_pool.ts";

const [A, B] = ["spiffe://example.org/a", "spiffe://example.org/b"];
const call = callOf();

/** Notes what it may choose from, and chooses the last. */
function watched() {
  const seen: (readonly Weighted[])[] = [];
  const selector = perIdentity((items) => {
    seen.push(items);
    return () => items.at(-1)!;
  });
  const names = () => seen.map((items) => items.map(({ name }) => name));
  return { seen, selector, names };
}

test("perIdentity() chooses an identity first, each once, and then one of its instances", () => {
  const { selector, names } = watched();
  const candidates = [candidate(A, "1"), candidate(B, "1"), candidate(A, "2"), candidate(B, "2"), candidate(B, "3")];
  assert.equal(selector(pool(candidates))(call), candidates[4]);
  assert.deepEqual(names(), [[`${A}#1`, `${A}#2`], [`${B}#1`, `${B}#2`, `${B}#3`], [A, B]]);
});

test("perIdentity() chooses an identity otherwise than an instance where it is told to", () => {
  const asked: (readonly string[])[] = [];
  const note = (items: readonly Weighted[]) => asked.push(items.map(({ name }) => name));
  const selector = perIdentity(
    (items) => (note(items), () => items.at(-1)!),
    (items) => (note(items), () => items[0]!),
  );
  const candidates = [candidate(A, "1"), candidate(A, "2"), candidate(B, "1"), candidate(B, "2")];
  assert.equal(selector(pool(candidates))(call), candidates[1]);
  assert.deepEqual(asked, [[`${A}#1`, `${A}#2`], [`${B}#1`, `${B}#2`], [A, B]]);
  assert.equal(selector(pool(candidates.slice(2)))(call), candidates[3], "one identity is no choice");
  assert.deepEqual(asked.slice(3), [[`${B}#1`, `${B}#2`]]);
});

test("perIdentity() asks for no choice among one", () => {
  const { selector, names } = watched();
  const only = candidate(A, "1");
  assert.equal(selector(pool([only]))(call), only);
  assert.deepEqual(names(), []);
  const three = several(3, A);
  assert.equal(selector(pool(three))(call), three[2]);
  assert.deepEqual(names(), [three.map(({ instance }) => instance.name)]);
});

test("perIdentity() gives an identity the largest weight of its instances, not their sum", () => {
  const { selector, seen } = watched();
  const light = several(1_000, A, { weight: 3 });
  selector(pool([...light, candidate(A, "heavy", { weight: 40 }), candidate(B, "1", { weight: 7 })]));
  assert.deepEqual(seen.at(-1)!.map(({ weight }) => weight), [40, 7]);
  selector(pool([...several(3, A, { weight: 1 }), candidate(B, "1")]));
  assert.deepEqual(seen.at(-1)!.map(({ weight }) => weight), [1, 100]);
});

test("perIdentity() counts what all instances of an identity are answering, at the time of the call", () => {
  const { selector, seen } = watched();
  const [one, two, other] = [candidate(A, "1", { inFlight: 1 }), candidate(A, "2"), candidate(B, "1", { inFlight: 4 })];
  selector(pool([one, two, other]));
  const loads = () => seen.at(-1)!.map(({ load }) => load);
  assert.deepEqual(loads(), [1, 4]);
  Object.assign(two, { inFlight: 5 });
  Object.assign(other, { inFlight: 0 });
  assert.deepEqual(loads(), [6, 0]);
});

test("perIdentity() does not take an identity for another that begins alike", () => {
  const { selector, seen } = watched();
  selector(pool([candidate(A, "1"), candidate(`${A}/more`, "1"), candidate(`${A}#1`, "")]));
  assert.equal(seen.at(-1)!.length, 3);
});
