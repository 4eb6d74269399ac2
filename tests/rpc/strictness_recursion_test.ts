import { createClient, createServer, implement, publicOnly, rpc, type Schema, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

type Any = v.GenericSchema;

const Empty = v.strictObject({});
const sides: Readonly<Record<string, (schema: Schema) => unknown>> = {
  "input": (schema) => service("s.v1", { m: rpc(schema, Empty) }),
  "output": (schema) => service("s.v1", { m: rpc(Empty, schema) }),
  "errors.not_found": (schema) => service("s.v1", { m: rpc(Empty, Empty, { errors: { not_found: schema } }) }),
};

/** Asserts that a schema is refused on every side, with where and why. */
function assertRefused(schema: Schema, path: string, why: RegExp): void {
  for (const [side, declare] of Object.entries(sides)) {
    assert.throws(() => declare(schema), (error: Error) => {
      assert.ok(error instanceof TypeError, String(error));
      assert.ok(error.message.startsWith(`Cannot declare "s.v1/m": ${side}${path} `), error.message);
      assert.match(error.message, why);
      return true;
    });
  }
}

function assertTaken(schema: Schema): void {
  for (const declare of Object.values(sides)) declare(schema);
}

/** The ways an option may lead back. */
const ways: readonly (readonly [name: string, back: (target: () => Any) => Any])[] = [
  ["v.lazy", (target) => v.lazy(target)],
  ["v.optional", (target) => v.optional(v.lazy(target))],
  ["v.nullable", (target) => v.nullable(v.lazy(target))],
  ["v.array", (target) => v.array(v.lazy(target))],
  ["v.record", (target) => v.record(v.string(), v.lazy(target))],
  ["v.strictTuple", (target) => v.strictTuple([v.string(), v.lazy(target)])],
  ["the rest of v.tupleWithRest", (target) => v.tupleWithRest([v.string()], v.lazy(target))],
  ["v.strictObject", (target) => v.strictObject({ deep: v.lazy(target) })],
  ["another union", (target) => v.union([v.string(), v.lazy(target)])],
  ["a variant", (target) => v.variant("t", [v.strictObject({ t: v.literal("x"), deep: v.lazy(target) })])],
  ["the start of a pipe", (target) => v.pipe(v.lazy(target), v.check(() => true))],
  ["the schema of a pipe", (target) => v.pipe(v.array(v.lazy(target)), v.check(() => true))],
  ["v.lazy in v.lazy", (target) => v.lazy(() => v.lazy(() => v.lazy(target)))],
];

for (const [name, back] of ways) {
  test(`service() refuses v.union with two options that lead back to it by ${name}`, () => {
    const Node: Any = v.strictObject({ of: v.lazy(() => Choice) });
    const one = v.strictObject({ next: back(() => Choice) });
    const two = v.strictObject({ next: back(() => Choice), more: v.optional(v.string()) });
    const Choice: Any = v.union([v.strictObject({ leaf: v.string() }), one, two]);
    assertRefused(Choice, "", /has several recursive options\b.*v\.variant/);
    assertRefused(Node, ".of", /has several recursive options\b.*v\.variant/);
  });

  test(`service() takes v.union with one option that leads back to it by ${name}`, () => {
    const Choice: Any = v.union([
      v.strictObject({ leaf: v.string() }),
      v.strictObject({ next: back(() => Choice), also: back(() => Choice) }),
    ]);
    assertTaken(Choice);
    assertTaken(v.strictObject({ of: Choice }));
  });

  test(`service() takes v.variant with two options that lead back to it by ${name}`, () => {
    const Choice: Any = v.variant("kind", [
      v.strictObject({ kind: v.literal("one"), next: back(() => Choice) }),
      v.strictObject({ kind: v.literal("two"), next: back(() => Choice), more: v.optional(v.string()) }),
    ]);
    assertTaken(Choice);
  });
}

test("service() refuses v.union whose options lead back by the tail of an input's pipe", () => {
  const tail = (): Any => v.pipe(v.string(), v.transform((text): unknown => ({ text })), v.lazy(() => Choice));
  const Choice: Any = v.union([
    v.strictObject({ one: tail() }),
    v.strictObject({ one: tail(), more: v.optional(v.string()) }),
  ]);
  assert.throws(
    () => sides.input!(Choice),
    /^TypeError: Cannot declare "s\.v1\/m": input has several recursive options/,
  );
});

test("service() takes v.union whose options do not lead back, beside a recursive schema", () => {
  const Tree: Any = v.strictObject({ children: v.array(v.lazy(() => Tree)) });
  assertTaken(v.union([v.strictObject({ a: Tree }), v.strictObject({ b: Tree }), v.strictObject({ c: Tree })]));
});

test("service() takes v.variant of a recursive schema, and calls of it work", async () => {
  interface Expression {
    readonly kind: "not" | "leaf";
    readonly of?: Expression | undefined;
  }
  const Expression: v.GenericSchema<Expression> = v.variant("kind", [
    v.strictObject({ kind: v.literal("not"), of: v.lazy(() => Expression) }),
    v.strictObject({ kind: v.literal("leaf") }),
  ]);
  const Logic = service("s.v1", { m: rpc(Expression, Empty) });
  const server = createServer(implement(Logic, { m: () => ({}) }), { guard: publicOnly(["s.v1/m"]) });
  let deep: Expression = { kind: "leaf" };
  for (let level = 0; level < 30; level++) deep = { kind: "not", of: deep };
  assert.deepEqual(await createClient(Logic, server.call).m(deep), {});
});

for (
  const [name, getter] of [
    ["reads it and gives the same", (_input: unknown) => v.string()],
    ["looks at it with care", (input: unknown) => (input as { loose?: boolean })?.loose ? v.any() : v.string()],
  ] as const
) {
  test(`service() refuses v.lazy whose function takes the input: one that ${name}`, () => {
    assertRefused(v.strictObject({ a: v.lazy(getter) }), ".a", /v\.lazy with a function that may look at its input/);
    assertRefused(v.strictObject({ a: v.optional(v.array(v.lazy(getter))) }), ".a[item]", /v\.lazy with a function/);
  });
}

test("service() refuses recursive options however their recursion is written", () => {
  const make = (): Any => v.union([v.strictObject({ a: v.lazy(make) }), v.strictObject({ b: v.lazy(make) })]);
  const shared: Any = v.variant("k", [
    v.strictObject({ k: v.literal("a"), next: v.lazy(() => shared) }),
    v.strictObject({ k: v.literal("a"), other: v.lazy(() => shared) }),
  ]);
  const open: Any = v.variant("k", [
    v.strictObject({ k: v.string(), next: v.lazy(() => open) }),
    v.strictObject({ k: v.literal("b"), other: v.lazy(() => open) }),
  ]);
  const wide = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`m${i}`, v.optional(v.string())]));
  const hidden: Any = v.union([
    v.strictObject({ ...wide, next: v.lazy(() => hidden) }),
    v.strictObject({ ...wide, other: v.lazy(() => hidden) }),
  ]);
  for (const schema of [shared, open, hidden]) {
    assertRefused(v.strictObject({ a: schema }), ".a", /several recursive options/);
  }
  assert.throws(() => sides.input!(v.strictObject({ a: make() })), /makes a new schema each time/);
});

