import { type Schema, UNCHECKED } from "./schema.ts";

/** The members of Valibot's schemas that say what they let through; all are part of its documented shape. */
interface Inspectable {
  readonly type?: string;
  readonly entries?: Readonly<Record<string, Inspectable>>;
  readonly item?: Inspectable;
  readonly items?: readonly Inspectable[];
  readonly rest?: Inspectable;
  readonly key?: Inspectable | string;
  readonly value?: Inspectable;
  readonly wrapped?: Inspectable;
  readonly options?: readonly Inspectable[];
  readonly getter?: (input: unknown) => Inspectable;
  readonly class?: unknown;
  readonly pipe?: readonly (Inspectable & { readonly kind?: string })[];
}

type Side = "input" | "output";

interface Walk {
  readonly label: string;
  readonly side: Side;
  /** Lazy schemas met before: a recursive schema is walked once. */
  readonly seen: Set<unknown>;
}

/**
 * Refuses a schema that could let something through unread.
 *
 * @param label The method, as `greeter.v1/hello`.
 * @param where `input`, `output` or `errors.<code>`; the path in an error starts with it.
 * @param schema The schema of one message.
 * @returns The schema.
 * @throws {TypeError} The schema is not strict, with the path and what to write instead.
 */
export function assertStrict(label: string, where: string, schema: Schema): Schema {
  const vendor = schema?.["~standard"]?.vendor;
  if (vendor === UNCHECKED) return schema;
  if (vendor !== "valibot") {
    throw new TypeError(
      `Cannot declare "${label}": ${where} is not a Valibot schema, so nobody can check that it is strict; ` +
        `uncheckedSchema() takes it on your word`,
    );
  }
  const walk: Walk = { label, side: where === "input" ? "input" : "output", seen: new Set() };
  assertObject(schema as Inspectable, where, walk, new Set());
  inspect(schema as Inspectable, where, walk);
  return schema;
}

/** Messages are objects, so that they can grow; a choice of objects is one too. */
function assertObject(schema: Inspectable, path: string, walk: Walk, seen: Set<Inspectable>): void {
  const target = resolveLazy(schema, path, walk);
  if (target.entries || seen.has(target)) return;
  if (!target.options || !CHOICES.has(target.type ?? "")) {
    refuse(walk, path, `a message is an object, so that it can grow; this is ${nameOf(target)}`);
  }
  seen.add(target);
  for (const option of target.options) assertObject(option, path, walk, seen);
}

/** Checks one schema and everything below it. */
function inspect(schema: Inspectable, path: string, walk: Walk): void {
  if (walk.seen.has(schema)) return;
  walk.seen.add(schema);
  const type = schema.type ?? "nothing";
  if (!KNOWN.has(type)) {
    refuse(walk, path, REFUSED[type] ?? `${nameOf(schema)} cannot be checked, so it is not allowed`);
  }
  if (type === "object" && walk.side === "input") refuse(walk, path, STRICT_OBJECT);
  if (type === "intersect" && walk.side === "input") {
    refuse(walk, path, "v.intersect is never strict, merge the entries");
  }
  if (type === "tuple" && walk.side === "input") refuse(walk, path, "v.tuple drops items unread, use v.strictTuple");
  if (type === "instance" && schema.class !== Uint8Array) refuse(walk, path, "only Uint8Array can be carried");
  if (walk.side === "output") refuseTransformation(schema, path, walk);
  for (const [step, child] of childrenOf(schema, path, walk)) inspect(child, path + step, walk);
}

/** Both sides check an answer, so a transformation would be applied twice. */
function refuseTransformation(schema: Inspectable, path: string, walk: Walk): void {
  for (const action of schema.pipe?.slice(1) ?? []) {
    if (action.kind === "schema") refuse(walk, path, "a schema inside v.pipe is for transformed input only");
    if (action.kind !== "transformation" || REPEATABLE.has(action.type ?? "")) continue;
    refuse(walk, path, `both sides check an answer, so it cannot be transformed by "${action.type}"`);
  }
}

