import { cbor, type Codec, CodecError, json } from "../../src/codec/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// The attacker writes the bytes of a message. T4.2: the decoder is the way in. T22: a decoded value changes the program
// (pollution, type confusion). T33: a small message costs the reader much. Beside each attack stands an honest message.

const encoder = new TextEncoder();

interface Attack {
  readonly title: string;
  readonly codec: Codec;
  readonly attack: string | readonly number[];
  readonly honest: string | readonly number[];
}

/** The CBOR of a short text. */
const text = (value: string): number[] => [0x60 + value.length, ...encoder.encode(value)];
const repeat = (unit: readonly number[], times: number): number[] => Array(times).fill(unit).flat();
const [onJson, onCbor] = [json(), cbor()];

const attacks: readonly Attack[] = [
  {
    title: "T4.2 json() refuses a role that is given twice, so no proxy and server can disagree on it",
    codec: onJson,
    attack: '{"role":"user","role":"admin"}',
    honest: '{"role":"user","roles":"admin"}',
  },
  {
    title: "T4.2 json() refuses a role that is given twice in two spellings",
    codec: onJson,
    attack: '{"role":"user","\\u0072ol\\u0065":"admin"}',
    honest: '{"role":"user","\\u0072ol\\u0065s":"admin"}',
  },
  {
    title: "T4.2 cbor() refuses a role that is given twice",
    codec: onCbor,
    attack: [0xa2, ...text("role"), 1, ...text("role"), 2],
    honest: [0xa2, ...text("role"), 1, ...text("rule"), 2],
  },
  {
    title: "T4.2 json() refuses an account number that a double would round to another",
    codec: onJson,
    attack: '{"account":9007199254740993}',
    honest: '{"account":9007199254740991}',
  },
  {
    title: "T4.2 json() refuses an unsafe integer hidden beside a string that looks like one",
    codec: onJson,
    attack: '["\\"",9007199254740993,"\\""]',
    honest: '["9007199254740993",1e300,"\\"9007199254740993"]',
  },
  {
    title: "T4.2 json() refuses a number that becomes Infinity",
    codec: onJson,
    attack: '{"limit":1e999}',
    honest: '{"limit":1e308}',
  },
  {
    title: "T4.2 json() refuses a lone surrogate, which two encoders write differently",
    codec: onJson,
    attack: '{"name":"a\\ud800"}',
    honest: '{"name":"a\\ud83d\\ude00"}',
  },
  {
    title: "T4.2 json() refuses a lone surrogate in a name",
    codec: onJson,
    attack: '{"a\\uDC00":1}',
    honest: '{"a\\u00DC00":1}',
  },
  {
    title: "T4.2 cbor() refuses a lone surrogate in UTF-8",
    codec: onCbor,
    attack: [0x63, 0xed, 0xa0, 0x80],
    honest: [0x63, 0xed, 0x9f, 0xbf],
  },
  {
    title: "T4.2 json() refuses a byte order mark",
    codec: onJson,
    attack: [0xef, 0xbb, 0xbf, 0x7b, 0x7d],
    honest: [0x7b, 0x7d],
  },
  {
    title: "T4.2 json() refuses an overlong quote that ends a string for a lax decoder",
    codec: onJson,
    attack: [0x22, 0xc0, 0xa2, 0x22],
    honest: [0x22, 0xc2, 0xa2, 0x22],
  },
  {
    title: "T4.2 cbor() refuses invalid UTF-8 in a key",
    codec: onCbor,
    attack: [0xa1, 0x61, 0xff, 1],
    honest: [0xa1, 0x61, 0x7f, 1],
  },
  {
    title: "T4.2 json() refuses a second message behind the first",
    codec: onJson,
    attack: '{"pay":1}{"pay":2}',
    honest: '{"pay":1} \n',
  },
  {
    title: "T4.2 json() refuses NUL behind the message",
    codec: onJson,
    attack: "{}\0",
    honest: "{}\n",
  },
  {
    title: "T4.2 cbor() refuses a second message behind the first",
    codec: onCbor,
    attack: [0xa0, 0xa0],
    honest: [0xa0],
  },
  {
    title: "T4.2 cbor() refuses a second spelling of an integer, which would change a signature's bytes",
    codec: onCbor,
    attack: [0x18, 0x17],
    honest: [0x17],
  },
  {
    title: "T4.2 cbor() refuses a text that claims more bytes than the message has",
    codec: onCbor,
    attack: [0x6a, 0x61, 0x62, 0x63],
    honest: [0x63, 0x61, 0x62, 0x63],
  },
  {
    title: "T22 json() refuses a member that would replace a prototype",
    codec: onJson,
    attack: '{"__proto__":{"polluted":true}}',
    honest: '{"constructor":{"prototype":{"polluted":true}}}',
  },
  {
    title: "T22 json() refuses an escaped member that would replace a prototype",
    codec: onJson,
    attack: '{"a":[{"__pro\\u0074o__":{"polluted":true}}]}',
    honest: '{"a":[{"__proto_":{"polluted":true}}]}',
  },
  {
    title: "T22 cbor() refuses a member that would replace a prototype",
    codec: onCbor,
    attack: [0xa1, ...text("__proto__"), 0xa1, ...text("polluted"), 0xf5],
    honest: [0xa1, ...text("constructor"), 0xa1, ...text("polluted"), 0xf5],
  },
  {
    title: "T22 cbor() refuses a tag that would have a type built from input",
    codec: onCbor,
    attack: [0xd8, 0x23, ...text("(a+)+$")],
    honest: text("(a+)+$"),
  },
  {
    title: "T33 json() refuses 500 000 nested arrays",
    codec: onJson,
    attack: "[".repeat(500_000) + "]".repeat(500_000),
    honest: "[".repeat(32) + "]".repeat(32),
  },
  {
    title: "T33 json() refuses deep nesting whose brackets never close",
    codec: onJson,
    attack: '{"a":['.repeat(100_000),
    honest: '{"a":['.repeat(16) + "]}".repeat(16),
  },
  {
    title: "T33 cbor() refuses 500 000 nested arrays",
    codec: onCbor,
    attack: repeat([0x81], 500_000),
    honest: [...repeat([0x81], 31), 0x80],
  },
  {
    title: "T33 cbor() refuses 500 000 nested tags",
    codec: onCbor,
    attack: repeat([0xc1], 500_000),
    honest: [0xc1, 0],
  },
  {
    title: "T33 json() refuses a flood of names before it makes a table of them",
    codec: onJson,
    attack: `{${Array.from({ length: 60_000 }, (_, at) => `"k${at}":0`).join()}}`,
    honest: `{${Array.from({ length: 10_000 }, (_, at) => `"k${at}":0`).join()}}`,
  },
  {
    title: "T33 json() refuses a megabyte of empty objects",
    codec: onJson,
    attack: `[${Array(300_000).fill("{}").join()}]`,
    honest: `[${Array(10_000).fill("{}").join()}]`,
  },
  {
    title: "T33 cbor() refuses a flood of names before it makes a table of them",
    codec: onCbor,
    attack: [0xb9, 0xea, 0x60, ...Array.from({ length: 60_000 }, (_, at) => [...text("k" + at), 0]).flat()],
    honest: [0xb9, 0x27, 0x10, ...Array.from({ length: 10_000 }, (_, at) => [...text("k" + at), 0]).flat()],
  },
  {
    title: "T33 cbor() refuses a header that announces 2^32 items in five bytes",
    codec: onCbor,
    attack: [0x9a, 0xff, 0xff, 0xff, 0xff],
    honest: [0x81, 0x00],
  },
  {
    title: "T33 cbor() refuses a header that announces 2^64 bytes in nine",
    codec: onCbor,
    attack: [0x5b, ...repeat([0xff], 8)],
    honest: [0x41, 0xff],
  },
  {
    title: "T33 cbor() refuses a bignum long enough to slow down arithmetic",
    codec: onCbor,
    attack: [0xc2, 0x5a, 0x00, 0x0f, 0x00, 0x00, ...repeat([0xff], 0xf0000)],
    honest: [0xc2, 0x59, 0x04, 0x00, ...repeat([0xff], 0x400)],
  },
  {
    title: "T33 json() refuses a message over a megabyte",
    codec: onJson,
    attack: `"${"a".repeat(1_048_575)}"`,
    honest: `"${"a".repeat(1_048_574)}"`,
  },
  {
    title: "T33 cbor() refuses a message over a megabyte",
    codec: onCbor,
    attack: [0x5a, 0x00, 0x0f, 0xff, 0xfc, ...repeat([0], 1_048_572)],
    honest: [0x5a, 0x00, 0x0f, 0xff, 0xfb, ...repeat([0], 1_048_571)],
  },
];

