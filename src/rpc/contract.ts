import { STATUS_OF_CODE } from "./connect_protocol.ts";
import type { RpcCode } from "./rpc_error.ts";
import { type InputOf, type OutputOf, type Schema, type Validate, validatorOf } from "./schema.ts";
import { assertStrict } from "./strictness.ts";

/** Many messages of one schema in place of one message, made by {@linkcode stream}. */
export interface Stream<MessageSchema extends Schema = Schema> {
  /** Tells a stream from a schema. */
  readonly kind: "stream";
  /** The schema of each message. */
  readonly schema: MessageSchema;
}

/** What one direction of a method carries: one message, or a stream of them. */
export type Messages = Schema | Stream;

/** What a contract says of a method beyond its messages. */
export interface MethodOptions {
  /**
   * Whether a call changes nothing: it may then be made by GET, retried and hedged.
   *
   * @default {false}
   */
  readonly safe?: boolean;
  /**
   * Whether a repeated call changes no more than one call: it may then be retried.
   *
   * @default {false}, and true where `safe` is
   */
  readonly idempotent?: boolean;
  /** The largest message this method takes, in bytes, where that is less than the codec's `maxBytes`. */
  readonly maxBodyBytes?: number;
  /** The longest a call of this method may take, in milliseconds, in place of the server's `callDeadlineMs`. */
  readonly callDeadlineMs?: number;
  /**
   * What proves a call: with `"signature"` each request and answer is signed, also within a session, so that either side can
   * show others later what was said. Streams are always proven by their session.
   *
   * @default {whatever the guard takes}
   */
  readonly proof?: "signature";
  /** The details that an error of a code carries; what they do not name is stripped before it leaves. */
  readonly errors?: { readonly [Code in RpcCode]?: Schema };
  /** One line about the method, for generated documentation. */
  readonly summary?: string;
  /** Paragraphs about the method, for generated documentation. */
  readonly description?: string;
}

/** One method as {@linkcode rpc} declares it. */
export interface MethodDeclaration<Input extends Messages = Messages, Output extends Messages = Messages> {
  /** What the client sends. */
  readonly input: Input;
  /** What the server answers. */
  readonly output: Output;
  /** What else the contract says. */
  readonly options: MethodOptions;
}

/** One method of a service: its declaration, and what {@linkcode service} worked out from it. */
export interface Method extends MethodDeclaration {
  /** The service's name, as `greeter.v1`. */
  readonly service: string;
  /** The method's own name, as `hello`. */
  readonly name: string;
  /** Where the method is on the wire, as `/greeter.v1/hello`. */
  readonly path: string;
  /** Whether the client sends a stream. */
  readonly streamsInput: boolean;
  /** Whether the server answers a stream. */
  readonly streamsOutput: boolean;
  /** Checks one message of the client's. */
  readonly validateInput: Validate;
  /** Checks one message of the server's. */
  readonly validateOutput: Validate;
}

/** The methods of a service by name. */
export type MethodDeclarations = Readonly<Record<string, MethodDeclaration>>;

/** A contract: the one file that a client and a server share. */
export interface Service<Methods extends MethodDeclarations = MethodDeclarations> {
  /** The service's name, as `greeter.v1`. */
  readonly name: string;
  /** The methods in the order in which they were declared. */
  readonly methods: { readonly [Name in keyof Methods]: Methods[Name] & Method };
}

/** What a handler is given, and what a client's caller gets back. */
export type Received<Side extends Messages> = Side extends Stream<infer Item> ? AsyncIterable<OutputOf<Item>>
  : Side extends Schema ? OutputOf<Side>
  : never;

/** What a client's caller hands over, and what a handler answers. */
export type Sent<Side extends Messages> = Side extends Stream<infer Item> ? AsyncIterable<InputOf<Item>>
  : Side extends Schema ? InputOf<Side>
  : never;

/**
 * Declares one method: what goes in and what comes out.
 *
 * @example One message in, one out, and no side effects
 * ```ts
 * import { rpc } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const stock = rpc(v.strictObject({ sku: v.string() }), v.object({ count: v.number() }), { safe: true });
 * ```
 *
 * @param input The schema of the message, or a stream of them. Objects must be strict at every level.
 * @param output The schema of the answer, or a stream of them. What it does not name never leaves the server.
 * @param options Whether the method is safe or idempotent, its limits, its errors and its documentation.
 * @returns The declaration, for {@linkcode service}.
 */
