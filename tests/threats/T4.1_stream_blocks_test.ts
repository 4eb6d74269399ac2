// Somebody on the way changes the bodies of streams over HTTPS, block by block, in either direction: what is behind a change
// reaches nobody, whatever it is.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RpcError } from "../../src/rpc/mod.ts";
import {
  type BlockChange,
  blockOf,
  concat,
  flipped,
  httpClient,
  readAll,
  slowly,
  streaming,
  type StreamsClient,
} from "./_streaming.ts";
import { gate, soon } from "../rpc/_rig.ts";

const LETTERS = ["a", "b", "c", "d", "e", "f"];
/** The block that an attack begins with. */
const AT = 2;

const envelopeOf = (text: string, flags = 0): Uint8Array => {
  const block = blockOf(new TextEncoder().encode(text));
  block[0] = flags;
  return block;
};
const only = (block: Uint8Array | undefined): readonly Uint8Array[] => block ? [block] : [];

/** Changes one block. */
const inPlace = (change: (block: Uint8Array) => readonly Uint8Array[] | "cut"): BlockChange => (block, index) =>
  block && index === AT ? change(block) : only(block);

/** What becomes of a block; `seen` is how many messages before it are in their places. */
const ATTACKS: readonly (readonly [name: string, change: () => BlockChange, seen?: number])[] = [
  ["a block whose first bit is turned", () => inPlace((block) => [flipped(block, 0)])],
  ["a block that says it is an envelope", () => inPlace((block) => [flipped(block, 0, 0x80)])],
  ["a block whose length is one less", () => inPlace((block) => [flipped(block, 4)])],
  ["a block whose length is one more", () => inPlace((block) => [flipped(block, 4, 1), Uint8Array.of(0)])],
  ["a block that is said to be of 4 GiB", () => inPlace((block) => [flipped(block, 1, 0xff)])],
  ["another flag in an envelope", () => inPlace((block) => [flipped(block, 5, 2)])],
  ["another length of an envelope", () => inPlace((block) => [flipped(block, 9)])],
  ["another message", () => inPlace((block) => [flipped(block, 19)])],
  ["another proof", () => inPlace((block) => [flipped(block, block.length - 1, 0x80)])],
  ["a proof of zeros", () => inPlace((block) => [concat(block.slice(0, -16), new Uint8Array(16))])],
  ["no proof", () => inPlace((block) => [blockOf(block.slice(5, -16))])],
  ["a proof cut short", () => inPlace((block) => [blockOf(block.slice(5, -1))])],
  ["a proof that is longer", () => inPlace((block) => [blockOf(concat(block.slice(5), Uint8Array.of(0)))])],
  ["a block of nothing", () => inPlace((block) => [blockOf(new Uint8Array()), block])],
  ["an empty block that proves nothing", () => inPlace((block) => [blockOf(new Uint8Array(16)), block])],
  ["an envelope without a block", () => inPlace((block) => [block.slice(5, -16), block])],
  ["an end without a block", () => inPlace(() => [envelopeOf("{}", 2)])],
  [
    "an end in a block of somebody else",
    () => inPlace(() => [blockOf(concat(envelopeOf("{}", 2), new Uint8Array(16)))]),
  ],
  ["a block left out", () => inPlace(() => [])],
  ["a block twice", () => inPlace((block) => [block, block]), AT + 1],
  ["the first block once more", () => {
    let first: Uint8Array | undefined;
    return (block, index) => {
      first ??= block;
      return index === AT ? [first!, block!] : only(block);
    };
  }],
  ["two blocks in each other's place", () => {
    let held: Uint8Array | undefined;
    return (block, index) => {
      if (index === AT) return (held = block, []);
      return index === AT + 1 ? [block!, held!] : only(block);
    };
  }],
  ["two blocks made one", () => {
    let held: Uint8Array | undefined;
    return (block, index) => {
      if (index === AT) return (held = block, []);
      return index === AT + 1 ? [blockOf(concat(held!.slice(5, -16), block!.slice(5)))] : only(block);
    };
  }],
  ["its end cut off", () => (_, index) => index === AT ? "cut" : only(_)],
  [
    "its end cut off within a block",
    () => (block, index) =>
      index < AT ? only(block) : index === AT ? [block!.slice(0, 10)] : index === AT + 1 ? "cut" : [],
  ],
  ["its last block left out", () => {
    let held: Uint8Array | undefined;
    return (block) => {
      const before = held;
      held = block;
      return block ? only(before) : [];
    };
  }, LETTERS.length],
  [
    "more after its end",
    () => (block, index) => block ? [block] : index > AT ? [Uint8Array.of(0)] : [],
    LETTERS.length,
  ],
];

