import { type Candidate, rendezvous } from "../../src/selector/mod.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, identities, pool, several } from "./_pool.ts";
import { chiSquare, chiSquareLimit, counted, sigmas } from "./_stats.ts";

const SHOP = "spiffe://example.org/shop";
const SECRET = new Uint8Array(32).fill(7);
const KEYS = 20_000;
const key = (i: number) => `key-${i}`;
const itemOf = ({ message }: { readonly message: unknown }) => (message as { readonly item: string }).item;
const keyed = (secret = SECRET) => rendezvous(itemOf, { secret });

/** Where each key goes. */
function placed(candidates: readonly Candidate[], count = KEYS, selector = keyed()): string[] {
  const pick = selector(pool(candidates));
  return Array.from({ length: count }, (_, i) => pick(callOf("look", key(i))).instance.name);
}

test("rendezvous() sends a key to the same instance every time, in any order of the instances", () => {
  for (const candidates of [several(9), identities(9), [...several(4), ...identities(5)]]) {
    const places = placed(candidates, 500);
    assert.deepEqual(placed(candidates, 500), places);
    assert.deepEqual(placed([...candidates].reverse(), 500), places);
    assert.ok(new Set(places).size > 1);
  }
});

for (const [what, make] of [["instance", several], ["identity", identities]] as const) {
  test(`rendezvous() moves only the keys of an ${what} that left, and gives all of them back`, () => {
    const selector = keyed();
    const candidates = make(8);
    const before = placed(candidates, 4_000, selector);
    const gone = candidates[3]!.instance.name;
    const without = placed(candidates.filter(({ instance }) => instance.name !== gone), 4_000, selector);
    without.forEach((name, i) => before[i] === gone ? assert.notEqual(name, gone) : assert.equal(name, before[i]));
    const takenOver = new Set(without.filter((_, i) => before[i] === gone));
    assert.equal(takenOver.size, 7, "its keys go to all that are left");
    assert.deepEqual(placed(candidates, 4_000, selector), before);
  });
}

test("rendezvous() moves only keys from an instance that weighs less than before", () => {
  const weigh = (weight: number) =>
    several(5).map((each, i) => candidate(SHOP, each.instance.id, { weight: i === 2 ? weight : 80 }));
  const [before, after] = [placed(weigh(80)), placed(weigh(20))];
  after.forEach((name, i) => name !== before[i] && assert.equal(before[i], `${SHOP}#i2`));
});

test("rendezvous() places keys in proportion to the weights", () => {
  const weights = [1, 9, 40, 50, 100];
  const places = placed(weights.map((weight, i) => candidate(SHOP, `i${i}`, { weight })));
  weights.forEach((weight, i) => {
    const count = places.filter((name) => name === `${SHOP}#i${i}`).length;
    assert.ok(Math.abs(sigmas(count, KEYS, weight / 200)) < 4, `weight ${weight}: ${count}`);
  });
});

test("rendezvous() remembers at most 16,384 places, and finds those that it forgot again", () => {
  const { set } = Map.prototype;
  let most = 0;
  Map.prototype.set = function (this: Map<unknown, unknown>, name, value) {
    const map = Reflect.apply(set, this, [name, value]);
    if (typeof name === "string" && name.startsWith("key-")) most = Math.max(most, this.size);
    return map;
  };
  try {
    const selector = keyed();
    const before = placed(several(5), 1_000, selector);
    placed(several(5), 40_000, selector);
    assert.deepEqual(placed(several(5), 1_000, selector), before);
  } finally {
    Map.prototype.set = set;
  }
  // Where it remembers otherwise than in a map, this test has to look elsewhere.
  assert.ok(most > 0 && most <= 16_384, `${most} were remembered`);
});

test("rendezvous() agrees with another selector of the same secret", () => {
  assert.deepEqual(placed(several(9), 500, keyed()), placed(several(9), 500, keyed(new Uint8Array(32).fill(7))));
});

test("rendezvous() places keys elsewhere under another secret, and by itself under one of its own", () => {
  const selectors = [keyed(), keyed(new Uint8Array(32).fill(8)), rendezvous(itemOf), rendezvous(itemOf)];
  const places = selectors.map((selector) => placed(several(10), 5_000, selector));
  for (let i = 0; i < selectors.length; i++) {
    for (let j = 0; j < i; j++) {
      const same = places[i]!.filter((name, at) => name === places[j]![at]).length;
      assert.ok(Math.abs(sigmas(same, 5_000, 0.1)) < 5, `${i} and ${j} agree on ${same} of 5000`);
    }
  }
});

test("rendezvous() uses the first and the last bit of the secret", () => {
  const places = placed(several(10), 200);
  for (const [at, bit] of [[0, 128], [31, 1]] as const) {
    const changed = SECRET.slice();
    changed[at]! ^= bit;
    assert.notDeepEqual(placed(several(10), 200, keyed(changed)), places, `byte ${at}`);
  }
});

