import { secret } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { format, inspect } from "node:util";

const VALUE = "s3cr3t-join-token";
const HIDDEN = "[secret]";

describe("secret()", () => {
  test("secret() reveals its value to who asks by name", () => assert.equal(secret(VALUE).reveal(), VALUE));

  const shows: readonly [title: string, show: (hidden: ReturnType<typeof secret>) => string][] = [
    ["a template text", (hidden) => `${hidden}`],
    ["String()", (hidden) => String(hidden)],
    ["toString()", (hidden) => hidden.toString()],
    ["concatenation", (hidden) => "" + hidden],
    ["a list that is joined", (hidden) => [hidden].join()],
    ["JSON.stringify()", (hidden) => JSON.parse(JSON.stringify(hidden))],
    ["the name of a member", (hidden) => Object.keys({ [hidden as unknown as string]: 1 })[0]!],
    ["node:util inspect()", (hidden) => inspect(hidden)],
    ["node:util format()", (hidden) => format("%s", hidden)],
    ["an error's message", (hidden) => new Error(hidden as unknown as string).message],
  ];
  for (const [title, show] of shows) {
    test(`secret() gives ${title} "[secret]"`, () => assert.equal(show(secret(VALUE)), HIDDEN));
  }

  const nests: readonly [title: string, show: (value: unknown) => string][] = [
    ["JSON.stringify()", (value) => JSON.stringify(value, null, 2)],
    ["node:util inspect()", (value) => inspect(value, { depth: 9, showHidden: true })],
    ["node:util inspect() with getters", (value) => inspect(value, { depth: 9, getters: true, colors: true })],
    ["node:util inspect() without custom inspection", (value) => inspect(value, { depth: 9, customInspect: false })],
    ["node:util format()", (value) => format("%o %O %j", value, value, value)],
    ["the console", (value) => printed(() => console.log("value", value, { value }))],
    ["the console, for errors", (value) => printed(() => console.error(value))],
  ];
  for (const [title, show] of nests) {
    test(`secret() hides its value from ${title}, deep inside of others`, () => {
      const hidden = secret(VALUE);
      const error = Object.assign(new Error("failed", { cause: hidden }), { hidden });
      for (const value of [hidden, { a: { b: [{ hidden }] } }, new Map([["k", hidden]]), new Set([hidden]), error]) {
        assert.ok(!show(value).includes(VALUE));
      }
    });
  }

  test("secret() has no property that holds its value", () => {
    const hidden = secret(VALUE);
    for (const name of Reflect.ownKeys(hidden)) {
      assert.equal(typeof Reflect.get(hidden, name), "function", String(name));
      if (name !== "reveal") assert.equal(Reflect.get(hidden, name)(), HIDDEN, String(name));
    }
  });

  test("secret() tells Node and Deno alike how it is printed", () => {
    for (const name of ["nodejs.util.inspect.custom", "Deno.customInspect"]) {
      assert.equal(Reflect.get(secret(VALUE), Symbol.for(name))(), HIDDEN);
    }
  });

  test("secret() cannot be cloned into another context", () => {
    assert.throws(() => structuredClone(secret(VALUE)));
    assert.throws(() => structuredClone({ token: secret(VALUE) }));
  });

  test("secret() cannot be made to show itself by a change", () => {
    const hidden = secret(VALUE) as unknown as Record<string, unknown>;
    assert.ok(Object.isFrozen(hidden));
    assert.throws(() => hidden["toString"] = hidden["reveal"], TypeError);
  });

  test("secret() is no number and no text", () => {
    assert.ok(Number.isNaN(Number(secret(VALUE))));
    assert.equal(typeof secret(VALUE), "object");
  });
});

/** What a runtime's own console writes, where it can be listened to; its inspection is the same as the console's. */
function printed(print: () => void): string {
  const deno = Reflect.get(globalThis, "Deno") as { inspect(value: unknown, options: object): string } | undefined;
  const written: unknown[][] = [];
  const { log, error } = console;
  console.log = console.error = (...values: unknown[]) => void written.push(values);
  try {
    print();
  } finally {
    Object.assign(console, { log, error });
  }
  return deno ? deno.inspect(written, { depth: 9, showHidden: true }) : inspect(written, { depth: 9 });
}