/** What comes after the end is not needed by anybody: the call may have been answered. */
const LATE = "more after its end";

async function opened() {
  const it = await streaming();
  const http = httpClient(it);
  assert.deepEqual(await http.client.up(slowly("warm")), { text: "warm" });
  it.handled.length = 0;
  return { ...it, ...http };
}

const codeOf = (error: unknown): string => error instanceof RpcError ? error.code : `no RpcError: ${error}`;

describe("T4.1 an answer that is a stream", () => {
  for (const [name, change, seen = AT] of ATTACKS) {
    for (const shape of ["down", "both"] as const) {
      test(`T4.1 a client gives nothing of a stream's answer (${shape}) from where it has ${name}`, async () => {
        const { client, between } = await opened();
        between.response = change();
        const call = shape === "down" ? client.down({ text: "abcdef" }) : client.both(slowly(...LETTERS));
        const { texts, error } = await soon(readAll(call));
        const honest = shape === "down" ? LETTERS : LETTERS.map((each) => each.toUpperCase());
        assert.deepEqual(texts, honest.slice(0, seen));
        if (name !== LATE || error) assert.equal(codeOf(error), "unavailable");
        between.response = undefined as never;
        assert.deepEqual((await readAll(client.down({ text: "xy" }))).texts, ["x", "y"], "the session goes on");
      });
    }
  }

  test("T4.1 a client gives no answer of a call that answers once where its end was cut off or was taken", async () => {
    for (const cutAt of [0, 1]) {
      const { client, between, handled } = await opened();
      between.response = (block, index) => index === 0 && cutAt === 1 ? [block!.slice(0, -1)] : "cut";
      await assert.rejects(soon(client.up(slowly(...LETTERS))), (error) => codeOf(error) === "unavailable");
      assert.deepEqual(handled.map(({ whole }) => whole), [true]);
    }
  });
});

describe("T4.1 a request that is a stream", () => {
  /** The server says what it thinks of the request, under its own proof. */
  const codes = (name: string): readonly string[] => {
    if (/cut off|last block/.test(name)) return ["data_loss"];
    if (/first bit|4 GiB|is an envelope|of nothing|without a block|no proof|one (?:less|more)/.test(name)) {
      return ["invalid_argument", "unavailable"];
    }
    return ["unavailable"];
  };
  for (const [name, change, seen = AT] of ATTACKS) {
    for (const shape of ["up", "both"] as const) {
      test(`T4.1 a handler (${shape}) gets nothing of a stream from where it has ${name}`, async () => {
        const { client, between, handled } = await opened();
        between.request = change();
        const { error } = await soon(made(client, shape));
        assert.equal(handled.length, 1);
        assert.deepEqual(handled[0]!.texts, LETTERS.slice(0, seen));
        if (name === LATE && !error) return;
        assert.ok(codes(name).includes(codeOf(error)), codeOf(error));
        assert.equal(handled[0]!.whole, false, "the handler took it for complete");
      });
    }
  }

  test("T4.1 a handler gets no message of a call with one where anything of it was changed", async () => {
    const { client, between, handled } = await opened();
    const changes: readonly BlockChange[] = [
      (block) => block ? [flipped(block, 19)] : [],
      (block) => block ? [flipped(block, block.length - 1)] : [],
      (block) => block ? [block.slice(0, -1)] : [],
      () => [],
      () => [blockOf(new Uint8Array(16))],
    ];
    for (const change of changes) {
      between.request = change;
      const { texts, error } = await soon(readAll(client.down({ text: "abc" })));
      assert.deepEqual(texts, []);
      assert.ok(["unavailable", "data_loss", "invalid_argument"].includes(codeOf(error)), codeOf(error));
    }
    assert.deepEqual(handled, []);
  });
});

