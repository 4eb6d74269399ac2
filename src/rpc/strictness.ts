import { type Schema, UNCHECKED } from "./schema.ts";

/** The members of Valibot's schemas that say what they let through; all are part of its documented shape. */
interface Inspectable {
  readonly kind?: string;
  readonly type: string;
  readonly entries?: Readonly<Record<string, Inspectable>>;
  readonly items?: readonly Inspectable[];
  readonly options?: readonly Inspectable[];
  readonly pipe?: readonly Inspectable[];
  readonly item?: Inspectable;
  readonly rest?: Inspectable;
  readonly key?: Inspectable;
  readonly value?: Inspectable;
  readonly wrapped?: Inspectable;
  readonly class?: unknown;
  readonly fallback?: unknown;
  readonly getter?: (input: unknown) => Inspectable;
}

/** What stays the same while one schema is walked. */
interface Walk {
  readonly refuse: (path: string, why: string) => never;
  readonly isInput: boolean;
  /** Schemas, and functions of lazy ones, met before: a recursive schema is walked once. */
  readonly seen: Set<unknown>;
}

/**
 * Refuses a schema that could let something through unread.
 *
 * @param label The method, as `greeter.v1/hello`.
 * @param where `input`, `output` or `errors.<code>`; the path in an error starts with it.
 * @param schema The schema of one message.
 * @throws {TypeError} The schema is not strict, with the path and what to write instead.
 */
export function assertStrict(label: string, where: string, schema: Schema): void {
  const refuse = (path: string, why: string): never => {
    throw new TypeError(`Cannot declare "${label}": ${path} ${why}`);
  };
  const vendor = schema?.["~standard"]?.vendor;
  if (vendor === UNCHECKED) return;
  if (vendor !== "valibot") refuse(where, "is not a Valibot schema; uncheckedSchema() takes it on your word");
  const walk = { refuse, isInput: where === "input", seen: new Set() };
  assertObject(walk, schema as unknown as Inspectable, where, new Set());
  inspect(walk, schema as unknown as Inspectable, where, 0);
}

/** A lazy schema's target, asked for as Valibot asks, but without an input. */
function resolve(walk: Walk, schema: Inspectable, path: string): Inspectable {
  try {
    return schema.getter ? resolve(walk, schema.getter(undefined), path) : schema;
  } catch {
    return walk.refuse(path, "is v.lazy that depends on its input, or leads nowhere");
  }
}

/** Messages are objects, so that they can grow; a choice of objects is one too. */
function assertObject(walk: Walk, schema: Inspectable, path: string, seen: Set<Inspectable>): void {
  const target = resolve(walk, schema, path);
  if (target.entries || seen.has(target)) return;
  if (!CHOICES.has(target.type)) walk.refuse(path, "must be an object, so that messages can grow");
  if (seen.add(target).size > DEEPEST) walk.refuse(path, "is too large to be checked");
  for (const option of target.options ?? []) assertObject(walk, option, path, seen);
}

/** Checks one schema and what it is made of. */
function inspect(walk: Walk, schema: Inspectable, path: string, depth: number): void {
  const { seen, isInput } = walk;
  // One that makes itself anew each time is walked as deep as a message can be.
  if (seen.has(schema) || seen.has(schema.getter) || depth > DEEPEST) return;
  seen.add(schema);
  if (schema.getter) seen.add(schema.getter);
  if (seen.size > MOST_SCHEMAS) walk.refuse(path, "is too large to be checked");
  const { type = "nothing", getter } = schema;
  if (getter && getter.length > 0) walk.refuse(path, "is v.lazy that depends on its input");
  if (type === "union" && recursions(schema) > 1) {
    walk.refuse(path, "is v.union with several ways back to itself, which takes time without end, use v.variant");
  }
  const known = STRICT.has(type) || (!isInput && STRICT_ENOUGH_FOR_OUTPUT.has(type));
  if (!known || (type === "instance" && schema.class !== Uint8Array)) {
    const name = type.replace(/_./g, (letters) => letters[1]!.toUpperCase());
    walk.refuse(path, `is v.${name}, which is not allowed${ADVICE[type] ?? ""}`);
  }
  if ("fallback" in schema) walk.refuse(path, "has v.fallback, which takes everything and tells nobody");
  schema.pipe?.slice(1).forEach((action) => inspectAction(walk, action, path, depth));
  inspectParts(walk, schema, path, depth + 1);
}

/**
 * How many options of a union lead back to it. Valibot tries one after the other, so with two of them the time a message
 * takes doubles with each level.
 */
