import { toJsonSchema } from "@valibot/to-json-schema";
import { canonicalJson } from "../codec/mod.ts";
import type { Messages, MethodDeclaration, MethodDeclarations, Service } from "./contract.ts";

/**
 * The digest of a contract: two sides with the same digest mean the same by every method.
 *
 * It is the SHA-256, in base64url, of the canonical JSON (RFC 8785) of the service's name and of each method's name,
 * message schemas as JSON Schema, streams, `safe`, `idempotent` and typed errors. Documentation and limits do not count.
 *
 * @example Two spellings of the same contract
 * ```ts
 * import { contractDigest, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Empty = v.strictObject({});
 * const one = service("ping.v1", { ping: rpc(Empty, Empty, { summary: "Is anybody there" }) });
 * const two = service("ping.v1", { ping: rpc(Empty, Empty) });
 * if (await contractDigest(one) !== await contractDigest(two)) throw new Error("documentation must not count");
 * ```
 *
 * @param service The contract.
 * @returns 43 characters of base64url.
 * @throws {TypeError} A schema is not Valibot's, so that it has no JSON Schema.
 * @see {@link https://www.rfc-editor.org/rfc/rfc8785}
 */
export async function contractDigest<Methods extends MethodDeclarations>(service: Service<Methods>): Promise<string> {
  const methods = Object.entries<MethodDeclaration>(service.methods).map(([name, method]) => [name, describe(method)]);
  const text = canonicalJson({ service: service.name, methods: Object.fromEntries(methods) });
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return btoa(String.fromCharCode(...new Uint8Array(hash))).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
}

function describe({ input, output, options }: MethodDeclaration) {
  const errors = Object.entries(options.errors ?? {}).map(([code, schema]) => [code, describeMessages(schema)]);
  return {
    input: describeMessages(input),
    output: describeMessages(output),
    safe: options.safe ?? false,
    idempotent: options.idempotent ?? options.safe ?? false,
    errors: Object.fromEntries(errors),
  };
}

function describeMessages(messages: Messages): object {
  if ("kind" in messages && messages.kind === "stream") return { stream: describeMessages(messages.schema) };
  const schema = messages as Parameters<typeof toJsonSchema>[0];
  if (schema["~standard"].vendor !== "valibot") {
    throw new TypeError("Cannot digest the contract: only Valibot's schemas have a JSON Schema");
  }
  return normal(toJsonSchema(schema, {
    typeMode: "input",
    errorMode: "ignore",
    overrideSchema: ({ valibotSchema, jsonSchema }) => ({ ...jsonSchema, ...beyondJsonSchema(valibotSchema) }),
    overrideAction: ({ valibotAction, jsonSchema }) => withAction(jsonSchema, valibotAction),
  })) as object;
}

/** What JSON Schema has no word for (dates, big integers, bytes) is told apart by Valibot's own words. */
function beyondJsonSchema(schema: { readonly type: string; readonly literal?: unknown; readonly options?: unknown }) {
  const { type, literal, options } = schema;
  const values = type === "picklist" ? options : type === "literal" ? [literal] : undefined;
  return { "x-type": type, ...(values ? { "x-values": data(values) } : {}) };
}

interface Action {
  readonly kind: string;
  readonly type: string;
  readonly requirement?: unknown;
}

/** Adds a check or transformation in Valibot's words; one by a function has no other. Documentation is left out. */
function withAction<JsonSchema extends object & { readonly "x-actions"?: unknown }>(
  schema: JsonSchema,
  action: object,
) {
  const { kind, type, requirement } = action as Action;
  if (kind === "metadata") return schema;
  return { ...schema, "x-actions": [schema["x-actions"] ?? [], [type, data(requirement)]] };
}

/** The same schema in one spelling: what has no order is ordered, documentation is gone, and values are JSON. */
function normal(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(normal);
  if (typeof schema !== "object" || schema === null) return data(schema);
  const members = Object.entries(schema).filter(([key]) => !DOCUMENTATION.has(key));
  return Object.fromEntries(members.map(([key, value]) => {
    if (key === "required") return [key, (value as string[]).toSorted()];
    if (key === "default" || key === "const" || key === "enum") return [key, data(value)];
    return [key, NAMED.has(key) ? mapValues(value as object, normal) : normal(value)];
  }));
}

const DOCUMENTATION: ReadonlySet<string> = new Set(["$schema", "title", "description", "examples"]);

/** Keywords whose members are named by people, so that a name may look like a keyword. */
const NAMED: ReadonlySet<string> = new Set(["properties", "patternProperties", "$defs", "definitions"]);

const mapValues = (object: object, map: (value: unknown) => unknown) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]));

/** A value as JSON; what JSON cannot carry becomes its type and its text. */
function data(value: unknown): unknown {
  if (value === undefined || typeof value === "function") return null;
  if (Array.isArray(value)) return value.map(data);
  if (value instanceof Date) return { date: value.getTime() };
  if (value instanceof RegExp) return { regexp: String(value) };
  if (typeof value === "object" && value !== null) return mapValues(value, data);
  if (typeof value === "bigint" || typeof value === "symbol" || Number.isNaN(value)) {
    return { [typeof value]: String(value) };
  }
  return value;
}
