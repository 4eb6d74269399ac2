import { nobleHash } from "../../src/internal/hash.ts";
import { sessionChannel } from "../../src/auth/session_channel.ts";
import { type Channel, RpcError } from "../../src/rpc/mod.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const KEYS = { client: new Uint8Array(32).fill(1), server: new Uint8Array(32).fill(2) };

function channels(signature = "s=:one:", keys = KEYS, assertHolds?: () => void): { client: Channel; server: Channel } {
  const terms = { keys, signature, hash: nobleHash() };
  return {
    client: sessionChannel({ ...terms, side: "client" }),
    server: sessionChannel({ ...terms, side: "server", ...assertHolds && { assertHolds } }),
  };
}

interface Block {
  readonly block: Uint8Array;
  readonly proof: Uint8Array;
}

const bytes = (...values: number[]) => new Uint8Array(values);
const sealed = (channel: Channel, blocks: readonly Uint8Array[]): Block[] =>
  blocks.map((block) => ({ block: block.slice(), proof: channel.seal(block).slice() }));

/** How many blocks one side takes before it refuses one; it refuses all that follow. */
function taken(channel: Channel, blocks: readonly Block[]): number {
  let count = 0;
  let isOver = false;
  for (const { block, proof } of blocks) {
    try {
      channel.open(block, proof);
      assert.equal(isOver, false, "it opened again after a refusal");
      count++;
    } catch (error) {
      assert.ok(error instanceof RpcError && error.code === "unavailable");
      isOver = true;
    }
  }
  return count;
}

const THREE = [bytes(1, 2, 3), bytes(), bytes(4)];