for (const { title, codec, attack, honest } of attacks) {
  test(title, () => {
    assert.throws(() => codec.decode(toBytes(attack)), CodecError);
    codec.decode(toBytes(honest));
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });
}

function toBytes(message: string | readonly number[]): Uint8Array {
  return typeof message === "string" ? encoder.encode(message) : Uint8Array.from(message);
}

/** Copies members as careless code does, recursively; a member named `__proto__` would reach Object.prototype. */
function merge(target: Record<string, unknown>, source: Record<string, unknown>): Record<string, unknown> {
  for (const [key, value] of Object.entries(source)) {
    const nested = typeof value === "object" && value !== null;
    target[key] = nested
      ? merge(
        (Object.hasOwn(target, key) ? target[key] : {}) as Record<string, unknown>,
        value as Record<string, unknown>,
      )
      : value;
  }
  return target;
}

test("T22 a decoded value cannot reach a prototype through a careless merge", () => {
  const names = ["constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "__defineGetter__"];
  const before = [Object, Array, Function].map(({ prototype }) => Reflect.ownKeys(prototype));
  for (const codec of [onJson, onCbor]) {
    const value = Object.fromEntries(names.map((name) => [name, { polluted: true, prototype: { polluted: true } }]));
    const written = codec.encode(value);
    const read = codec.decode(typeof written === "string" ? encoder.encode(written) : written);
    assert.deepEqual(read, value);
    merge({}, read as Record<string, unknown>);
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  assert.deepEqual([Object, Array, Function].map(({ prototype }) => Reflect.ownKeys(prototype)), before);
});

test("T22 a decoded member hides a method of Object.prototype on its own object only", () => {
  for (
    const [codec, bytes] of [
      [onJson, toBytes('{"hasOwnProperty":1,"toString":2}')],
      [onCbor, Uint8Array.from([0xa1, ...text("toString"), 2])],
    ] as const
  ) {
    const value = codec.decode(bytes) as object;
    assert.ok(Object.hasOwn(value, "toString"));
    assert.equal(typeof {}.toString, "function");
  }
});

test("T22 a decoded member never runs a setter of Object.prototype", () => {
  let ran = false;
  const set = () => {
    ran = true;
  };
  Object.defineProperty(Object.prototype, "trap", { set, get: () => 0, configurable: true });
  try {
    assert.deepEqual(Object.entries(onJson.decode(toBytes('{"trap":1}')) as object), [["trap", 1]]);
    const bytes = Uint8Array.from([0xa1, ...text("trap"), 1]);
    assert.deepEqual(Object.entries(onCbor.decode(bytes) as object), [["trap", 1]]);
  } finally {
    delete (Object.prototype as { trap?: unknown }).trap;
  }
  assert.equal(ran, false);
});

test("T4.2 no refusal repeats what the attacker sent", () => {
  const secret = "tok_s3cret";
  const messages: readonly [Codec, string | readonly number[]][] = [
    [onJson, `{"${secret}":1,"${secret}":2}`],
    [onJson, `{"a":"${secret}`],
    [onJson, `["${secret}\\ud800"]`],
    [onCbor, [0xa2, ...text(secret), 1, ...text(secret), 2]],
    [onCbor, [...text(secret), ...text(secret)]],
  ];
  for (const [codec, message] of messages) {
    assert.throws(() => codec.decode(toBytes(message)), (error: unknown) => {
      assert.ok(error instanceof CodecError);
      return !`${error.message}${error.cause}`.includes("s3cret");
    });
  }
});