export function rpc<Input extends Messages, Output extends Messages>(
  input: Input,
  output: Output,
  options: MethodOptions = {},
): MethodDeclaration<Input, Output> {
  return { input, output, options: Object.freeze({ ...options }) };
}

/**
 * Declares a stream: any number of messages of one schema.
 *
 * @example A method that answers with a stream
 * ```ts
 * import { rpc, stream } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const watch = rpc(v.strictObject({ sku: v.string() }), stream(v.object({ count: v.number() })));
 * ```
 *
 * @param schema The schema of each message.
 * @returns The stream, for {@linkcode rpc}.
 */
export function stream<MessageSchema extends Schema>(schema: MessageSchema): Stream<MessageSchema> {
  return { kind: "stream", schema };
}

/**
 * Declares a service: the contract that its clients and its server share.
 *
 * Everything is checked here, so a contract that could let something through unread does not load: messages are
 * objects, inputs are `v.strictObject` at every level, nothing is `v.any`, `v.unknown` or `v.looseObject`.
 *
 * @example A contract
 * ```ts
 * import { rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * export const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * ```
 *
 * @param name The service's name: names of letters, digits and underscores joined by dots, at most 128 characters.
 * @param methods The methods by name: letters, digits and underscores, at most 64 characters.
 * @returns The contract.
 * @throws {TypeError} A name or a schema is not allowed; the message names the path.
 */
export function service<Methods extends MethodDeclarations>(name: string, methods: Methods): Service<Methods> {
  if (name.length > 128 || !SERVICE_NAME.test(name)) {
    throw new TypeError(`Cannot declare the service "${name}": a name is letters, digits and "_", joined by "."`);
  }
  const bound = Object.entries(methods).map(([key, method]) => [key, bind(name, key, method)]);
  return Object.freeze({ name, methods: Object.freeze(Object.fromEntries(bound)) });
}

function bind(service: string, name: string, declared: MethodDeclaration): Method {
  // A client is a plain object with a function per method, so a name that objects already have would change what it is.
  if (!METHOD_NAME.test(name) || name === "then" || name === "toJSON" || name in Object.prototype) {
    throw new TypeError(`Cannot declare "${service}/${name}": choose another name, of letters, digits and "_"`);
  }
  const { input, output, options } = declared;
  const label = `${service}/${name}`;
  if (options.proof !== undefined && (options.proof !== "signature" || isStream(input) || isStream(output))) {
    throw new TypeError(`Cannot declare "${label}": "proof" is "signature", and a stream has none but its session's`);
  }
  const inputSchema = schemaOf(input);
  const outputSchema = schemaOf(output);
  assertStrict(label, "input", inputSchema);
  assertStrict(label, "output", outputSchema);
  for (const [code, details] of Object.entries(options.errors ?? {})) {
    if (!Object.hasOwn(STATUS_OF_CODE, code)) {
      throw new TypeError(`Cannot declare "${label}": there is no code "${code}"`);
    }
    assertStrict(label, `errors.${code}`, details);
  }
  return Object.freeze({
    input,
    output,
    options,
    service,
    name,
    path: `/${label}`,
    streamsInput: isStream(input),
    streamsOutput: isStream(output),
    validateInput: validatorOf(inputSchema),
    validateOutput: validatorOf(outputSchema),
  });
}

/** The grammar of a service's name on the wire. */
const SERVICE_NAME = /^[A-Za-z]\w*(\.[A-Za-z]\w*)*$/;

/** The grammar of a method's name on the wire. */
const METHOD_NAME = /^[A-Za-z]\w{0,63}$/;

function isStream(messages: Messages): messages is Stream {
  return (messages as Partial<Stream> | undefined)?.kind === "stream";
}

/** Whether a call of the method carries a stream, one way or both. */
export function isStreaming({ streamsInput, streamsOutput }: Method): boolean {
  return streamsInput || streamsOutput;
}

function schemaOf(messages: Messages): Schema {
  return isStream(messages) ? messages.schema : messages;
}
