import { isPromiseLike } from "../internal/promise.ts";

/**
 * A schema as Standard Schema describes it, so that public types name no library.
 *
 * Valibot's schemas are the ones whose strictness a contract can check; any other enters through
 * {@linkcode uncheckedSchema}.
 *
 * @see {@link https://standardschema.dev/}
 */
export interface Schema<Input = unknown, Output = Input> {
  /** The properties that every implementation of Standard Schema carries. */
  readonly "~standard": SchemaProperties<Input, Output>;
}

/** What a {@linkcode Schema} says of itself. */
export interface SchemaProperties<Input = unknown, Output = Input> {
  /** The version of Standard Schema. */
  readonly version: 1;
  /** The library that made the schema. */
  readonly vendor: string;
  /** Checks a value: the typed value, or what is wrong with it. */
  readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  /** Carries the types; never there at run time. */
  readonly types?: { readonly input: Input; readonly output: Output } | undefined;
}

/** What a schema answers: `value` where it accepts, else `issues`. */
export interface SchemaResult<Output = unknown> {
  /** The accepted value; only to be read where `issues` is not set. */
  readonly value?: Output;
  /** What is wrong with the value, the first problem first. */
  readonly issues?: readonly SchemaIssue[] | undefined;
}

/** One problem that a schema found. */
export interface SchemaIssue {
  /** The library's own words; they may hold the received value, so they never leave the process. */
  readonly message: string;
  /** Where in the value. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What may be given to a schema. */
export type InputOf<MessageSchema extends Schema> = NonNullable<MessageSchema["~standard"]["types"]>["input"];

/** What a schema gives back. */
export type OutputOf<MessageSchema extends Schema> = NonNullable<MessageSchema["~standard"]["types"]>["output"];

/** Checks one value against one schema; the value it answers is safe to hand on. */
export type Validate = (value: unknown) => SchemaResult | Promise<SchemaResult>;

/** The parts of a Valibot schema that this project relies on; the rest of its shape is read in strictness.ts. */
interface ValibotSchema extends Schema {
  readonly "~run": (dataset: { value: unknown }, config: object) => SchemaResult | Promise<SchemaResult>;
}

/**
 * Accepts a schema of another library than Valibot, whose strictness nobody can check from outside.
 *
 * That it refuses unknown keys at every level, bounds what it accepts and lets nothing through unread is then the
 * author's job.
 *
 * @example Use a schema that is not Valibot's
 * ```ts
 * import { rpc, service, uncheckedSchema } from "@postern/rpc";
 * import type { Schema } from "@postern/rpc/rpc";
 *
 * const isPing = (value: unknown): value is { at: number } =>
 *   JSON.stringify(Object.keys(value as object)) === '["at"]' && Number.isInteger((value as { at: unknown }).at);
 * const Ping: Schema<{ at: number }> = {
 *   "~standard": {
 *     version: 1,
 *     vendor: "by hand",
 *     validate: (value) => isPing(value) ? { value } : { issues: [{ message: "This is no ping" }] },
 *   },
 * };
 *
 * export const Clock = service("clock.v1", { ping: rpc(uncheckedSchema(Ping), uncheckedSchema(Ping)) });
 * ```
 *
 * @param schema A schema that implements Standard Schema.
 * @returns The same schema, marked as taken on trust.
 */
export function uncheckedSchema<MessageSchema extends Schema>(schema: MessageSchema): MessageSchema {
  const properties = schema["~standard"];
  return { ...schema, "~standard": { ...properties, vendor: UNCHECKED } } as MessageSchema;
}

/** The vendor that {@linkcode uncheckedSchema} writes in place of the real one. */
export const UNCHECKED = "postern:unchecked";

/**
 * The quickest way to run a schema.
 *
 * Valibot is asked to stop at the first problem: one is all a refusal names, and a message with ten thousand bad items
 * must not buy ten thousand issues.
 */
export function validatorOf(schema: Schema): Validate {
  const properties = schema["~standard"];
  if (properties.vendor !== "valibot") return properties.validate;
  const run = (schema as ValibotSchema)["~run"];
  return (value) => run.call(schema, { value }, FIRST_ISSUE);
}

const FIRST_ISSUE = { abortEarly: true, abortPipeEarly: true };

/**
 * The field that an issue is about, as `items[2].sku`, and never a value.
 *
 * Keys that are not plain names may be data (a record's key, a hostile unknown key) and are written as `[key]`.
 */
function fieldOf(issues: readonly SchemaIssue[]): string {
  let field = "";
  for (const step of (issues[0]?.path ?? []).slice(0, 32)) {
    const key = typeof step === "object" ? step.key : step;
    if (typeof key === "number") field += `[${key}]`;
    else if (typeof key !== "string" || !/^[A-Za-z]\w{0,63}$/.test(key)) field += "[key]";
    else field += field ? `.${key}` : key;
  }
  return field;
}

/** Says which field a message got wrong, in constant words and without a value. */
export function mismatch(what: string, issues: readonly SchemaIssue[]): string {
  const field = fieldOf(issues);
  return `${what} does not match the contract${field ? ` at "${field}"` : ""}`;
}

/**
 * Checks a value.
 *
 * @throws Whatever the schema throws, but for the RangeError of a recursive one on deep input, which accepts nothing.
 */
export function check(validate: Validate, value: unknown): SchemaResult | Promise<SchemaResult> {
  try {
    const result = validate(value);
    return isPromiseLike(result) ? Promise.resolve(result).catch(tooDeep) : result;
  } catch (error) {
    return tooDeep(error);
  }
}

function tooDeep(error: unknown): SchemaResult {
  if (error instanceof RangeError) return { issues: [{ message: "" }] };
  throw error;
}
