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
  /** A record's; a variant's is a text. */
  readonly key?: Inspectable;
  readonly value?: Inspectable;
  readonly wrapped?: Inspectable;
  readonly class?: unknown;
  readonly literal?: unknown;
  readonly fallback?: unknown;
  readonly getter?: (input: unknown) => Inspectable;
}

/** What stays the same while one schema is walked. */
interface Walk {
  readonly refuse: (path: string, why: string) => never;
  readonly isInput: boolean;
  /** Schemas met before: a recursive schema is walked once. */
  readonly seen: Set<unknown>;
  /** What runs a value through several schemas (unions, variants, intersections, pipes), with where it is. */
  readonly choices: (readonly [Inspectable, string])[];
  /** Where lazy schemas lead, asked once: `v.lazy(() => v.union([…]))` leads to a new one each time. */
  readonly targets: Map<Inspectable, Inspectable>;
  /** How many lazy schemas were met. */
  lazies: number;
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
  const walk: Walk = {
    refuse,
    isInput: where === "input",
    seen: new Set(),
    choices: [],
    targets: new Map(),
    lazies: 0,
  };
  assertObject(walk, schema as unknown as Inspectable, where, new Set());
  inspect(walk, schema as unknown as Inspectable, where);
  for (const [choice, path] of walk.choices) assertOneWayBack(walk, choice, path);
}

/** What a schema stands for: itself, or a lazy one's target, asked for as Valibot asks, but without an input. */
function resolve(walk: Walk, schema: Inspectable, path: string): Inspectable {
  const { getter } = schema;
  if (!getter) return schema;
  const known = walk.targets.get(schema);
  if (known) return known;
  if (!WITHOUT_PARAMETERS.test(Function.prototype.toString.call(getter))) {
    walk.refuse(path, "is v.lazy with a function that may look at its input, write () => …");
  }
  try {
    const target = resolve(walk, getter(undefined), path);
    walk.targets.set(schema, target);
    return target;
  } catch {
    return walk.refuse(path, "is v.lazy that depends on its input, or leads nowhere");
  }
}

/** Messages are objects, so that they can grow; a choice of objects is one too. */
function assertObject(walk: Walk, schema: Inspectable, path: string, seen: Set<Inspectable>): void {
  const target = resolve(walk, schema, path);
  if (target.entries || seen.has(target)) return;
  if (!CHOICES.has(target.type)) walk.refuse(path, "must be an object, so that messages can grow");
  seen.add(target);
  for (const option of target.options ?? []) assertObject(walk, option, path, seen);
}

/** Checks one schema and what it is made of. */
function inspect(walk: Walk, schema: Inspectable, path: string): void {
  const { seen, isInput } = walk;
  if (seen.has(schema)) return;
  seen.add(schema);
  const { type = "nothing" } = schema;
  if (CHOICES.has(type) || schema.pipe?.slice(1).some(isSchema)) walk.choices.push([schema, path]);
  if (schema.getter && ++walk.lazies > MOST_LAZIES) walk.refuse(path, "is v.lazy that makes a new schema each time");
  const known = STRICT.has(type) || (!isInput && STRICT_ENOUGH_FOR_OUTPUT.has(type));
  if (!known || (type === "instance" && schema.class !== Uint8Array)) {
    const name = type.replace(/_./g, (letters) => letters[1]!.toUpperCase());
    walk.refuse(path, `is v.${name}, which is not allowed${ADVICE[type] ?? ""}`);
  }
  if ("fallback" in schema) walk.refuse(path, "has v.fallback, which takes everything and tells nobody");
  schema.pipe?.slice(1).forEach((action) => inspectAction(walk, action, path));
  inspectParts(walk, schema, path);
}

/**
 * Refuses a choice that several of its own options lead back to and that take the same kind of value: they would be tried
 * one after the other (an intersection's always are), so the time that a message takes would double with each level.
 */
function assertOneWayBack(walk: Walk, choice: Inspectable, path: string): void {
  const ways = new Set<unknown>();
  const tails = (choice.pipe ?? []).slice(1).filter(isSchema).map((tail) => ({ way: "object", parts: [tail] }));
  const head = tails.length > 0 ? { ...choice, pipe: [] } : choice;
  for (const { way, parts } of [...alternatives(walk, head, path, new Set()), ...tails]) {
    if (!parts.some((part) => leadsTo(walk, part, path, choice, new Set()))) continue;
    if (ways.has(way)) {
      walk.refuse(path, "has several recursive options for one kind of value, use v.variant with a literal for each");
    }
    ways.add(way);
  }
}

