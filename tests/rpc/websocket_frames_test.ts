import { type FrameUser, type OpenFrame, ProtocolError, readFrames } from "../../src/rpc/frames.ts";
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

type Read = readonly [kind: string, ...rest: unknown[]];

/** Reads frames and keeps what it is told. */
function read(bytes: Uint8Array): Read[] {
  const told: Read[] = [];
  const note = (kind: string) => (...rest: unknown[]) => void told.push([kind, ...rest.map(plain)]);
  const user: FrameUser = {
    open: note("open"),
    message: note("message"),
    end: note("end"),
    error: note("error"),
    cancel: note("cancel"),
    credit: note("credit"),
    ping: note("ping"),
    pong: note("pong"),
    drain: note("drain"),
  };
  readFrames(bytes, user);
  return told;
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (typeof value !== "object" || value === null) return value;
  const { headers, message, ...rest } = value as OpenFrame;
  return { ...rest, headers: headers && [...headers], message: message && [...message] };
}

const id = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const ascii = (maxLength: number) =>
  fc.string({ unit: fc.integer({ min: 32, max: 126 }).map((c) => String.fromCharCode(c)), maxLength });
const bytes = fc.uint8Array({ maxLength: 300 });
const headers = fc.option(
  fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), ascii(40), {
    minKeys: 1,
    maxKeys: 5,
    noNullPrototype: true,
  }),
  { nil: undefined },
);

const frame = fc.oneof(
  fc.record({
    kind: fc.constant("open" as const),
    id,
    path: ascii(200),
    timeoutMs: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 2 ** 32 - 1 })),
    headers,
    message: fc.option(bytes, { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("message" as const), id, message: bytes, ends: fc.boolean() }),
  fc.record({ kind: fc.constant("error" as const), id, text: fc.string() }),
  fc.record({ kind: fc.constantFrom("end" as const, "cancel" as const), id }),
  fc.record({ kind: fc.constant("credit" as const), id, messages: fc.nat(), bytes: fc.nat() }),
  fc.record({ kind: fc.constantFrom("ping" as const, "pong" as const, "drain" as const) }),
);
type Frame = typeof frame extends fc.Arbitrary<infer Each> ? Each : never;

function write(frames: readonly Frame[]): { readonly bytes: Uint8Array; readonly told: Read[] } {
  const out = frameWriter();
  const told = frames.map((each): Read => {
    switch (each.kind) {
      case "open": {
        const { path, timeoutMs, headers, message } = each;
        out.open(each.id, { path, timeoutMs, headers, message });
        const whole = message !== undefined;
        return ["open", each.id, {
          path,
          timeoutMs,
          ends: whole,
          headers: headers && Object.entries(headers),
          message: message && [...message],
        }];
      }
      case "message":
        out.message(each.id, each.message, each.ends);
        return ["message", each.id, [...each.message], each.ends];
      case "error":
        out.error(each.id, each.text);
        return ["error", each.id, [...new TextEncoder().encode(each.text)]];
      case "credit":
        out.credit(each.id, each.messages, each.bytes);
        return ["credit", each.id, each.messages, each.bytes];
      case "end":
      case "cancel":
        out[each.kind](each.id);
        return [each.kind, each.id];
      default:
        out.signal({ ping: 7, pong: 8, drain: 9 }[each.kind]);
        return [each.kind];
    }
  });
  return { bytes: out.take(out.size, 0), told };
}

test("readFrames() reads what frameWriter() wrote", () => {
  fc.assert(fc.property(fc.array(frame, { minLength: 1, maxLength: 12 }), (frames) => {
    const { bytes, told } = write(frames);
    assert.deepEqual(read(bytes), told);
  }));
});

test("readFrames() throws nothing but ProtocolError for any bytes", () => {
  const likely = fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x21, 0x22, 0x31), fc.nat(255)));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), likely.map((each) => Uint8Array.from(each))), (bytes) => {
      try {
        read(bytes);
      } catch (error) {
        assert.ok(error instanceof ProtocolError, String(error));
      }
    }),
    { numRuns: 5_000 },
  );
});

test("readFrames() refuses a frame that is cut off, wherever", () => {
  fc.assert(fc.property(frame, (each) => {
    const { bytes } = write([each]);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => read(bytes.subarray(0, length)), ProtocolError, `cut to ${length} of ${bytes.length}`);
    }
    assert.throws(() => read(Uint8Array.of(...bytes, 0xff)), ProtocolError, "with a byte more");
  }));
});

const call = [0, 0, 0, 1];
const refused: Readonly<Record<string, readonly number[]>> = {
  "no frame": [],
  "type 0": [0, ...call],
  "type 10": [10, ...call],
  "a flag of another type": [0x13, ...call],
  "an unknown flag": [0x42, ...call, 0, 0, 0, 0],
  "a ping with a flag": [0x17],
  "the call 0": [3, 0, 0, 0, 0],
  "a length beyond the end": [2, ...call, 0xff, 0xff, 0xff, 0xff, 1],
  "a header twice": [1, ...call, 0, 0, 0, 0, 0, 2, 1, 97, 0, 0, 1, 97, 0, 0],
  "a header in upper case": [1, ...call, 0, 0, 0, 0, 0, 1, 1, 65, 0, 0],
  "a header without a name": [1, ...call, 0, 0, 0, 0, 0, 1, 0, 0, 0],
  "a header with a line break": [1, ...call, 0, 0, 0, 0, 0, 1, 1, 97, 0, 1, 10],
  "a path that is not ASCII": [1, ...call, 0, 0, 0, 0, 1, 0xc3, 0],
};

for (const [name, bytes] of Object.entries(refused)) {
  test(`readFrames() refuses ${name}`, () => {
    assert.throws(() => read(Uint8Array.from(bytes)), ProtocolError);
  });
}

test("readFrames() refuses headers over 16 KiB", () => {
  const header = (name: number) => [1, name, 0x3f, 0xff, ...Array(0x3fff).fill(97)];
  const frame = [1, ...call, 0, 0, 0, 0, 0, 2, ...header(97), ...header(98)];
  assert.throws(() => read(Uint8Array.from(frame)), ProtocolError);
});

test("frameWriter() leaves nothing behind of a call whose headers do not fit", () => {
  const out = frameWriter();
  out.signal(7);
  const opening = { path: "/a.v1/b", timeoutMs: 1, message: "{}" };
  for (const headers of [{ a: "x".repeat(17_000) }, { a: "ä" }, { ["n".repeat(300)]: "" }, { a: "x\r\ny: z" }]) {
    assert.throws(() => out.open(1, { ...opening, headers }), RangeError);
  }
  assert.deepEqual(read(out.take(out.size, 0)), [["ping"]]);
});
