// Who attacks wants to know which instance a call goes to, or to decide it.
import { leastLoaded, random, rendezvous, roundRobin, sameRegionFirst, type Selector } from "../../src/selector/mod.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import assert from "node:assert/strict";
import { test } from "node:test";
import { callOf, candidate, pool, several } from "../selector/_pool.ts";
import { chiSquare, chiSquareLimit, counted, sigmas } from "../selector/_stats.ts";

const SHOP = "spiffe://example.org/shop";
const CALLS = 20_000;
const itemOf = ({ message }: { readonly message: unknown }) => (message as { readonly item: string }).item;
/** The real chance in all of these: together they fail by chance in less than one of 100 runs. */
const SELECTORS: Readonly<Record<string, () => Selector>> = {
  random: () => random(),
  leastLoaded: () => leastLoaded(),
  sameRegionFirst: () => sameRegionFirst(random(), { region: "eu" }),
};

for (const [name, make] of Object.entries(SELECTORS)) {
  test(`T6.1 T6.2 what ${name}() chose says nothing of what it chooses next`, () => {
    const n = 8;
    const pick = make()(pool(several(n)));
    const chosen = Array.from({ length: CALLS + 1 }, () => Number(pick(callOf()).instance.id.slice(1)));
    const pairs = new Uint32Array(n * n);
    for (let i = 0; i < CALLS; i++) pairs[chosen[i]! * n + chosen[i + 1]!]!++;
    assert.ok(chiSquare(pairs, CALLS / n ** 2) < chiSquareLimit(n ** 2 - 1), "pairs");
    // An attacker that learned from the first half what mostly comes after two choices guesses no better in the second.
    const learned = new Map<number, Uint32Array>();
    let guessed = 0;
    for (let i = 2; i < chosen.length; i++) {
      const seen = chosen[i - 2]! * n + chosen[i - 1]!;
      const counts = learned.get(seen) ?? new Uint32Array(n);
      learned.set(seen, counts);
      if (i > CALLS / 2 && counts.indexOf(Math.max(...counts)) === chosen[i]) guessed++;
      counts[chosen[i]!]!++;
    }
    assert.ok(sigmas(guessed, CALLS / 2, 1 / n) < 4, `${guessed} of ${CALLS / 2} guessed`);
  });
}

test("T6.1 T6.2 two clients that begin at the same moment choose differently", () => {
  for (const make of [...Object.values(SELECTORS), () => roundRobin()]) {
    const run = () => {
      const starts = Array.from({ length: 40 }, () => make()(pool(several(8)))(callOf()).instance.id);
      return starts.join();
    };
    assert.notEqual(run(), run());
  }
});

test("T6.1 T6.2 no selector asks Math.random or the clock", () => {
  const kept = [Reflect.get(Math, "random"), Date.now, performance.now] as const;
  const fail = () => assert.fail("it was asked");
  try {
    Object.assign(Math, { random: fail });
    Object.assign(Date, { now: fail });
    performance.now = fail;
    for (const make of [...Object.values(SELECTORS), () => roundRobin(), () => rendezvous(itemOf)]) {
      const pick = make()(pool([...several(4), candidate("spiffe://example.org/other", "i0", { weight: 3 })]));
      for (let i = 0; i < 100; i++) pick(callOf("look", `${i}`));
    }
  } finally {
    Object.assign(Math, { random: kept[0] });
    Object.assign(Date, { now: kept[1] });
    performance.now = kept[2];
  }
});

/** The places of keys as somebody computes them who has to guess the secret. */
function guessedPlace(pick: ReturnType<Selector>, item: string): string {
  return pick(callOf("look", item)).instance.id;
}

test("T6.1 T6.2 keys that are crafted to meet at one instance are spread by a selector with its own secret", () => {
  const candidates = several(10);
  const attacker = rendezvous(itemOf, { secret: new Uint8Array(32) })(pool(candidates));
  const crafted = Array.from({ length: 20_000 }, (_, i) => `key-${i}`)
    .filter((key) => guessedPlace(attacker, key) === "i0");
  assert.ok(crafted.length > 1_500, "crafting works under a secret that is known");
  const pick = rendezvous(itemOf)(pool(candidates));
  const counts = counted(crafted.length, (i) => guessedPlace(pick, crafted[i]!));
  assert.equal(counts.size, 10);
  assert.ok(chiSquare(counts.values(), crafted.length / 10) < chiSquareLimit(9), `${[...counts.values()]}`);
});

test("T6.1 T6.2 an instance id that was ground for a key set wins no more of it than any other, under any secret", () => {
  const keys = Array.from({ length: 10 }, (_, i) => `key-${i}`);
  const place = (label: string, text: string) => {
    const bytes = sha256(new TextEncoder().encode(`${label}\0${text}`));
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  };
  const score = (name: number, key: number) => Math.imul((name ^ key) ^ ((name ^ key) >>> 15), 0x85ebca6b) >>> 0;
  const hashes = keys.map((key) => place("key", key));
  const toBeat = hashes.map((key) =>
    Math.max(...several(9).map(({ instance }) => score(place("", instance.name), key)))
  );
  let best = { id: "", wins: -1 };
  for (let i = 0; i < GROUND_IDS; i++) {
    const hash = place("", `${SHOP}#g${i}`);
    const wins = hashes.filter((key, at) => score(hash, key) > toBeat[at]!).length;
    if (wins > best.wins) best = { id: `g${i}`, wins };
  }
  assert.ok(best.wins >= 5, `it would win ${best.wins} of 10 keys under a public hash`);
  const candidates = [...several(9), candidate(SHOP, best.id)];
  let captured = 0;
  for (let round = 0; round < 400; round++) {
    const pick = rendezvous(itemOf)(pool(candidates));
    for (const key of keys) if (guessedPlace(pick, key) === best.id) captured++;
  }
  assert.ok(sigmas(captured, 4_000, 0.1) < 4, `captured ${captured} of 4000`);
});

const GROUND_IDS = 100_000;