/** An option that is no choice itself: which values get into it at all, and what it looks at then. */
interface Alternative {
  readonly way: unknown;
  readonly parts: readonly Inspectable[];
}

function alternatives(
  walk: Walk,
  schema: Inspectable,
  path: string,
  seen: Set<Inspectable>,
  isInner = false,
): readonly Alternative[] {
  const target = resolve(walk, schema, path);
  if (seen.has(target)) return [];
  seen.add(target);
  const { type, options = [], wrapped, key, entries } = target;
  if (wrapped) return alternatives(walk, wrapped, path, seen, isInner);
  if (!CHOICES.has(type)) {
    const way = entries || type === "record" ? "object" : LISTS.has(type) ? "list" : type;
    return [{ way, parts: partsOf(target) }];
  }
  const inner = options.map((option) => alternatives(walk, option, path, seen, true));
  const literals = type !== "variant"
    ? []
    : options.map((option) => resolve(walk, option, path).entries?.[key as unknown as string]);
  if (type !== "variant" || !literals.every((each) => each?.type === "literal")) return inner.flat();
  // The literals decide between the options of a variant, but not between it and what stands beside it.
  if (isInner) return [{ way: "object", parts: inner.flat().flatMap(({ parts }) => parts) }];
  return inner.flatMap((each, index) => each.map(({ parts }) => ({ way: literals[index]!.literal, parts })));
}

function leadsTo(walk: Walk, from: Inspectable, path: string, to: Inspectable, seen: Set<Inspectable>): boolean {
  const schema = resolve(walk, from, path);
  if (schema === to) return true;
  if (seen.has(schema)) return false;
  seen.add(schema);
  return partsOf(schema).some((part) => leadsTo(walk, part, path, to, seen));
}

/** What a schema is made of, lazy ones as they are. */
function partsOf(schema: Inspectable): readonly Inspectable[] {
  const { entries = {}, items = [], options = [], pipe = [], type, item, rest, key, value, wrapped } = schema;
  const all = [...Object.values(entries), ...items, ...pipe.slice(1), item, rest, key, value, wrapped];
  return [...all, ...(CHOICES.has(type) ? options : [])].filter(isSchema);
}

/** A variant's key is a text, and what stands in a pipe may be an action. */
const isSchema = (part: Inspectable | undefined): part is Inspectable => part?.kind === "schema";

/** What follows in a pipe: an input may be transformed, into something that is as strict. */
function inspectAction(walk: Walk, action: Inspectable, path: string): void {
  const { kind, type } = action;
  if (type === "parse_json") walk.refuse(path, "has v.parseJson, a decoder without the codec's limits");
  if (walk.isInput) return kind === "schema" ? inspect(walk, action, path) : undefined;
  // Both sides check an answer, so a transformation would be applied twice.
  if (kind === "schema" || (kind === "transformation" && !REPEATABLE.has(type))) {
    walk.refuse(path, `is transformed by "${type}", but both sides check an answer, so it must stay the same`);
  }
}

function inspectParts(walk: Walk, schema: Inspectable, path: string): void {
  const { entries = {}, items = [], options = [], type } = schema;
  for (const [key, entry] of Object.entries(entries)) inspect(walk, entry, `${path}.${key}`);
  items.forEach((item, index) => inspect(walk, item, `${path}[${index}]`));
  // A picklist has options too, but of values.
  if (CHOICES.has(type)) options.forEach((option, index) => inspect(walk, option, `${path}|${index}`));
  if (schema.getter) inspect(walk, resolve(walk, schema, path), path);
  for (const part of ["item", "rest", "key", "value", "wrapped"] as const) {
    const child = schema[part];
    if (isSchema(child)) inspect(walk, child, part === "wrapped" ? path : `${path}[${part}]`);
  }
}

const setOf = (words: string): ReadonlySet<string> => new Set(words.split(" "));

/** The source of a function that cannot know what it is called with. */
const WITHOUT_PARAMETERS = /^(\(\s*\)\s*=>|function\s*\w*\s*\(\s*\)\s*\{(?![^]*(\barguments\b|\[native code\])))/;

/** More than any contract has; a schema that makes itself anew each time has no end. */
const MOST_LAZIES = 250;

const LISTS = /* @__PURE__ */ setOf("array strict_tuple tuple tuple_with_rest");

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