function childrenOf(schema: Inspectable, path: string, walk: Walk): (readonly [string, Inspectable])[] {
  const children: (readonly [string, Inspectable | undefined])[] = [
    ...Object.entries(schema.entries ?? {}).map(([key, entry]) => [`.${key}`, entry] as const),
    ...(schema.items ?? []).map((item, index) => [`[${index}]`, item] as const),
    ...(CHOICES.has(schema.type ?? "") ? schema.options ?? [] : []).map((option, i) => [`|${i}`, option] as const),
    ["[]", schema.item],
    ["[...]", schema.rest],
    ["{}", schema.type === "record" ? schema.value : undefined],
    ["{key}", schema.type === "record" && typeof schema.key === "object" ? schema.key : undefined],
    ["", schema.wrapped],
    ["", schema.type === "lazy" ? resolveLazy(schema, path, walk) : undefined],
  ];
  return children.filter((child): child is readonly [string, Inspectable] => child[1] !== undefined);
}

/** A lazy schema's target, asked for as Valibot would ask, without an input. */
function resolveLazy(schema: Inspectable, path: string, walk: Walk): Inspectable {
  let target = schema;
  for (let hop = 0; target.type === "lazy"; hop++) {
    if (hop > 8 || !target.getter) refuse(walk, path, "v.lazy leads nowhere");
    try {
      target = target.getter(undefined);
    } catch (cause) {
      throw new TypeError(`Cannot declare "${walk.label}": ${path}: v.lazy must not depend on its input`, { cause });
    }
  }
  return target;
}

function refuse(walk: Walk, path: string, why: string): never {
  throw new TypeError(`Cannot declare "${walk.label}": ${path}: ${why}`);
}

/** Valibot writes its schemas' types in snake case and its functions in camel case. */
function nameOf(schema: Inspectable): string {
  return `v.${(schema.type ?? "nothing").replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())}`;
}

const STRICT_OBJECT = "v.object drops unknown keys unread, use v.strictObject";

/** Schemas made of others, of which a value fits one or all; a picklist has options too, but of values. */
const CHOICES: ReadonlySet<string> = new Set(["union", "variant", "intersect"]);

/** Schemas that would let something through unread, or that no codec carries, with what to do instead. */
const REFUSED: Readonly<Record<string, string>> = {
  any: "v.any lets everything through, name what it may be",
  unknown: "v.unknown lets everything through, name what it may be",
  loose_object: "v.looseObject lets unknown keys through, use v.strictObject, or v.record for keys that are data",
  object_with_rest:
    "v.objectWithRest lets unknown keys through, use v.strictObject, or v.record for keys that are data",
  loose_tuple: "v.looseTuple lets unknown items through, use v.strictTuple, or v.array",
  custom: "v.custom lets through what its function does not read, use v.pipe with v.check",
};

/** The schemas that can be checked. Whatever a later Valibot adds is refused until it is understood. */
const KNOWN: ReadonlySet<string> = new Set([
  ...["strict_object", "object", "array", "strict_tuple", "tuple", "tuple_with_rest", "record"],
  ...["union", "variant", "intersect", "lazy", "optional", "exact_optional", "undefinedable", "nullable", "nullish"],
  ...["non_optional", "non_nullable", "non_nullish"],
  ...["string", "number", "boolean", "bigint", "date", "null", "literal", "picklist", "enum", "instance", "never"],
  ...["undefined", "nan"],
]);

/** Transformations that change nothing when they are applied again. */
const REPEATABLE: ReadonlySet<string> = new Set([
  ...["brand", "flavor", "readonly", "trim", "trim_start", "trim_end", "to_lower_case", "to_upper_case", "normalize"],
  ...["to_min_value", "to_max_value"],
]);
