// Whatever somebody on the way does to a stream or a connection: nobody is given a message that was not said, or takes for
// complete what is not.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RpcError } from "../../src/rpc/mod.ts";
import {
  type BlockChange,
  concat,
  flipped,
  httpClient,
  readAll,
  slowly,
  socketClient,
  streaming,
} from "./_streaming.ts";
import { soon } from "../rpc/_rig.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const LETTERS = ["a", "b", "c", "d", "e", "f"];
const LOUD = LETTERS.map((each) => each.toUpperCase());

/** What is done to the piece at an index; places are parts of its length, in 1/1,000. */
type Step =
  | { readonly kind: "flip"; readonly at: number; readonly place: number; readonly bit: number }
  | { readonly kind: "drop" | "double" | "hold"; readonly at: number }
  | { readonly kind: "cut" | "grow"; readonly at: number; readonly place: number }
  | { readonly kind: "replay"; readonly at: number; readonly of: number }
  | { readonly kind: "insert"; readonly at: number; readonly bytes: Uint8Array };

const at = fc.nat({ max: 6 });
const place = fc.nat({ max: 999 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at, place, bit: fc.nat({ max: 7 }) }),
  fc.record({ kind: fc.constantFrom("drop" as const, "double" as const, "hold" as const), at }),
  fc.record({ kind: fc.constantFrom("cut" as const, "grow" as const), at, place }),
  fc.record({ kind: fc.constant("replay" as const), at, of: at }),
  fc.record({ kind: fc.constant("insert" as const), at, bytes: fc.uint8Array({ minLength: 1, maxLength: 60 }) }),
);
const steps = fc.array(step, { minLength: 1, maxLength: 3 });

/** Carries the steps out, and keeps what went in and what came out. */
function tampering(all: readonly Step[]) {
  const said: Bytes[] = [];
  const given: Bytes[] = [];
  let held: Bytes[] = [];
  const pass = (piece: Bytes, index: number): readonly Bytes[] => {
    said.push(piece);
    const late = held;
    held = [];
    const out = [...all.filter((each) => each.at === index).reduce(applied, [piece]), ...late];
    given.push(...out);
    return out;
  };
  return { said, given, pass };

  function applied(pieces: readonly Bytes[], each: Step): readonly Bytes[] {
    const [first, ...more] = pieces;
    if (first === undefined) return [];
    const placeOf = ({ place }: { readonly place: number }) => Math.floor(place * first.length / 1_000);
    switch (each.kind) {
      case "flip":
        return first.length === 0 ? pieces : [flipped(first, placeOf(each), 1 << each.bit), ...more];
      case "drop":
        return more;
      case "double":
        return [first, first, ...more];
      case "hold":
        held.push(first);
        return more;
      case "cut":
        return [first.slice(0, placeOf(each)), ...more];
      case "grow":
        return [concat(first, new Uint8Array(1 + each.place % 20)), ...more];
      case "replay":
        return [said[each.of] ?? first, first, ...more];
      case "insert":
        return [each.bytes.slice() as Bytes, first, ...more];
    }
  }
}

const code = (error: unknown) => error instanceof RpcError ? error.code : `no RpcError: ${error}`;
const startsWith = (whole: Bytes, start: Bytes) => start.every((byte, index) => whole[index] === byte);
const runs = { numRuns: 60 };

test("T4.1 any tampering with a stream's answer ends it where it begins", async () => {
  const it = await streaming();
  const { client, between } = httpClient(it);
  await client.up(slowly("warm"));
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const { said, given, pass } = tampering(all);
      between.response = (piece, index) => piece ? pass(piece as Bytes, index) : [];
      const { texts, error } = await soon(readAll(client.down({ text: "abcdef" })));
      assert.deepEqual(texts, LETTERS.slice(0, texts.length));
      // What comes after the end is nobody's business.
      if (said.length === LETTERS.length + 1 && startsWith(concat(...given), concat(...said))) return;
      assert.equal(code(error), "unavailable");
    }),
    runs,
  );
});

test("T4.1 any tampering with a stream's request ends it where it begins", async () => {
  const it = await streaming();
  const { client, between } = httpClient(it);
  await client.up(slowly("warm"));
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      it.handled.length = 0;
      const { said, given, pass } = tampering(all);
      between.request = ((piece, index) => piece ? pass(piece as Bytes, index) : []) as BlockChange;
      const outcome = await soon(
        client.up(slowly(...LETTERS)).then(({ text }) => text, (error) => ({ error: error as unknown })),
      );
      const { texts, whole } = it.handled[0]!;
      assert.deepEqual(texts, LETTERS.slice(0, texts.length));
      if (said.length === LETTERS.length + 1 && startsWith(concat(...given), concat(...said))) return;
      assert.equal(whole, false);
      assert.ok(typeof outcome === "object" && outcome.error instanceof RpcError, String(outcome));
    }),
    runs,
  );
});

for (const direction of ["toServer", "toClient"] as const) {
  test(`T4.1 any tampering with a connection's messages ${direction} ends it where it begins`, async () => {
    const it = await streaming();
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const { client, net, transport } = socketClient(it);
        await client.up(slowly("warm"));
        it.handled.length = 0;
        const { said, given, pass } = tampering(all);
        let index = 0;
        const lane = net.wires[0]![direction];
        lane.tamper = (message) => typeof message === "string" ? [message] : pass(message, index++);
        const { texts, error } = await soon(readAll(client.both(slowly(...LETTERS), { timeoutMs: 300 })));
        await transport[Symbol.asyncDispose]();
        assert.deepEqual(texts, LOUD.slice(0, texts.length));
        for (const each of it.handled) assert.deepEqual(each.texts, LETTERS.slice(0, each.texts.length));
        const isHonest = given.length >= said.length && said.every((each, place) => given[place] === each);
        if (isHonest) return;
        // What nothing came after was not noticed, and is like a connection that is slow: the deadline tells.
        if (error === undefined) assert.deepEqual(texts, LOUD);
        else assert.ok(["unavailable", "deadline_exceeded"].includes(code(error)), code(error));
        const firstWrong = said.findIndex((each, place) => given[place] !== each);
        if (given.length > firstWrong && firstWrong < LETTERS.length) {
          assert.equal(code(error), "unavailable");
          const { closes } = net.wires[0]!;
          const by = direction === "toServer" ? "server" : "client";
          assert.ok(closes[0]!.by === by && [4400, 4401].includes(closes[0]!.code), JSON.stringify(closes));
        }
      }),
      runs,
    );
  });
}
