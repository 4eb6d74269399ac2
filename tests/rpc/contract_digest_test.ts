import { contractDigest, rpc, type Schema, service, stream, uncheckedSchema } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const Empty = v.strictObject({});
const inputOf = (input: Schema) => contractDigest(service("s.v1", { m: rpc(input, Empty) }));
const entry = (schema: v.GenericSchema) => inputOf(v.strictObject({ a: schema }));

interface Tree {
  readonly name: string;
  readonly children: readonly Tree[];
}
const Tree: v.GenericSchema<Tree> = v.strictObject({ children: v.array(v.lazy(() => Tree)), name: v.string() });

const Sample = service("acme.stock.v1", {
  count: rpc(
    v.strictObject({ at: v.optional(v.date()), sku: v.pipe(v.string(), v.minLength(1), v.maxLength(32)) }),
    v.object({ count: v.pipe(v.number(), v.integer(), v.minValue(0)), exact: v.boolean() }),
    { safe: true, errors: { not_found: v.object({ sku: v.string() }) } },
  ),
  put: rpc(
    v.strictObject({
      lines: v.array(v.strictObject({ size: v.bigint(), sku: v.string(), tag: v.instance(Uint8Array) })),
    }),
    v.object({}),
    { idempotent: true },
  ),
  watch: rpc(v.strictObject({ kind: v.picklist(["a", "b"]) }), stream(v.object({ n: v.nullable(v.number()) }))),
});

test("contractDigest() of a sample contract is what it was when it was written", async () => {
  assert.equal(await contractDigest(Sample), "n5Nxf4nqZFH-7haVEgH42sxwSDZQgdc2dnMksk2Ckns");
});

test("contractDigest() of a recursive contract is what it was when it was written", async () => {
  assert.equal(await inputOf(Tree), "IMNZokl_B_YxsQ_hy0ve8Y3U4yJ3tzwsz3uLLRKWMmI");
});

test("contractDigest() is 43 characters of base64url", async () => {
  for (let n = 0; n < 30; n++) {
    assert.match(await contractDigest(service(`s.v${n}`, { m: rpc(Empty, Empty) })), /^[A-Za-z0-9_-]{43}$/);
  }
});

test("contractDigest() does not depend on the order of methods, members or error codes", async () => {
  const [a, b] = [v.string(), v.number()];
  const one = service("s.v1", {
    one: rpc(v.strictObject({ a, b }), Empty, { errors: { aborted: v.object({ a, b }), not_found: Empty } }),
    two: rpc(Empty, v.object({ a, b })),
  });
  const two = service("s.v1", {
    two: rpc(Empty, v.object({ b, a })),
    one: rpc(v.strictObject({ b, a }), Empty, { errors: { not_found: Empty, aborted: v.object({ b, a }) } }),
  });
  assert.equal(await contractDigest(one), await contractDigest(two));
});

const base = () => service("s.v1", { m: rpc(Tree, Empty, { safe: false }) });

test("contractDigest() does not count documentation, limits and what is the default anyway", async () => {
  const documented = rpc(Tree, Empty, {
    summary: "s",
    description: "d",
    maxBodyBytes: 10,
    callDeadlineMs: 10,
    safe: false,
    idempotent: false,
    errors: {},
  });
  assert.equal(await contractDigest(service("s.v1", { m: documented })), await contractDigest(base()));
  const safe = await contractDigest(service("s.v1", { m: rpc(Tree, Empty, { safe: true }) }));
  assert.equal(safe, await contractDigest(service("s.v1", { m: rpc(Tree, Empty, { safe: true, idempotent: true }) })));
});

test("contractDigest() does not count what documents a schema", async () => {
  const documented = v.pipe(v.string(), v.title("A name"), v.description("What it is called"));
  assert.equal(await entry(documented), await entry(v.string()));
});

const variants = {
  "the service's name": service("s.v2", { m: rpc(Empty, Empty) }),
  "the method's name": service("s.v1", { n: rpc(Empty, Empty) }),
  "one method more": service("s.v1", { m: rpc(Empty, Empty), n: rpc(Empty, Empty) }),
  "no method": service("s.v1", {}),
  "the input": service("s.v1", { m: rpc(v.strictObject({ a: v.string() }), Empty) }),
  "the output": service("s.v1", { m: rpc(Empty, v.strictObject({ a: v.string() })) }),
  "an output that is not strict": service("s.v1", { m: rpc(Empty, v.object({})) }),
  "a stream in": service("s.v1", { m: rpc(stream(Empty), Empty) }),
  "a stream out": service("s.v1", { m: rpc(Empty, stream(Empty)) }),
  "both streams": service("s.v1", { m: rpc(stream(Empty), stream(Empty)) }),
  safe: service("s.v1", { m: rpc(Empty, Empty, { safe: true }) }),
  idempotent: service("s.v1", { m: rpc(Empty, Empty, { idempotent: true }) }),
  "an error's details": service("s.v1", { m: rpc(Empty, Empty, { errors: { aborted: Empty } }) }),
  "an error's code": service("s.v1", { m: rpc(Empty, Empty, { errors: { not_found: Empty } }) }),
  "an error's schema": service("s.v1", { m: rpc(Empty, Empty, { errors: { aborted: v.object({ a: v.string() }) } }) }),
  nothing: service("s.v1", { m: rpc(Empty, Empty) }),
};

test("contractDigest() changes with every part of a contract that means something", async () => {
  await assertAllDiffer(variants, contractDigest as (one: unknown) => Promise<string>);
});

