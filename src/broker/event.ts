import * as v from "valibot";
import { type Identity, readJws, signJws, type Trust, verifyJws } from "../auth/mod.ts";
import { toBase64Url } from "../internal/base64.ts";
import type { HashProvider } from "../internal/hash.ts";
import { isTopicName } from "../internal/topic_name.ts";
import { BrokerError } from "./broker_error.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What an event says beside its data, before it is signed. */
export interface EventAttributes {
  /** The topic's name. */
  readonly topic: string;
  /** Its id, unique for its publisher. */
  readonly id: string;
  /** Which run of the publisher numbers it. */
  readonly producer: string;
  /** Its number in that run and topic, from 1. */
  readonly sequence: number;
  /** When it is published, in milliseconds since 1970. */
  readonly timeMs: number;
  /** The key that it keeps its order with. */
  readonly orderingKey: string | undefined;
  /** What the data is. */
  readonly contentType: string;
}

/**
 * Signs an event: `<attributes>~<identity token>~<data>`, where the attributes are a JWS with the names that CloudEvents gives
 * them, and cover the data by its SHA-256.
 *
 * @param identity Who publishes.
 * @param attributes What it says of itself; well formed.
 * @param data The data, as text.
 * @param hash What hashes.
 * @returns The event.
 * @see {@link https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#context-attributes}
 */
export async function signEvent(
  identity: Identity,
  attributes: EventAttributes,
  { data, hash }: { readonly data: string; readonly hash: HashProvider },
): Promise<string> {
  const { topic, id, producer, sequence, timeMs, orderingKey, contentType } = attributes;
  const claims = {
    specversion: SPEC_VERSION,
    type: topic,
    id,
    source: identity.id,
    producer,
    sequence: `${sequence}`,
    time: new Date(timeMs).toISOString(),
    datacontenttype: contentType,
    datadigest: digestOf(data, hash),
    ...orderingKey === undefined ? {} : { partitionkey: orderingKey },
  };
  const { token } = await identity.credential();
  return `${await signJws(EVENT_TYPE, claims, { sign: identity.sign })}~${token.reveal()}~${data}`;
}

/** What an event has to agree with. */
export interface EventExpectation {
  /** Whose words count. */
  readonly trust: Trust;
  /** The topic that it came by. */
  readonly topic: string;
  /** The time, in milliseconds since 1970. */
  readonly nowMs: number;
  /** What hashes. */
  readonly hash: HashProvider;
}

/**
 * Verifies an event: that its publisher signed all of it, for this topic, while its identity token held.
 *
 * What the publisher may do is for others to decide, and the data is not read.
 *
 * @param event The event.
 * @param expected What it has to agree with.
 * @returns What is true of it.
 * @throws {BrokerError} `malformed_event`, `wrong_topic`, `wrong_digest`, `not_yet`.
 * @throws {AuthError} The identity token, or the signature, is not accepted.
 */
export async function verifyEvent(event: string, expected: EventExpectation): Promise<VerifiedEvent> {
  const { jws, token, data } = partsOf(event);
  const read = v.safeParse(claimsSchema, jws.claims);
  if (!read.success) throw malformed("its attributes are not as they must be");
  const { output: claims } = read;
  const timeMs = Date.parse(claims.time);
  if (!(timeMs >= 0) || new Date(timeMs).toISOString() !== claims.time) throw malformed("its time is none");
  if (timeMs > expected.nowMs + SKEW_MS) throw new BrokerError("not_yet", "Cannot take the event: it is of the future");
  const publisher = await expected.trust.verify(token, timeMs);
  await verifyJws(jws, publisher.key);
  if (claims.source !== publisher.id) throw malformed("its source is not who signed it");
  if (claims.type !== expected.topic) {
    throw new BrokerError("wrong_topic", "Cannot take the event: it is of another topic");
  }
  if (claims.datadigest !== digestOf(data, expected.hash)) {
    throw new BrokerError("wrong_digest", "Cannot take the event: its data are not those that were signed");
  }
  return {
    topic: claims.type,
    id: claims.id,
    publisher,
    producer: claims.producer,
    sequence: Number(claims.sequence),
    timeMs,
    orderingKey: claims.partitionkey,
    contentType: claims.datacontenttype,
    data,
  };
}

/**
 * The name by which a broker knows an event, to take it once: of publisher, topic and id, so that nobody can keep another's event
 * out by publishing its id first.
 */
export function brokerId(
  event: { readonly publisher: string; readonly topic: string; readonly id: string },
  hash: HashProvider,
): string {
  const { publisher, topic, id } = event;
  return digestOf(`${publisher} ${topic} ${id}`, hash);
}

function partsOf(event: string) {
  if (event.length > MAX_EVENT) throw malformed("it is too long");
  const signed = event.indexOf("~");
  const named = event.indexOf("~", signed + 1);
  if (signed === -1 || named === -1) throw malformed("it has not three parts");
  return {
    jws: readJws(event.slice(0, signed), EVENT_TYPE),
    token: event.slice(signed + 1, named),
    data: event.slice(named + 1),
  };
}

/** Of the bytes, not of the text, which has more than one spelling of what is no character. */
const digestOf = (data: string, hash: HashProvider) => toBase64Url(hash.sha256(encoder.encode(data)));

const encoder = /* @__PURE__ */ new TextEncoder();

const malformed = (why: string) => new BrokerError("malformed_event", `Cannot read the event: ${why}`);

/** The longest event, in UTF-16 code units: the largest message encrypted, and what is said of it. */
export const MAX_EVENT = 786_432;
/** What an event's data is where it is not encrypted. */
export const JSON_TYPE = "application/json";
/** What an event's data is where it is encrypted: a JWE. */
export const JOSE_TYPE = "application/jose";
/** The grammar of ids and of ordering keys: what is seen, and cannot end a header. */
export const EVENT_ID: RegExp = /^[\x21-\x7e]{1,128}$/;

const EVENT_TYPE = "event+jwt";
const SPEC_VERSION = "1.0";
const SKEW_MS = 5_000;

const text = (pattern: RegExp) => v.pipe(v.string(), v.regex(pattern));
const claimsSchema = /* @__PURE__ */ v.strictObject({
  specversion: v.literal(SPEC_VERSION),
  type: v.pipe(v.string(), v.check((name) => isTopicName(name))),
  id: text(EVENT_ID),
  source: v.pipe(v.string(), v.maxLength(2_048)),
  producer: text(/^[A-Za-z0-9_-]{22}$/),
  sequence: text(/^[1-9][0-9]{0,14}$/),
  time: text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  datacontenttype: v.picklist([JSON_TYPE, JOSE_TYPE]),
  datadigest: text(/^[A-Za-z0-9_-]{43}$/),
  partitionkey: v.optional(text(EVENT_ID)),
});
