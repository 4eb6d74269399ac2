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
  // What JSON Schema has no word for (dates, big integers, bytes, checks by a function) is told apart by Valibot's name.
  return toJsonSchema(schema, {
    typeMode: "input",
    errorMode: "ignore",
    overrideSchema: ({ valibotSchema, jsonSchema }) => ({ ...jsonSchema, "x-type": valibotSchema.type }),
    overrideAction: ({ valibotAction, jsonSchema }) => ({
      ...jsonSchema,
      "x-actions": [...(jsonSchema as { "x-actions"?: string[] })["x-actions"] ?? [], valibotAction.type],
    }),
  });
}