const schemas: Record<string, v.GenericSchema> = {
  string: v.string(),
  number: v.number(),
  integer: v.pipe(v.number(), v.integer()),
  boolean: v.boolean(),
  bigint: v.bigint(),
  date: v.date(),
  bytes: v.instance(Uint8Array),
  null: v.null(),
  nan: v.nan(),
  never: v.never(),
  array: v.array(v.string()),
  "array of another": v.array(v.number()),
  tuple: v.strictTuple([v.string()]),
  "longer tuple": v.strictTuple([v.string(), v.string()]),
  "tuple with rest": v.tupleWithRest([v.string()], v.string()),
  record: v.record(v.string(), v.string()),
  "record of another": v.record(v.string(), v.number()),
  "record with other keys": v.record(v.pipe(v.string(), v.maxLength(3)), v.string()),
  object: v.strictObject({}),
  "object with a member": v.strictObject({ a: v.string() }),
  "object with another member": v.strictObject({ b: v.string() }),
  "object with an optional member": v.strictObject({ a: v.optional(v.string()) }),
  "optional with a default": v.strictObject({ a: v.optional(v.string(), "x") }),
  "optional with another default": v.strictObject({ a: v.optional(v.string(), "y") }),
  nullable: v.nullable(v.string()),
  nullish: v.nullish(v.string()),
  optional: v.optional(v.string()),
  union: v.union([v.string(), v.number()]),
  "other union": v.union([v.string(), v.boolean()]),
  literal: v.literal("a"),
  "other literal": v.literal("b"),
  "literal number": v.literal(1),
  picklist: v.picklist(["a", "b"]),
  "other picklist": v.picklist(["a", "c"]),
  enum: v.enum({ A: 1, B: 2 }),
  variant: v.variant("k", [v.strictObject({ k: v.literal(1) })]),
  "min length": v.pipe(v.string(), v.minLength(1)),
  "other min length": v.pipe(v.string(), v.minLength(2)),
  "max length": v.pipe(v.string(), v.maxLength(2)),
  regex: v.pipe(v.string(), v.regex(/a/)),
  "other regex": v.pipe(v.string(), v.regex(/b/)),
  email: v.pipe(v.string(), v.email()),
  uuid: v.pipe(v.string(), v.uuid()),
  trim: v.pipe(v.string(), v.trim()),
  check: v.pipe(v.string(), v.check(() => true)),
  brand: v.pipe(v.string(), v.brand("a")),
  "min value": v.pipe(v.number(), v.minValue(1)),
  "other min value": v.pipe(v.number(), v.minValue(2)),
  "max value": v.pipe(v.number(), v.maxValue(1)),
  "multiple of": v.pipe(v.number(), v.multipleOf(2)),
  "min items": v.pipe(v.array(v.string()), v.minLength(1)),
  recursive: Tree,
};

test("contractDigest() changes with every part of a schema that means something", async () => {
  await assertAllDiffer(schemas, entry);
});

const beyondJson: Record<string, v.GenericSchema> = {
  "literal big integer": v.literal(1n),
  "other literal big integer": v.literal(2n),
  "picklist of big integers": v.picklist([1n, 2n]),
  "least big integer": v.pipe(v.bigint(), v.minValue(1n)),
  "other least big integer": v.pipe(v.bigint(), v.minValue(2n)),
  "least date": v.pipe(v.date(), v.minValue(new Date(0))),
  "other least date": v.pipe(v.date(), v.minValue(new Date(1))),
  "default date": v.optional(v.date(), new Date(0)),
  "default big integer": v.optional(v.bigint(), 1n),
  "most bytes": v.pipe(v.instance(Uint8Array), v.maxBytes(10) as never),
  "other most bytes": v.pipe(v.instance(Uint8Array), v.maxBytes(11) as never),
  "regex with a flag": v.pipe(v.string(), v.regex(/a/i)),
  "regex without": v.pipe(v.string(), v.regex(/a/)),
};

for (const [name, schema] of Object.entries(beyondJson)) {
  test(`contractDigest() digests what JSON Schema has no word for: ${name}`, async () => {
    assert.match(await entry(schema), /^[A-Za-z0-9_-]{43}$/);
  });
}

test("contractDigest() tells apart what JSON Schema has no word for", async () => {
  const digests = new Map<string, string>();
  for (const [name, schema] of Object.entries(beyondJson)) {
    const digest = await entry(schema).catch(() => undefined); // its own test says so
    if (digest === undefined) continue;
    assert.equal(digests.get(digest), undefined, `${name} has the digest of ${digests.get(digest)}`);
    digests.set(digest, name);
  }
});

test("contractDigest() digests a contract that is as deep and as wide as a message may be", async () => {
  let deep: v.GenericSchema = v.string();
  for (let level = 0; level < 30; level++) deep = v.strictObject({ a: deep });
  await inputOf(deep as never);
  const methods = Array.from(
    { length: 200 },
    (_, n) => [`m${n}`, rpc(v.strictObject({ a: v.string(), b: v.string() }), Tree)],
  );
  await contractDigest(service("s.v1", Object.fromEntries(methods)));
});

test("contractDigest() refuses a schema that is not Valibot's", async () => {
  await assert.rejects(inputOf(uncheckedSchema(Empty)), TypeError);
  await assert.rejects(contractDigest(service("s.v1", { m: rpc(Empty, stream(uncheckedSchema(Empty))) })), TypeError);
});

async function assertAllDiffer<One>(
  named: Record<string, One>,
  digestOf: (one: One) => Promise<string>,
): Promise<void> {
  const digests = new Map<string, string>();
  for (const [name, one] of Object.entries(named)) {
    const digest = await digestOf(one);
    assert.equal(digests.get(digest), undefined, `"${name}" has the digest of "${digests.get(digest)}"`);
    digests.set(digest, name);
  }
}