test("service() takes recursive options that no value could get into together", () => {
  const Json: Any = v.union([
    v.string(),
    v.null(),
    v.array(v.lazy(() => Json)),
    v.record(v.string(), v.lazy(() => Json)),
  ]);
  const Tree: Any = v.variant("k", [
    v.strictObject({ k: v.literal("and"), left: v.lazy(() => Tree), right: v.lazy(() => Tree) }),
    v.strictObject({ k: v.literal("not"), of: v.lazy(() => Tree) }),
    v.strictObject({ k: v.literal("leaf") }),
  ]);
  assertTaken(v.strictObject({ json: Json, tree: Tree }));
});

test("service() refuses v.lazy whose function could look at its input without a parameter of that name", () => {
  const text = v.string();
  const getters: readonly ((...input: unknown[]) => Any)[] = [
    (...input) => input.length ? v.any() : text,
    (input = 1) => input === 1 ? text : v.any(),
    function () {
      return arguments.length ? v.any() : text;
    },
    (() => text).bind(null),
  ];
  for (const getter of getters) assertRefused(v.strictObject({ a: v.lazy(getter) }), ".a", /function that may look/);
});

test("service() refuses a variant beside an object that takes the same values, both recursive", () => {
  const Mixed: Any = v.union([
    v.variant("k", [v.strictObject({ next: v.lazy(() => Mixed), k: v.literal("a") })]),
    v.strictObject({ next: v.lazy(() => Mixed), k: v.literal("b") }),
  ]);
  assertRefused(v.strictObject({ a: Mixed }), ".a", /several recursive options/);
});

test("service() takes a recursive variant beside what is no object", () => {
  const Tree: Any = v.union([
    v.null(),
    v.variant("k", [
      v.strictObject({ k: v.literal("a"), next: v.lazy(() => Tree) }),
      v.strictObject({ k: v.literal("b"), next: v.lazy(() => Tree) }),
    ]),
  ]);
  assertTaken(v.strictObject({ a: Tree }));
});

test("service() refuses an answer's intersection that several of its parts lead back to", () => {
  const Both: Any = v.intersect([
    v.object({ next: v.optional(v.lazy(() => Both)) }),
    v.object({ next: v.optional(v.lazy(() => Both)) }),
  ]);
  assert.throws(() => sides.output!(Both), /several recursive options/);
});

test("service() refuses an input's pipe that leads back to itself twice", () => {
  const step = () => v.strictObject({ next: v.optional(v.lazy(() => Twice)) });
  const Twice: Any = v.pipe(step(), step());
  assert.throws(() => sides.input!(Twice), /several recursive options/);
  const once: Any = v.pipe(v.strictObject({ next: v.optional(v.lazy(() => once)) }), v.strictObject({}));
  sides.input!(once);
});
