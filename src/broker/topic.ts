import * as v from "valibot";
import { type Codec, json } from "../codec/mod.ts";
import { isTopicName, isTopicPattern } from "../internal/topic_name.ts";
import { type MethodDeclaration, rpc, type Schema, type Service, service, type Validate } from "../rpc/mod.ts";
import { isKeyTopic } from "./topic_rules.ts";

/** What a contract says of a topic beyond its messages. */
export interface TopicOptions {
  /**
   * Whether its messages are encrypted from publisher to subscriber, so that no broker can read them.
   *
   * @default {false}
   */
  readonly encrypted?: boolean;
  /** The largest message, in bytes of JSON, 1 to 524,288. @default {65_536} */
  readonly maxBytes?: number;
  /** One line about the topic, for generated documentation. */
  readonly summary?: string;
  /** Paragraphs about the topic, for generated documentation. */
  readonly description?: string;
}

/** The contract of a topic, which its publishers and its subscribers share. */
export interface Topic<MessageSchema extends Schema = Schema> extends TopicPattern<MessageSchema> {
  /** The topic's name, as `orders.v1.placed`. */
  readonly name: string;
}

/** The contract of several topics with messages of one schema, to subscribe to together. */
export interface TopicPattern<MessageSchema extends Schema = Schema> {
  /** Which topics, as `orders.v1.*`; a topic's own name where it is one. */
  readonly pattern: string;
  /** What each message is. */
  readonly schema: MessageSchema;
  /** Whether messages are encrypted from publisher to subscriber. */
  readonly encrypted: boolean;
  /** The largest message, in bytes of JSON. */
  readonly maxBytes: number;
  /** What else the contract says. */
  readonly options: TopicOptions;
  /** Checks one message. */
  readonly validate: Validate;
}

/**
 * Declares a topic: its name, and what its messages are.
 *
 * @example A contract
 * ```ts
 * import { topic } from "@postern/rpc/broker";
 * import * as v from "valibot";
 *
 * export const OrderPlaced = topic("orders.v1.placed", v.strictObject({ id: v.string(), amount: v.number() }));
 * ```
 *
 * @param name The topic's name: names of letters, digits and underscores joined by dots, at most 100 characters; the first
 *   is not `postern`.
 * @param schema The schema of each message. Objects must be strict at every level, as in a method's input.
 * @param options Whether it is encrypted, its limit and its documentation.
 * @returns The contract.
 * @throws {TypeError} A name, a schema or a limit is not allowed.
 */
export function topic<MessageSchema extends Schema>(
  name: string,
  schema: MessageSchema,
  options: TopicOptions = {},
): Topic<MessageSchema> {
  if (!isTopicName(name) || isReserved(name)) {
    throw new TypeError(`Cannot declare the topic "${name}": a name is letters, digits and "_", joined by "."`);
  }
  return Object.freeze({ ...contractOf(name, schema, options), name });
}

/**
 * Declares several topics at once, to subscribe to: all whose names match, and whose messages are of one schema.
 *
 * @example All that happens to orders
 * ```ts
 * import { topicPattern } from "@postern/rpc/broker";
 * import * as v from "valibot";
 *
 * export const OrderEvents = topicPattern("orders.v1.*", v.strictObject({ id: v.string(), amount: v.number() }));
 * ```
 *
 * @param pattern Names with `*` for one segment and `>` at the end for one or more.
 * @param schema The schema of each message.
 * @param options Whether they are encrypted, their limit and their documentation.
 * @returns The contract.
 * @throws {TypeError} A pattern, a schema or a limit is not allowed.
 */
export function topicPattern<MessageSchema extends Schema>(
  pattern: string,
  schema: MessageSchema,
  options: TopicOptions = {},
): TopicPattern<MessageSchema> {
  if (!isTopicPattern(pattern) || isReserved(pattern)) {
    throw new TypeError(`Cannot declare the topics "${pattern}": "*" is one whole segment, and ">" the last`);
  }
  return Object.freeze(contractOf(pattern, schema, options));
}

function contractOf<MessageSchema extends Schema>(
  pattern: string,
  schema: MessageSchema,
  options: TopicOptions,
): TopicPattern<MessageSchema> {
  const { encrypted = false, maxBytes = 65_536 } = options;
  if (!(Number.isInteger(maxBytes) && maxBytes >= 1 && maxBytes <= MAX_DATA)) {
    throw new TypeError(`Cannot declare "${pattern}": "maxBytes" is from 1 to ${MAX_DATA}`);
  }
  const unknown = Object.keys(options).find((name) => !OPTIONS.has(name));
  if (unknown !== undefined) throw new TypeError(`Cannot declare "${pattern}": there is no option "${unknown}"`);
  if (typeof encrypted !== "boolean") throw new TypeError(`Cannot declare "${pattern}": "encrypted" is true or false`);
  // A method's input has the same rules; the name of this one is seen in errors only.
  const { methods }: Service<{ message: MethodDeclaration }> = service("topic", { message: rpc(schema, Nothing) });
  return {
    pattern,
    schema,
    encrypted,
    maxBytes,
    options: Object.freeze({ ...options }),
    validate: methods.message.validateInput,
  };
}

/** What writes and reads the messages of a contract: as small, and as strict, as it says. */
export const codecOf = ({ maxBytes }: TopicPattern): Codec => json({ maxBytes });

/** What carries keys has names of its own. */
const isReserved = (name: string) => name.length > MAX_NAME || isKeyTopic(name);

/** The largest message of any topic, in bytes. */
export const MAX_DATA = 524_288;
const MAX_NAME = 100;
const OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(["encrypted", "maxBytes", "summary", "description"]);
const Nothing = /* @__PURE__ */ v.strictObject({});