describe("sessionChannel()", () => {
  test("sessionChannel() carries blocks both ways, independently of each other", () => {
    const { client, server } = channels();
    const up = sealed(client, THREE);
    const down = sealed(server, [bytes(9), bytes(9)]);
    assert.equal(taken(client, down), 2);
    assert.equal(taken(server, up), 3);
    for (const { proof } of up) assert.equal(proof.length, 16);
  });

  test("sessionChannel() carries blocks that are longer than its buffer, and short ones after them", () => {
    const { client, server } = channels();
    const blocks = [10, 4_080, 4_081, 70_000, 3, 0].map((length) => new Uint8Array(length).fill(7));
    assert.equal(taken(server, sealed(client, blocks)), blocks.length);
  });

  const tamperings: readonly [title: string, tamper: (blocks: Block[]) => Block[], taken: number][] = [
    ["a changed block", ([a, b, c]) => [a!, { ...b!, block: bytes(0) }, c!], 1],
    ["a block with a byte more", ([a, b, c]) => [{ ...a!, block: bytes(1, 2, 3, 0) }, b!, c!], 0],
    ["a block with a byte less", ([a, b, c]) => [{ ...a!, block: bytes(1, 2) }, b!, c!], 0],
    ["a dropped block", ([a, , c]) => [a!, c!], 1],
    ["a dropped first block", ([, b, c]) => [b!, c!], 0],
    ["swapped blocks", ([a, b, c]) => [a!, c!, b!], 1],
    ["a repeated block", ([a, b, c]) => [a!, a!, b!, c!], 1],
    ["a repeated last block", ([a, b, c]) => [a!, b!, c!, c!], 3],
    ["an inserted block", ([a, b, c]) => [a!, { block: bytes(5), proof: b!.proof }, b!, c!], 1],
    ["two blocks as one", ([a, b, c]) => [{ block: bytes(1, 2, 3), proof: b!.proof }, a!, c!], 0],
    ["swapped proofs", ([a, b, c]) => [{ ...a!, proof: b!.proof }, { ...b!, proof: a!.proof }, c!], 0],
    ["an empty proof", ([a]) => [{ ...a!, proof: bytes() }], 0],
    ["a proof of 15 bytes", ([a]) => [{ ...a!, proof: a!.proof.slice(0, 15) }], 0],
    ["a proof of 17 bytes", ([a]) => [{ ...a!, proof: new Uint8Array([...a!.proof, 0]) }], 0],
    ["a proof of zeros", ([a]) => [{ ...a!, proof: new Uint8Array(16) }], 0],
  ];
  for (const [title, tamper, count] of tamperings) {
    test(`Channel.open() refuses ${title}, and all that follows`, () => {
      const { client, server } = channels();
      assert.equal(taken(server, tamper(sealed(client, THREE))), count);
    });
  }

  for (let bit = 0; bit < 128; bit += 9) {
    test(`Channel.open() refuses a proof whose bit ${bit} is another`, () => {
      const { client, server } = channels();
      const [first] = sealed(client, THREE) as [Block];
      first.proof[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(taken(server, [first]), 0);
    });
  }

  test("Channel.open() refuses a side's own blocks", () => {
    const { client, server } = channels();
    assert.equal(taken(client, sealed(client, THREE)), 0);
    assert.equal(taken(server, sealed(server, THREE)), 0);
  });

  test("Channel.open() refuses blocks of another stream under the same session, from the first and in the middle", () => {
    const [one, two] = [channels("s=:one:"), channels("s=:two:")];
    const [first, second] = [sealed(one.client, THREE), sealed(two.client, THREE)];
    assert.equal(taken(two.server, first), 0);
    assert.equal(taken(one.server, [first[0]!, second[1]!, first[2]!]), 1);
  });

  test("Channel.open() refuses blocks of a stream that began the same under another session", () => {
    const other = { client: KEYS.client.slice().fill(3), server: KEYS.server };
    assert.equal(taken(channels().server, sealed(channels("s=:one:", other).client, THREE)), 0);
  });

  test("Channel.open() takes what was sent and nothing else, whatever is done to it", () => {
    const blocks = fc.array(fc.uint8Array({ maxLength: 8 }), { minLength: 1, maxLength: 6 });
    const act = fc.record({
      what: fc.constantFrom("flip", "drop", "repeat", "swap", "insert", "reflect", "splice", "cut", "proof"),
      at: fc.nat(),
      to: fc.nat(),
    });
    fc.assert(
      fc.property(blocks, fc.array(act, { minLength: 1, maxLength: 3 }), (sent, acts) => {
        const [one, two] = [channels("s=:one:"), channels("s=:two:")];
        const [own, mirrored, foreign] = [one.client, one.server, two.client].map((each) => sealed(each, sent));
        let wire = own!;
        for (const { what, at, to } of acts) {
          wire = tampered(wire, what, { at, to, mirrored: mirrored!, foreign: foreign! });
        }
        const isWhole = (each: Block, i: number) =>
          own![i] !== undefined && String(each.block) === String(own![i]!.block) &&
          String(each.proof) === String(own![i]!.proof);
        const wrong = wire.findIndex((each, i) => !isWhole(each, i));
        assert.equal(taken(channels("s=:one:").server, wire), wrong < 0 ? wire.length : wrong);
      }),
      { numRuns: 400 },
    );
  });
});

function tampered(
  wire: readonly Block[],
  what: string,
  { at, to, mirrored, foreign }: { at: number; to: number; mirrored: readonly Block[]; foreign: readonly Block[] },
): Block[] {
  const all: Block[] = wire.map(({ block, proof }) => ({ block: block.slice(), proof: proof.slice() }));
  if (all.length === 0) return all;
  const [i, j] = [at % all.length, to % all.length];
  const each = all[i]!;
  if (what === "flip" && each.block.length > 0) each.block[to % each.block.length]! ^= 1 + to % 255;
  if (what === "proof") each.proof[to % 16]! ^= 1 + to % 255;
  if (what === "drop") all.splice(i, 1);
  if (what === "repeat") all.splice(i, 0, all[j]!);
  if (what === "swap") [all[i], all[j]] = [all[j]!, all[i]!];
  if (what === "insert") all.splice(i, 0, { block: bytes(to % 256), proof: all[j]!.proof });
  if (what === "reflect") all[i] = mirrored[to % mirrored.length]!;
  if (what === "splice") all[i] = foreign[to % foreign.length]!;
  if (what === "cut") all.length = i;
  return all;
}

describe("a channel whose tokens have ended", () => {
  const ended = () => {
    throw new RpcError("unauthenticated", "What the stream was opened with was revoked");
  };

  test("Channel.open() says so, after a whole block, and what is said of it is sealed", () => {
    let holds = () => {};
    const { client, server } = channels("s=:one:", KEYS, () => holds());
    const [first, second] = sealed(client, THREE) as [Block, Block];
    server.open(first.block, first.proof);
    holds = ended;
    const isUnauthenticated = (error: unknown) => error instanceof RpcError && error.code === "unauthenticated";
    assert.throws(() => server.open(second.block, second.proof), isUnauthenticated);
    assert.equal(taken(client, sealed(server, THREE)), 3);
  });

  test("Channel.open() says nothing of them to who sends a block that is not the next", () => {
    const { server } = channels("s=:one:", KEYS, ended);
    assert.throws(
      () => server.open(bytes(1), new Uint8Array(16)),
      (error: unknown) => error instanceof RpcError && error.code === "unavailable",
    );
  });
});
