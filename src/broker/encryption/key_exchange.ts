import * as v from "valibot";
import type { EncryptionJwk } from "../../auth/mod.ts";
import { canonicalJson, json } from "../../codec/mod.ts";
import { KEY_ID } from "./epoch_key.ts";
import { MAX_DATA } from "../topic.ts";

/** What a subscriber says to the publishers of a topic. */
export interface JoinRequest {
  /** By which key it is to get keys. */
  readonly key: EncryptionJwk;
  /** Which of its subscriptions speaks, 128 random bits in base64url: one that ends does not end the others. */
  readonly subscription: string;
  /** Until when it wants keys, in milliseconds since 1970. */
  readonly until: number;
  /** Whether it wants none any more. */
  readonly leave?: boolean | undefined;
  /** The names of keys that it met and does not have, at most 8. */
  readonly kids?: readonly string[] | undefined;
}

/** What a publisher says to the subscribers of a topic. */
export interface KeyAnnouncement {
  /** The key's name; without one, it asks who is there. */
  readonly kid?: string | undefined;
  /** The key, wrapped for each of them, at most 128. */
  readonly wraps: readonly KeyWrap[];
}

/** A key as it is wrapped for one subscriber. */
export interface KeyWrap {
  /** The thumbprint of the subscriber's encryption key. */
  readonly to: string;
  /** The subscriber's SPIFFE id. */
  readonly id: string;
  /** The encapsulated key. */
  readonly enc: string;
  /** The wrapped key. */
  readonly ct: string;
}

/** Writes a request. */
export function writeJoin({ leave, kids, ...request }: JoinRequest): string {
  return canonicalJson({ ...request, ...leave ? { leave } : {}, ...kids?.length ? { kids } : {} });
}

/** Reads a request; undefined for what is none. */
export const readJoin = (data: string): JoinRequest | undefined => read(data, joinSchema);

/** Writes an announcement. */
export function writeAnnouncement({ kid, wraps }: KeyAnnouncement): string {
  return canonicalJson({ wraps, ...kid === undefined ? {} : { kid } });
}

/** Reads an announcement; undefined for what is none. */
export const readAnnouncement = (data: string): KeyAnnouncement | undefined => read(data, announcementSchema);

function read<Output>(data: string, schema: v.GenericSchema<unknown, Output>): Output | undefined {
  try {
    const parsed = v.safeParse(schema, json({ maxBytes: MAX_DATA }).decode(new TextEncoder().encode(data)));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined; // it is not JSON
  }
}

/** For how long a subscriber asks for keys, in milliseconds; it asks again when half of that is over. */
export const LEASE_MS = 600_000;
/** How many keys one request may ask for. */
export const MAX_ASKED = 8;
/** How many wraps one announcement may hold, each of at most 2.3 KB. */
export const MAX_WRAPS = 128;

const text = (pattern: RegExp) => v.pipe(v.string(), v.regex(pattern));
const Key = /* @__PURE__ */ text(KEY_ID);

const joinSchema = /* @__PURE__ */ v.strictObject({
  key: v.strictObject({ kty: v.literal("OKP"), crv: v.literal("X25519"), x: Key }),
  subscription: text(/^[A-Za-z0-9_-]{22}$/),
  until: v.pipe(v.number(), v.safeInteger()),
  leave: v.optional(v.literal(true)),
  kids: v.optional(v.pipe(v.array(Key), v.maxLength(MAX_ASKED))),
});

const announcementSchema = /* @__PURE__ */ v.strictObject({
  kid: v.optional(Key),
  wraps: v.pipe(
    v.array(v.strictObject({
      to: Key,
      id: v.pipe(v.string(), v.maxLength(2_048)),
      enc: Key,
      ct: text(/^[A-Za-z0-9_-]{64}$/),
    })),
    v.maxLength(MAX_WRAPS),
  ),
});