function recursions(union: Inspectable): number {
  return union.options!.filter((option) => leadsTo(option, union, new Set())).length;
}

function leadsTo(schema: Inspectable, target: Inspectable, seen: Set<unknown>): boolean {
  if (schema === target) return true;
  if (seen.has(schema) || seen.size > DEEPEST) return false;
  seen.add(schema);
  return partsOf(schema).some((part) => leadsTo(part, target, seen));
}

/** What a schema is made of; a lazy one that fails is refused elsewhere. */
function partsOf(schema: Inspectable): readonly Inspectable[] {
  const { entries = {}, items = [], options = [], pipe = [], type, getter, item, rest, value, wrapped } = schema;
  const target = getter ? lazily(getter) : undefined;
  const all = [...Object.values(entries), ...items, ...pipe.slice(1), item, rest, value, wrapped, target];
  return [...all, ...(CHOICES.has(type) ? options : [])].filter((part) => part?.kind === "schema") as Inspectable[];
}

function lazily(getter: (input: unknown) => Inspectable): Inspectable | undefined {
  try {
    return getter(undefined);
  } catch {
    return undefined;
  }
}

/** What follows in a pipe: an input may be transformed, into something that is as strict. */
function inspectAction(walk: Walk, action: Inspectable, path: string, depth: number): void {
  const { kind, type } = action;
  if (type === "parse_json") walk.refuse(path, "has v.parseJson, a decoder without the codec's limits");
  if (walk.isInput) return kind === "schema" ? inspect(walk, action, path, depth) : undefined;
  // Both sides check an answer, so a transformation would be applied twice.
  if (kind === "schema" || (kind === "transformation" && !REPEATABLE.has(type))) {
    walk.refuse(path, `is transformed by "${type}", but both sides check an answer, so it must stay the same`);
  }
}

function inspectParts(walk: Walk, schema: Inspectable, path: string, depth: number): void {
  const { entries = {}, items = [], options = [], type } = schema;
  for (const [key, entry] of Object.entries(entries)) inspect(walk, entry, `${path}.${key}`, depth);
  items.forEach((item, index) => inspect(walk, item, `${path}[${index}]`, depth));
  // A picklist has options too, but of values.
  if (CHOICES.has(type)) options.forEach((option, index) => inspect(walk, option, `${path}|${index}`, depth));
  if (schema.getter) inspect(walk, resolve(walk, schema, path), path, depth);
  for (const part of ["item", "rest", "key", "value", "wrapped"] as const) {
    const child = schema[part]; // a variant's key is a text
    if (child?.kind === "schema") inspect(walk, child, part === "wrapped" ? path : `${path}[${part}]`, depth);
  }
}

const setOf = (words: string): ReadonlySet<string> => new Set(words.split(" "));

/** No codec reads a message that is deeper. */
const DEEPEST = 1000;

/** Far more than any contract that people write. */
const MOST_SCHEMAS = 10_000;

/** Schemas made of others, of which a value fits one or all. */
const CHOICES = /* @__PURE__ */ setOf("union variant intersect");

/** The schemas that let nothing through unread. Whatever a later Valibot adds is refused until it is understood. */
const STRICT = /* @__PURE__ */ setOf(
  "strict_object array strict_tuple tuple_with_rest record union variant lazy optional exact_optional undefinedable " +
    "nullable nullish non_optional non_nullable non_nullish string number boolean bigint date null literal picklist " +
    "enum instance never undefined nan",
);

/** The schemas that drop what they do not name: nothing leaks out of a server, nothing may go by unread into it. */
const STRICT_ENOUGH_FOR_OUTPUT = /* @__PURE__ */ setOf("object tuple intersect");

/** Transformations that change nothing when they are applied again. */
const REPEATABLE = /* @__PURE__ */ setOf(
  "brand flavor readonly trim trim_start trim_end to_lower_case to_upper_case normalize to_min_value to_max_value",
);

const USE_STRICT_OBJECT = ", use v.strictObject, or v.record for keys that are data";
const NAME_IT = ", name what it may be";

const ADVICE: Readonly<Record<string, string>> = {
  object: USE_STRICT_OBJECT,
  loose_object: USE_STRICT_OBJECT,
  object_with_rest: USE_STRICT_OBJECT,
  intersect: ", merge the entries into one v.strictObject",
  tuple: ", use v.strictTuple",
  loose_tuple: ", use v.strictTuple",
  custom: ", use v.pipe with v.check",
  instance: " but for Uint8Array",
  any: NAME_IT,
  unknown: NAME_IT,
};
