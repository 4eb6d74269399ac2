import { cbor, type Codec, json } from "../../src/codec/mod.ts";
import { utf8 } from "./_bytes.ts";
import { valueOrRefusal } from "./_refusal.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const inputs = 100_000;

/** Another one in each run; to repeat a failed run, put the seed that it printed here. */
const seed = Date.now() >>> 0;

const shared: readonly unknown[] = [
  null,
  'a "quoted" \\ text, {[:]}',
  { id: 1, name: "é水\u{1f600}", tags: ["a", "b"], price: 1.5, none: null, nested: { deep: [[[{}]], []] } },
  [0, -1, 23, 24, 255, 65536, 2 ** 53 - 1, 1 - 2 ** 53, 1.1, -0.5, 1e300, true, false],
  { constructor: { prototype: 1 }, toString: 2, __proto: 3, "a:b,c": "[{" },
  Array.from({ length: 30 }, (_, at) => ({ at, ["k" + at]: "v".repeat(at) })),
];
const messages: Readonly<Record<"json" | "cbor", readonly Uint8Array[]>> = {
  json: [
    ...shared.map((value) => utf8(JSON.stringify(value))),
    utf8('{"a":"\\ud83d\\ude00\\u0000\\\\","__proto_":[9007199254740991,1e17,-0.0e-1]} '),
  ],
  cbor: [
    ...shared,
    { bytes: new Uint8Array(40), at: new Date(1), before: new Date(-1000), "\u{1f600}": [2n ** 60n, -1n, 2n ** 70n] },
    [NaN, Infinity, -0, 2 ** -24, Math.fround(0.1), "a".repeat(300)],
  ].map((value) => cbor().encode(value) as Uint8Array),
};

for (const codec of [json(), cbor()]) {
  describe(`${codec.name}() fuzz`, () => {
    test(`${codec.name}() gives a value or a CodecError for arbitrary bytes`, () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        checkDecode(codec, Uint8Array.from(bytes));
      }));
    });

    test(`${codec.name}() gives a value or a CodecError for ${inputs} mutations of messages`, () => {
      const prototypes = ownNames();
      const random = mulberry32(seed);
      for (let at = 0; at < inputs; at++) {
        const message = messages[codec.name as "json" | "cbor"];
        const input = mutate(message[pick(random, message.length)], random);
        try {
          checkDecode(codec, input);
        } catch (cause) {
          throw new Error(`seed ${seed}, input ${at}: ${Array.from(input)}`, { cause });
        }
      }
      assert.deepEqual(ownNames(), prototypes, `seed ${seed}`);
    });
  });
}

/** What is read must be plain enough to be written, and is then read back as the same value. */
function checkDecode(codec: Codec, bytes: Uint8Array): void {
  const value = valueOrRefusal(() => codec.decode(bytes));
  if (value === undefined) return;
  if (codec.name === "cbor") {
    assert.deepEqual(codec.decode(codec.encode(value) as Uint8Array), value);
    return;
  }
  // A number like 1e17 is read, but its shortest text has no exponent, so it is not written.
  const written = valueOrRefusal(() => codec.encode(value));
  if (written !== undefined) assert.equal(JSON.stringify(codec.decode(utf8(written as string))), JSON.stringify(value));
}

function ownNames(): readonly (readonly PropertyKey[])[] {
  return [Object, Array, String, Number, Date, Uint8Array].map(({ prototype }) => Reflect.ownKeys(prototype));
}

/** Flips, inserts, deletes, repeats or cuts off a few bytes. */
function mutate(message: Uint8Array, random: () => number): Uint8Array {
  const bytes = Array.from(message);
  for (let times = 1 + pick(random, 4); times > 0; times--) {
    const at = pick(random, bytes.length + 1), kind = pick(random, 6);
    if (kind === 0) bytes[at] = bytes[at] ^ 1 << pick(random, 8);
    else if (kind === 1) bytes.splice(at, 1, pick(random, 256));
    else if (kind === 2) bytes.splice(at, 0, pick(random, 256));
    else if (kind === 3) bytes.splice(at, 1 + pick(random, 3));
    else if (kind === 4) bytes.splice(at, 0, ...bytes.slice(at, at + pick(random, 16)));
    else if (pick(random, 8) === 0) bytes.length = at;
  }
  return Uint8Array.from(bytes);
}

function pick(random: () => number, below: number): number {
  return Math.floor(random() * below);
}

/** A small generator with a seed, of public domain, by Tommy Ettinger. */
function mulberry32(state: number): () => number {
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
}