test("rendezvous() goes on with the secret that it was given, also where that is wiped before the first call", () => {
  const secret = SECRET.slice();
  const selector = keyed(secret);
  secret.fill(0);
  assert.deepEqual(placed(several(10), 200, selector), placed(several(10), 200));
});

test("rendezvous() refuses a secret that has not 32 bytes", () => {
  for (const bytes of [0, 1, 31, 33, 64]) {
    assert.throws(() => rendezvous(itemOf, { secret: new Uint8Array(bytes) }), {
      name: "RangeError",
      message: "Cannot place calls: the secret must have 32 bytes",
    });
  }
});

for (const [from, to] of [[2, 24], [25, 46], [47, 64]] as const) {
  test(`rendezvous() places sequential keys evenly over ${from} to ${to} sequential names`, () => {
    const many = 3_200;
    for (let n = from; n <= to; n++) {
      const places = placed(several(n), many);
      const counts = counted(many, (i) => places[i]!);
      assert.equal(counts.size, n);
      assert.ok(chiSquare(counts.values(), many / n) < chiSquareLimit(n - 1), `n = ${n}: ${[...counts.values()]}`);
    }
  });
}

test("rendezvous() places keys that differ in one bit as independently as any two", () => {
  const pick = keyed()(pool(several(16)));
  const at = (text: string) => pick(callOf("look", text)).instance.name;
  for (let bit = 0; bit < 4; bit++) {
    const flip = (text: string) =>
      text.slice(0, -1) + String.fromCharCode(text.charCodeAt(text.length - 1) ^ (1 << bit));
    let same = 0;
    for (let i = 0; i < 2_000; i++) if (at(key(i)) === at(flip(key(i)))) same++;
    assert.ok(Math.abs(sigmas(same, 2_000, 1 / 16)) < 4, `bit ${bit}: ${same}`);
  }
});

test("rendezvous() gives the second place of a key to each of the others as often", () => {
  const candidates = several(6);
  const places = placed(candidates);
  const left = places.flatMap((name, i) => name === candidates[0]!.instance.name ? [i] : []);
  const after = placed(candidates.slice(1));
  const counts = counted(left.length, (i) => after[left[i]!]!);
  assert.ok(chiSquare(counts.values(), left.length / 5) < chiSquareLimit(4), `${[...counts.values()]}`);
});

test("rendezvous() places keys by identity and instance independently", () => {
  const candidates = identities(4).flatMap(({ instance }) => several(4, instance.identity));
  const places = placed(candidates);
  const counts = counted(KEYS, (i) => places[i]!);
  assert.equal(counts.size, 16);
  assert.ok(chiSquare(counts.values(), KEYS / 16) < chiSquareLimit(15), `${[...counts.values()]}`);
});

/** What an attacker can compute without the secret: the same functions under a secret that it guesses. */
function publicPlace(label: string, text: string, secret = new Uint8Array(64)): readonly [number, number] {
  const bytes = sha256.create().update(secret).update(new TextEncoder().encode(`${label}\0${text}`)).digest();
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [view.getInt32(0), view.getInt32(4)];
}

function publicMeet(name: readonly [number, number], key: readonly [number, number]): number {
  let mixed = Math.imul(name[0] ^ key[0], 0x9e3779b1) ^ name[1] ^ key[1];
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

test("rendezvous() gives the one best of 100,000 ground ids at most its share under secrets that it does not know", () => {
  const keys = Array.from({ length: 10 }, (_, i) => publicPlace("key", key(i)));
  const toBeat = keys.map((each) =>
    Math.max(...several(9).map(({ instance }) => publicMeet(publicPlace("name", instance.name), each)))
  );
  let best = { id: "", wins: -1 };
  for (let i = 0; i < GROUND_IDS; i++) {
    const place = publicPlace("name", `${SHOP}#g${i}`);
    const wins = keys.filter((each, at) => publicMeet(place, each) > toBeat[at]!).length;
    if (wins > best.wins) best = { id: `g${i}`, wins };
  }
  const guessed = keyed(new Uint8Array(32))(pool([...several(9), candidate(SHOP, best.id)]));
  const won = keys.filter((_, i) => guessed(callOf("look", key(i))).instance.id === best.id).length;
  assert.equal(won, best.wins, "the functions of this test are those of the selector");
  assert.ok(best.wins >= 6, `it would win ${best.wins} of 10 keys where there is no secret`);
  const candidates = [...several(9), candidate(SHOP, best.id)];
  let captured = 0;
  for (let round = 0; round < 200; round++) {
    const pick = keyed(new Uint8Array(32).fill(round))(pool(candidates));
    for (let i = 0; i < keys.length; i++) if (pick(callOf("look", key(i))).instance.id === best.id) captured++;
  }
  assert.ok(sigmas(captured, 2_000, 0.1) <= 3, `captured ${captured} of 2000`);
});

/** How many ids the attacker tries. */
const GROUND_IDS = 100_000;