describe("T4.1 two streams under one session", () => {
  for (const direction of ["request", "response"] as const) {
    test(`T4.1 a block of one ${direction} is none in another that is under way`, async () => {
      const { client, between, handled } = await opened();
      const held = [gate<Uint8Array>(), gate<Uint8Array>()] as const;
      let calls = 0;
      const swapping = (): BlockChange => {
        const own = calls++;
        return (block, index) => {
          if (index !== 0 || !block) return only(block);
          held[own]!.open(block);
          return [block];
        };
      };
      // The first two calls are seen as they are, and a third gets their blocks at the place where they were.
      const pair = [swapping(), swapping()];
      let turn = 0;
      between.answer = (response) => {
        between[direction] = pair[Math.min(turn++, 1)]!;
        return response;
      };
      if (direction === "request") between.request = pair[0]!;
      await made(client, "both");
      between.answer = (response) => response;
      const stolen = await held[0].opened;
      between[direction] = (block, index) => index === 0 ? [stolen] : only(block);
      handled.length = 0;
      const { texts, error } = await soon(made(client, "both"));
      assert.equal(codeOf(error), "unavailable");
      assert.deepEqual([texts, handled[0]!.texts.length], [[], direction === "request" ? 0 : handled[0]!.texts.length]);
    });
  }

  test("T4.1 the bodies of two answers under way are not exchanged, nor are their heads", async () => {
    for (const what of ["bodies", "heads", "both"] as const) {
      const { client, between } = await opened();
      const answers = [gate<Response>(), gate<Response>()] as const;
      let turn = 0;
      between.answer = async (response) => {
        const own = turn++;
        answers[own]!.open(response);
        const other = await answers[1 - own]!.opened;
        if (what === "both") return other;
        const [head, body] = what === "bodies" ? [response, other] : [other, response];
        return new Response(body.body, { status: head.status, headers: head.headers });
      };
      const read = await soon(Promise.all(["abc", "abc"].map((text) => readAll(client.down({ text })))));
      assert.deepEqual(read.map(({ texts, error }) => [texts, codeOf(error)]), [[[], "unavailable"], [
        [],
        "unavailable",
      ]]);
    }
  });

  test("T4.1 nothing that a client said is an answer to it", async () => {
    const { client, between } = await opened();
    const said: Uint8Array[] = [];
    between.request = (block) => (block && said.push(block), only(block));
    between.response = (_, index) => index === 0 && said[0] ? [said[0]] : only(_);
    const { texts, error } = await soon(readAll(client.both(slowly(...LETTERS))));
    assert.deepEqual([texts, codeOf(error)], [[], "unavailable"]);
  });

  test("T4.1 nothing that a server said is a request to it", async () => {
    const { client, between, handled } = await opened();
    const said: Uint8Array[] = [];
    between.response = (block) => (block && said.push(block), only(block));
    await readAll(client.both(slowly(...LETTERS)));
    between.request = (block, index) => index === 0 ? [said[0]!] : only(block);
    handled.length = 0;
    assert.equal(codeOf((await soon(made(client, "both"))).error), "unavailable");
    assert.deepEqual(handled.map(({ texts }) => texts), [[]]);
  });
});

/** Makes a call that sends the letters. */
async function made(client: StreamsClient, shape: "up" | "both") {
  if (shape === "both") return await readAll(client.both(slowly(...LETTERS)));
  return await client.up(slowly(...LETTERS)).then(({ text }) => ({ texts: [text], error: undefined }), (error) => ({
    texts: [],
    error: error as unknown,
  }));
}
