import {
  createClient,
  createServer,
  implement,
  publicOnly,
  rpc,
  type Schema,
  service,
  stream,
  uncheckedSchema,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

type Any = v.GenericSchema;

const Empty = v.strictObject({});

const declareInput = (schema: Schema) => service("s.v1", { m: rpc(schema, Empty) });
const declareOutput = (schema: Schema) => service("s.v1", { m: rpc(Empty, schema) });
const declareDetails = (schema: Schema) => service("s.v1", { m: rpc(Empty, Empty, { errors: { not_found: schema } }) });

/** Asserts that a declaration fails with the path of what is wrong and why. */
function assertRefused(declare: () => unknown, path: string, why: RegExp, hint = ""): void {
  assert.throws(declare, (error: unknown) => {
    assert.ok(error instanceof TypeError, `expected a TypeError, got ${error} ${hint}`);
    const [, found = "", reason = ""] = /^Cannot declare "s\.v1\/m": (\S*?):? (.*)$/s.exec(error.message) ?? [];
    assert.equal(found, path, hint);
    assert.match(reason, why, hint);
    return true;
  });
}

/** The places a schema can stand in, each with the path an error names. */
const places: readonly (readonly [path: string, at: (leaf: Any) => Any])[] = [
  [".a", (leaf) => v.strictObject({ a: leaf })],
  [".a.b.c", (leaf) => v.strictObject({ a: v.strictObject({ b: v.strictObject({ c: leaf }) }) })],
  [".a[item]", (leaf) => v.strictObject({ a: v.array(leaf) })],
  [".a[item][item].b", (leaf) => v.strictObject({ a: v.array(v.array(v.strictObject({ b: leaf }))) })],
  [".a[1]", (leaf) => v.strictObject({ a: v.strictTuple([v.string(), leaf]) })],
  [".a[0]", (leaf) => v.strictObject({ a: v.tupleWithRest([leaf], v.string()) })],
  [".a[rest]", (leaf) => v.strictObject({ a: v.tupleWithRest([v.string()], leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.optional(leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.exactOptional(leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.undefinedable(leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.nullable(leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.nullish(leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.nonOptional(v.nonNullable(v.nonNullish(leaf))) })],
  [".a|1", (leaf) => v.strictObject({ a: v.union([v.null(), leaf]) })],
  [".a|1.b", (leaf) => {
    const [one, two] = [v.strictObject({ kind: v.literal("1") }), v.strictObject({ kind: v.literal("2"), b: leaf })];
    return v.strictObject({ a: v.variant("kind", [one, two]) });
  }],
  ["|1.b", (leaf) => v.union([Empty, v.strictObject({ b: leaf })])],
  [".a[value]", (leaf) => v.strictObject({ a: v.record(v.string(), leaf) })],
  [".a[value][item].b", (leaf) => v.strictObject({ a: v.record(v.string(), v.array(v.strictObject({ b: leaf }))) })],
  [".a", (leaf) => v.strictObject({ a: v.lazy(() => leaf) })],
  [".a", (leaf) => v.strictObject({ a: v.pipe(leaf, v.check(() => true)) })],
  [".a", (leaf) => v.pipe(v.strictObject({ a: leaf }), v.check(() => true))],
  [".a", (leaf) => v.lazy(() => v.strictObject({ a: leaf }))],
];

/** What is refused wherever it stands, on every side. */
const always: readonly (readonly [name: string, leaf: Any, why: RegExp])[] = [
  ["v.any", v.any(), /v\.any\b.*name what it may be/],
  ["v.unknown", v.unknown(), /v\.unknown\b.*name what it may be/],
  ["v.looseObject", v.looseObject({}), /v\.looseObject\b.*use v\.strictObject/],
  ["v.objectWithRest", v.objectWithRest({}, v.string()), /v\.objectWithRest\b.*use v\.strictObject/],
  ["v.looseTuple", v.looseTuple([]), /v\.looseTuple\b.*use v\.strictTuple/],
  ["v.custom", v.custom(() => true), /v\.custom\b.*use v\.pipe/],
  ["v.instance of Date", v.instance(Date), /v\.instance\b.*Uint8Array/],
  ["v.instance of a subclass", v.instance(class extends Uint8Array {}), /v\.instance\b.*Uint8Array/],
  ["v.map", v.map(v.string(), v.string()), /v\.map\b/],
  ["v.set", v.set(v.string()), /v\.set\b/],
  ["v.blob", v.blob(), /v\.blob\b/],
  ["v.function", v.function(), /v\.function\b/],
  ["v.symbol", v.symbol(), /v\.symbol\b/],
  ["v.promise", v.promise(), /v\.promise\b/],
  ["v.void", v.void(), /v\.void\b/],
  ["a schema that a later Valibot adds", { ...v.string(), type: "some_day" } as never, /v\.someDay\b/],
];

/** What is refused in what a client sends only: it drops what it does not name. */
const inInput: readonly (readonly [name: string, leaf: Any, why: RegExp])[] = [
  ["v.object", v.object({ x: v.string() }), /v\.object\b.*use v\.strictObject/],
  ["v.tuple", v.tuple([v.string()]), /v\.tuple\b.*use v\.strictTuple/],
  ["v.intersect", v.intersect([v.strictObject({}), v.strictObject({})]), /v\.intersect\b.*v\.strictObject/],
];

for (const [name, leaf, why] of [...always, ...inInput]) {
  test(`service() refuses ${name} at every place in what a client sends`, () => {
    for (const [path, at] of places) {
      assertRefused(() => declareInput(at(leaf)), `input${path}`, why, `${name} at ${at}`);
    }
  });
  test(`service() refuses ${name} in a stream that a client sends`, () => {
    const declare = () => service("s.v1", { m: rpc(stream(v.strictObject({ a: leaf })), Empty) });
    assertRefused(declare, "input.a", why);
  });
}

for (const [name, leaf, why] of always) {
  test(`service() refuses ${name} at every place in what a server answers`, () => {
    for (const [path, at] of places) {
      assertRefused(() => declareOutput(at(leaf)), `output${path}`, why, `${name} at ${at}`);
    }
    const declare = () => service("s.v1", { m: rpc(Empty, stream(v.object({ a: leaf }))) });
    assertRefused(declare, "output.a", why);
  });
  test(`service() refuses ${name} in the details of an error`, () => {
    assertRefused(() => declareDetails(v.object({ a: leaf })), "errors.not_found.a", why);
  });
}

for (const [name, leaf] of inInput) {
  test(`service() takes ${name} in what a server answers and in details`, () => {
    declareOutput(v.strictObject({ a: v.array(leaf) }));
    declareDetails(v.object({ a: leaf }));
  });
}

const good: Record<string, Any> = {
  string: v.pipe(v.string(), v.trim(), v.maxLength(10)),
  number: v.pipe(v.number(), v.integer()),
  flags: v.array(v.boolean()),
  big: v.bigint(),
  at: v.date(),
  none: v.null(),
  literal: v.literal("x"),
  picklist: v.picklist(["a", "b"]),
  enum: v.enum({ A: 1, B: 2 }),
  bytes: v.instance(Uint8Array),
  never: v.optional(v.never()),
  record: v.record(v.pipe(v.string(), v.maxLength(3)), v.strictObject({ n: v.nullable(v.nullish(v.nan())) })),
  tuple: v.strictTuple([v.string(), v.undefinedable(v.string())]),
  rest: v.tupleWithRest([v.string()], v.number()),
  variant: v.variant("k", [v.strictObject({ k: v.literal(1) }), v.strictObject({ k: v.literal(2) })]),
  union: v.union([v.string(), v.strictObject({})]),
};

for (const [name, schema] of Object.entries(good)) {
  test(`service() takes a strict ${name} on every side`, () => {
    declareInput(v.strictObject({ a: schema }));
    declareOutput(v.strictObject({ a: schema }));
    declareDetails(v.strictObject({ a: schema }));
  });
}

test("service() takes a recursive schema, and calls of it work", async () => {
  interface Tree {
    readonly name: string;
    readonly children: readonly Tree[];
  }
  const Tree: v.GenericSchema<Tree> = v.strictObject({ name: v.string(), children: v.array(v.lazy(() => Tree)) });
  const Trees = service("s.v1", { m: rpc(Tree, v.object({ depth: v.number() })) });
  const depth = (tree: Tree): number => 1 + Math.max(0, ...tree.children.map(depth));
  const server = createServer(implement(Trees, { m: (tree) => ({ depth: depth(tree) }) }), {
    guard: publicOnly(["s.v1/m"]),
  });
  const tree = { name: "a", children: [{ name: "b", children: [] }] };
  assert.deepEqual(await createClient(Trees, server.call).m(tree), { depth: 2 });
});

test("service() refuses what stands in a recursive schema, wherever the recursion enters it", () => {
  const Tree: Any = v.strictObject({ children: v.array(v.lazy(() => Tree)), extra: v.any() });
  assertRefused(() => declareInput(v.strictObject({ tree: Tree })), "input.tree.extra", /v\.any/);
});

test("service() refuses a recursive schema whose function makes it anew each time, which has no end", () => {
  const node = (): Any => v.strictObject({ next: v.nullable(v.lazy(node)) });
  assert.throws(() => declareInput(node()), /^TypeError: Cannot declare .* makes a new schema each time$/);
});

test("service() takes a recursive schema whose function wraps it anew each time", () => {
  const Node: Any = v.strictObject({ next: v.lazy(() => v.nullable(Node)), all: v.lazy(() => v.array(Node)) });
  declareInput(Node);
});

test("service() refuses a lazy schema that depends on its input", () => {
  const schema = v.strictObject({ a: v.lazy((input) => (input as { loose: boolean }).loose ? v.any() : v.string()) });
  assertRefused(() => declareInput(schema), "input.a", /v\.lazy\b.*input/);
});

test("service() refuses a lazy schema that leads nowhere", () => {
  const schema: Any = v.lazy(() => schema);
  assertRefused(() => declareInput(schema), "input", /v\.lazy\b.*leads nowhere/);
  assertRefused(() => declareInput(v.strictObject({ a: schema })), "input.a", /v\.lazy\b.*leads nowhere/);
});

const roots: readonly (readonly [name: string, schema: Any])[] = [
  ["a string", v.string()],
  ["an array", v.array(v.strictObject({}))],
  ["a record", v.record(v.string(), v.string())],
  ["a tuple", v.strictTuple([v.string()])],
  ["a nullable object", v.nullable(v.strictObject({}))],
  ["an optional object", v.optional(v.strictObject({}))],
  ["a union with something else", v.union([v.strictObject({}), v.string()])],
  ["a lazy string", v.lazy(() => v.string())],
  ["a picklist", v.picklist(["a"])],
  ["nothing", v.null()],
];

for (const [name, schema] of roots) {
  test(`service() refuses a message that is ${name}`, () => {
    const why = /object, so that/;
    for (const [side, declare] of [["input", declareInput], ["output", declareOutput]] as const) {
      assert.throws(() => declare(schema), (error: Error) => {
        assert.ok(
          error instanceof TypeError && error.message.startsWith(`Cannot declare "s.v1/m": ${side}`),
          error.message,
        );
        return why.test(error.message);
      });
    }
    assert.throws(() => declareDetails(schema), why);
    assert.throws(() => service("s.v1", { m: rpc(stream(schema), Empty) }), why);
  });
}

for (
  const [name, schema] of [
    ["a union of objects", v.union([v.strictObject({ a: v.string() }), v.strictObject({ b: v.string() })])],
    ["a variant", v.variant("k", [v.strictObject({ k: v.literal(1) }), v.strictObject({ k: v.literal(2) })])],
    ["a lazy object", v.lazy(() => v.strictObject({}))],
    ["an object in a pipe", v.pipe(v.strictObject({}), v.check(() => true))],
    ["a union of lazy objects", v.union([v.lazy(() => v.strictObject({}))])],
  ] as const
) {
  test(`service() takes a message that is ${name}`, () => {
    declareInput(schema);
    declareOutput(schema);
  });
}

const repeatable = v.pipe(v.string(), v.trim(), v.toLowerCase(), v.normalize(), v.brand("Sku"), v.readonly());

test("service() takes an answer whose transformations change nothing the second time", () => {
  declareOutput(v.object({ a: repeatable, b: v.pipe(v.number(), v.toMinValue(1), v.toMaxValue(2)) }));
});

for (
  const [name, schema, why] of [
    ["v.transform", v.pipe(v.string(), v.transform((text) => text + "!")), /transformed by "transform"/],
    ["v.rawTransform", v.pipe(v.string(), v.rawTransform(() => "x")), /transformed by "raw_transform"/],
    ["v.toNumber", v.pipe(v.string(), v.toNumber()), /transformed by "to_number"/],
    ["a schema in a pipe", v.pipe(v.string(), v.string()), /"string"/],
  ] as const
) {
  test(`service() refuses ${name} in an answer and in details, at any depth`, () => {
    assertRefused(() => declareOutput(v.object({ a: schema })), "output.a", why);
    assertRefused(() => declareOutput(v.object({ a: v.array(v.object({ b: schema })) })), "output.a[item].b", why);
    assertRefused(() => declareDetails(v.object({ a: schema })), "errors.not_found.a", why);
  });
  test(`service() takes ${name} in what a client sends`, () => {
    declareInput(v.strictObject({ a: schema }));
  });
}

test("service() refuses v.parseJson, a decoder without the codec's limits", () => {
  const schema = v.pipe(v.string(), v.parseJson(), v.strictObject({}));
  assertRefused(() => declareInput(v.strictObject({ a: schema })), "input.a", /v\.parseJson/);
  assertRefused(() => declareOutput(v.object({ a: schema })), "output.a", /v\.parseJson/);
});

test("service() refuses an input's pipe that ends in something that is not strict", () => {
  const parsed = v.transform((text: string): unknown => text.split(""));
  for (const [last, why] of [[v.any(), /v\.any/], [v.unknown(), /v\.unknown/], [v.object({}), /v\.object/]] as const) {
    const schema = v.pipe(v.string(), parsed, last as v.GenericSchema);
    assertRefused(() => declareInput(v.strictObject({ a: schema })), "input.a", why);
  }
  declareInput(v.strictObject({ a: v.pipe(v.string(), parsed, v.array(v.string())) }));
});

test("service() refuses a record whose keys are checked by a function", () => {
  const schema = v.strictObject({ a: v.record(v.custom<string>(() => true) as never, v.string()) });
  assertRefused(() => declareInput(schema), "input.a[key]", /v\.custom\b/);
  assertRefused(() => declareOutput(schema), "output.a[key]", /v\.custom\b/);
});

test("service() refuses v.fallback, which accepts everything and says so to nobody", () => {
  const schema = v.strictObject({ a: v.fallback(v.strictObject({ role: v.string() }), { role: "guest" }) });
  assertRefused(() => declareInput(schema), "input.a", /fallback/);
  assertRefused(() => declareInput(v.fallback(v.strictObject({}), {})), "input", /fallback/);
});

/** A schema of another library. */
function foreign(vendor: unknown): Schema<{ n: number }> {
  return {
    "~standard": {
      version: 1,
      vendor: vendor as string,
      validate: (value) =>
        typeof (value as { n: unknown }).n === "number"
          ? { value: value as { n: number } }
          : { issues: [{ message: "no" }] },
    },
  };
}

for (const vendor of ["zod", "arktype", "VALIBOT", "", undefined, "postern"]) {
  test(`service() refuses a schema of the vendor ${JSON.stringify(vendor)} on every side`, () => {
    for (
      const [side, declare] of [["input", declareInput], ["output", declareOutput], [
        "errors.not_found",
        declareDetails,
      ]] as const
    ) {
      assert.throws(() => declare(foreign(vendor)), (error: Error) => {
        assert.ok(error instanceof TypeError);
        return error.message.includes(`"s.v1/m": ${side} is not a Valibot schema`) &&
          error.message.includes("uncheckedSchema");
      });
    }
  });
}

for (
  const [name, thing] of [["an empty object", {}], ["a function", () => {}], ["a plain shape", {
    text: "string",
  }]] as const
) {
  test(`service() refuses ${name} in place of a schema`, () => {
    assert.throws(() => declareInput(thing as never), /is not a Valibot schema/);
    assert.throws(() => declareOutput(thing as never), /is not a Valibot schema/);
  });
}

test("uncheckedSchema() takes a schema of another library, which then does the checking", async () => {
  const Numbers = service("s.v1", { m: rpc(uncheckedSchema(foreign("zod")), v.object({ n: v.number() })) });
  const server = createServer(implement(Numbers, { m: ({ n }) => ({ n: n + 1 }) }), {
    guard: publicOnly(["s.v1/m"]),
    log: () => {},
  });
  const client = createClient(Numbers, server.call);
  assert.deepEqual(await client.m({ n: 1 }), { n: 2 });
  await assert.rejects(client.m({ n: "1" } as never), { code: "invalid_argument" });
});

test("uncheckedSchema() leaves the schema it is given as it was", () => {
  const schema = foreign("zod");
  uncheckedSchema(schema);
  assert.equal(schema["~standard"].vendor, "zod");
});

test("uncheckedSchema() takes a loose Valibot schema on its author's word", async () => {
  const Loose = service("s.v1", { m: rpc(uncheckedSchema(v.looseObject({})), v.object({})) });
  assert.equal((await Loose.methods.m.validateInput({ anything: 1 })).issues, undefined);
});
