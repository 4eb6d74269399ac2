// A publisher, events of its, and events that say what they should not.
import { AuthError, type AuthReason, type Identity, signJws } from "../../src/auth/mod.ts";
import { BrokerError, type BrokerReason } from "../../src/broker/broker_error.ts";
import { type EventAttributes, JSON_TYPE, signEvent, verifyEvent } from "../../src/broker/event.ts";
import { fromBase64, toBase64Url } from "../../src/internal/base64.ts";
import { type HashProvider, nobleHash } from "../../src/internal/hash.ts";
import assert from "node:assert/strict";
import { WEB, type World, world } from "../auth/_world.ts";

export const TOPIC = "orders.v1.placed";
export const DATA = '{"id":"1","note":"é€😀~.~"}';
/** How long the authority's tokens hold. */
export const HOUR_MS = 3_600_000;
export const hash: HashProvider = nobleHash();

export type Claims = Readonly<Record<string, unknown>>;

/** A publisher, an event of its, and what verifies it. */
export interface Scene extends World {
  readonly identity: Identity;
  readonly token: string;
  readonly event: string;
  attributes(more?: Partial<EventAttributes>): EventAttributes;
  signed(more?: Partial<EventAttributes>, data?: string): Promise<string>;
  /** An event that says what it should not, under a good signature. */
  forged(
    claims: Claims,
    more?: { readonly type?: string; readonly identity?: Identity; readonly token?: string; readonly data?: string },
  ): Promise<string>;
  verify(event: string, topic?: string): ReturnType<typeof verifyEvent>;
}

export async function scene(): Promise<Scene> {
  const inside = await world();
  const { now, trust } = inside;
  const identity = await inside.join(WEB, { roles: ["r"], attributes: { team: "red" } });
  const token = (await identity.credential()).token.reveal();
  const startMs = now();
  const attributes: Scene["attributes"] = (more = {}) => ({
    topic: TOPIC,
    id: "event-1",
    producer: "A".repeat(22),
    sequence: 7,
    timeMs: startMs,
    orderingKey: "customer-1",
    contentType: JSON_TYPE,
    ...more,
  });
  const signed: Scene["signed"] = (more, data = DATA) => signEvent(identity, attributes(more), { data, hash });
  const event = await signed();
  return {
    ...inside,
    identity,
    token,
    event,
    attributes,
    signed,
    async forged(claims, { type = "event+jwt", identity: signer = identity, token: shown = token, data = DATA } = {}) {
      const all = { ...claimsOf(event), ...claims };
      const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
      return `${await signJws(type, given, { sign: signer.sign })}~${shown}~${data}`;
    },
    verify: (text, topic = TOPIC) => verifyEvent(text, { trust, topic, nowMs: now(), hash }),
  };
}

export const textOf = (part: string): string => new TextDecoder().decode(fromBase64(part)!);
export const encoded = (text: string): string => toBase64Url(new TextEncoder().encode(text));

export function partsOf(event: string) {
  const [jws, token, ...data] = event.split("~") as [string, string, ...string[]];
  const [header, payload, signature] = jws.split(".") as [string, string, string];
  return { jws, header, payload, signature, token, data: data.join("~") };
}

export function claimsOf(event: string): Claims {
  return JSON.parse(textOf(partsOf(event).payload));
}

/** The same event with another payload under the old signature. */
export function altered(event: string, payload: string): string {
  const { header, signature, token, data } = partsOf(event);
  return `${header}.${encoded(payload)}.${signature}~${token}~${data}`;
}

export async function assertRefused(
  verifying: Promise<unknown>,
  reason: BrokerReason | AuthReason,
  title = "",
): Promise<void> {
  const error = await verifying.then(() => undefined, (thrown) => thrown);
  assert.ok(error instanceof BrokerError || error instanceof AuthError, `${title}: expected a refusal, got ${error}`);
  assert.equal(error.reason, reason, title);
  assert.match(error.message, /^Cannot .*[^.]$/);
}
