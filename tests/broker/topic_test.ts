import { deadLetterTopic, letterOf } from "../../src/broker/dead_letter.ts";
import { MAX_DATA, topic, topicPattern } from "../../src/broker/topic.ts";
import { json } from "../../src/codec/mod.ts";
import { type Schema, uncheckedSchema } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as v from "valibot";

const Order = v.strictObject({ id: v.string() });
const declare = [["topic", topic], ["topicPattern", topicPattern]] as const;

describe("topic()", () => {
  test("topic() says what the topic is, with its defaults", () => {
    const { name, pattern, schema, encrypted, maxBytes, options } = topic("orders.v1.placed", Order);
    assert.deepEqual({ name, pattern, encrypted, maxBytes, options }, {
      name: "orders.v1.placed",
      pattern: "orders.v1.placed",
      encrypted: false,
      maxBytes: 65_536,
      options: {},
    });
    assert.equal(schema, Order);
  });

  test("topic() keeps what it is told", () => {
    const given = { encrypted: true, maxBytes: 1, summary: "s", description: "d" };
    const { encrypted, maxBytes, options } = topic("a", Order, given);
    assert.deepEqual({ encrypted, maxBytes, options }, { encrypted: true, maxBytes: 1, options: given });
  });

  test("topicPattern() says which topics it is about, and has no name", () => {
    const pattern = topicPattern("orders.v1.*", Order, { encrypted: true });
    assert.deepEqual([pattern.pattern, pattern.encrypted, "name" in pattern], ["orders.v1.*", true, false]);
    for (const each of ["*", ">", "a.>", "*.a", "a.b"]) assert.equal(topicPattern(each, Order).pattern, each);
  });

  for (const [symbol, make] of declare) {
    test(`${symbol}() gives what nobody can change`, () => {
      const options = { encrypted: true, summary: "s" };
      const made = make("a", Order, options);
      options.summary = "t";
      assert.equal(made.options.summary, "s");
      assert.ok(Object.isFrozen(made) && Object.isFrozen(made.options));
      assert.throws(() => (made as { encrypted: boolean }).encrypted = false, TypeError);
    });

    test(`${symbol}() checks messages as strictly as a method's input`, async () => {
      const { validate } = make("a", Order);
      assert.deepEqual((await validate({ id: "x" })).value, { id: "x" });
      for (const message of [{}, { id: 1 }, { id: "x", more: 1 }, null, "x", undefined]) {
        assert.ok((await validate(message)).issues, JSON.stringify(message));
      }
    });

    const loose: readonly (readonly [title: string, schema: Schema, where: RegExp])[] = [
      ["an object that is not strict", v.object({ id: v.string() }), /input is v\.object/],
      ["a loose object", v.looseObject({}), /input is v\.looseObject/],
      ["a loose object inside", v.strictObject({ a: v.object({}) }), /input\.a is v\.object/],
      ["a loose object in a list", v.strictObject({ a: v.array(v.looseObject({})) }), /input\.a\[item\] is v\.loose/],
      ["anything", v.strictObject({ a: v.any() }), /input\.a is v\.any/],
      ["a text alone", v.string(), /must be an object/],
      ["a list", v.array(Order), /must be an object/],
      ["a fallback", v.strictObject({ a: v.fallback(v.string(), "") }), /v\.fallback/],
      [
        "a schema of another library",
        { "~standard": { version: 1, vendor: "other", validate: (value) => ({ value }) } },
        /not a Valibot schema/,
      ],
      ["no schema", undefined as never, /not a Valibot schema/],
    ];
    for (const [title, schema, where] of loose) {
      test(`${symbol}() refuses ${title}`, () => {
        assert.throws(() => make("a", schema), (error: unknown) => {
          assert.ok(error instanceof TypeError);
          assert.match(error.message, /^Cannot declare .*[^.]$/);
          assert.match(error.message, where);
          return true;
        });
      });
    }

    test(`${symbol}() takes a schema of another library on somebody's word`, async () => {
      const schema: Schema = { "~standard": { version: 1, vendor: "other", validate: (value) => ({ value }) } };
      assert.deepEqual(await make("a", uncheckedSchema(schema)).validate({ b: 1 }), { value: { b: 1 } });
    });

    const reserved = ["postern", "Postern", "POSTERN", "postern.x", "Postern.x", "pOSTERN.keys.a", "postern.join.a"];
    const malformed = ["", ".", "a.", ".a", "a..b", "a b", "a\n", "$JS.x", "a-b", "1a", "a/b", "a.>.b", "a.b>"];
    test(`${symbol}() refuses reserved and malformed names`, () => {
      for (const name of [...reserved, ...malformed]) {
        assert.throws(() => make(name, Order), /^TypeError: Cannot declare the topics? "/, name);
      }
      for (const name of [undefined, null, 1, ["a"], { toString: () => "a" }] as never[]) {
        assert.throws(() => make(name, Order), TypeError);
      }
    });

    test(`${symbol}() takes names that only begin like a reserved one`, () => {
      for (const name of ["posterns", "postern_x", "posternx.a", "a.postern", "a.postern.keys"]) {
        assert.equal(make(name, Order).pattern, name);
      }
    });

    test(`${symbol}() takes a name of 100 characters, and none of 101`, () => {
      assert.ok(make("a".repeat(100), Order));
      assert.throws(() => make("a".repeat(101), Order), /^TypeError: Cannot declare/);
      assert.throws(() => make(`${"a.".repeat(50)}a`, Order), /^TypeError: Cannot declare/);
    });

    test(`${symbol}() takes limits from 1 to 524,288 bytes, and no others`, () => {
      for (const maxBytes of [1, 2, MAX_DATA]) assert.equal(make("a", Order, { maxBytes }).maxBytes, maxBytes);
      assert.equal(MAX_DATA, 524_288);
      for (const maxBytes of [0, -1, MAX_DATA + 1, 1.5, NaN, Infinity, "1", null, [1]] as never[]) {
        assert.throws(() => make("a", Order, { maxBytes }), /"maxBytes" is from 1 to 524288$/);
      }
    });

    test(`${symbol}() refuses an option that it does not know`, () => {
      for (const name of ["encrypt", "Encrypted", "maxbytes", "toString"]) {
        const options = { [name]: true } as never;
        assert.throws(() => make("a", Order, options), (error: unknown) => {
          assert.ok(error instanceof TypeError);
          assert.match(error.message, new RegExp(`^Cannot declare "a": .*"${name}"[^.]*$`));
          return true;
        });
      }
    });

    test(`${symbol}() refuses an "encrypted" that is neither true nor false`, () => {
      for (const encrypted of [1, 0, "true", "", null, {}] as never[]) {
        assert.throws(() => make("a", Order, { encrypted }), /"encrypted" is true or false$/);
      }
      assert.equal(make("a", Order, { encrypted: undefined as never }).encrypted, false);
    });
  }

  test("topic() refuses wildcards", () => {
    for (const name of ["*", ">", "a.*", "a.>", "*.a"]) assert.throws(() => topic(name, Order), /Cannot declare/);
  });

  test("topicPattern() refuses patterns of reserved names, but not those that cover others too", () => {
    for (const name of ["postern.>", "postern.*", "POSTERN.>", "postern.*.a"]) {
      assert.throws(() => topicPattern(name, Order), /Cannot declare/);
    }
    for (const name of [">", "*.>", "*.keys.a"]) assert.ok(topicPattern(name, Order));
  });
});

describe("letterOf()", () => {
  const Dead = deadLetterTopic("orders.v1.dead");
  const letter = (event: string, detail = "", more: { readonly attempt?: number; readonly reason?: string } = {}) => {
    const { attempt = 1, reason = "rejected" } = more;
    const delivery = { topic: "orders.v1.placed", event, attempt, ack() {}, nack() {} };
    return letterOf({ delivery, reason, detail });
  };
  /** What would be published: the letter, as the contract and its codec take it. */
  const written = async (given: ReturnType<typeof letterOf>) => {
    const { value, issues } = await Dead.validate(given);
    assert.equal(issues, undefined);
    const codec = json({ maxBytes: Dead.maxBytes });
    const bytes = codec.encode(value);
    return typeof bytes === "string" ? new TextEncoder().encode(bytes).length : bytes.length;
  };

  test("deadLetterTopic() declares a topic whose messages may be as large as any, and obeys its rules", () => {
    assert.deepEqual([Dead.name, Dead.encrypted, Dead.maxBytes], ["orders.v1.dead", false, MAX_DATA]);
    for (const name of ["postern.dead", "a.*", "", "a".repeat(101)]) {
      assert.throws(() => deadLetterTopic(name), TypeError);
    }
  });

  test("letterOf() says what came, and why it is here", async () => {
    const given = letter("a~b~c", "no such order", { attempt: 5, reason: "too_many_attempts" });
    assert.deepEqual(given, {
      topic: "orders.v1.placed",
      reason: "too_many_attempts",
      detail: "no such order",
      attempts: 5,
      event: "a~b~c",
    });
    assert.ok(await written(given) > 0);
  });

  test("letterOf() cuts a detail between characters, so that it fits", async () => {
    for (const sign of ["x", "é", "€", "😀", "a\u0301", "👩‍👩‍👧"]) {
      const { detail } = letter("e", sign.repeat(300));
      assert.ok(detail.length <= 256 && detail.length >= 128, `${sign}: ${detail.length}`);
      assert.ok(detail.isWellFormed());
      assert.ok(sign.repeat(300).startsWith(detail));
      await written(letter("e", sign.repeat(300)));
    }
    assert.equal(letter("e", "x".repeat(128)).detail.length, 128);
    assert.equal(letter("e", "x".repeat(127) + "😀y").detail, "x".repeat(127) + "😀");
    assert.equal(letter("e", "").detail, "");
  });

  test("letterOf() takes an event as long as it may be, and leaves out a longer one", async () => {
    const longest = "x".repeat(399_998); // two more in JSON
    assert.equal(letter(longest).event, longest);
    await written(letter(longest));
    for (const event of [`${longest}x`, "x".repeat(400_000), "x".repeat(400_001), "x".repeat(786_432)]) {
      assert.equal(letter(event).event, "");
    }
  });

  test("letterOf() counts an event as it is written", async () => {
    for (const sign of ['"', "\\", "\n", "\0", "\u007f", "é", "€", "😀", "\u2028"]) {
      for (const count of [60_000, 100_000, 130_000, 174_000, 199_999, 399_998]) {
        const event = `head~token~${sign.repeat(count)}`;
        const given = letter(event);
        assert.ok(given.event === event || given.event === "");
        assert.ok(await written(given) <= MAX_DATA, `${JSON.stringify(sign)} × ${count}`);
      }
    }
    assert.notEqual(letter(`head~token~${'"'.repeat(100_000)}`).event, "");
  });

  test("letterOf() gives a letter that can be published, whatever came and whatever was said of it", async () => {
    for (const broken of ["\ud800", "\udc00", "a\ud800b", "😀".slice(0, 1), `${"x".repeat(127)}\ud83d`]) {
      assert.ok(await written(letter("e", broken)) > 0);
      assert.ok(await written(letter(broken)) > 0);
    }
  });

  test("letterOf() leaves out an event that is no text", () => {
    for (const event of [undefined, {}, 1, new Uint8Array(3)] as never[]) assert.equal(letter(event).event, "");
  });

  test("a dead letter's contract refuses what is none", async () => {
    const good = { ...letter("e") };
    assert.equal((await Dead.validate(good)).issues, undefined);
    const bad: readonly object[] = [
      { topic: "a".repeat(129) },
      { reason: "" },
      { reason: "Rejected" },
      { reason: "a".repeat(65) },
      { reason: "a\n" },
      { detail: "a".repeat(257) },
      { attempts: 0 },
      { attempts: 1.5 },
      { attempts: "1" },
      { event: "a".repeat(400_001) },
      { event: undefined },
      { more: 1 },
    ];
    for (const each of bad) assert.ok((await Dead.validate({ ...good, ...each })).issues, Object.keys(each)[0]);
  });
});
