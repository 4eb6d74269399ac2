import { AuthError, signJws } from "../../src/auth/mod.ts";
import { BrokerError } from "../../src/broker/broker_error.ts";
import { JOSE_TYPE } from "../../src/broker/event.ts";
import { canonicalJson } from "../../src/codec/mod.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { DOMAIN, WEB } from "../auth/_world.ts";
import {
  altered,
  assertRefused,
  type Claims,
  claimsOf,
  DATA,
  encoded,
  partsOf,
  scene,
  textOf,
  TOPIC,
} from "./_event.ts";

test("verifyEvent() refuses an event of which any attribute was changed", async () => {
  const { event, verify, now } = await scene();
  const claims = claimsOf(event);
  const changes: Claims = {
    type: "orders.v1.paid",
    id: "event-2",
    source: `${WEB}2`,
    producer: "B".repeat(22),
    sequence: "8",
    time: new Date(now() + 1).toISOString(),
    datacontenttype: JOSE_TYPE,
    datadigest: "A".repeat(43),
    partitionkey: "customer-2",
  };
  assert.deepEqual(new Set([...Object.keys(changes), "specversion"]), new Set(Object.keys(claims)));
  for (const [name, value] of Object.entries(changes)) {
    const text = altered(event, canonicalJson({ ...claims, [name]: value }));
    await assertRefused(verify(text, name === "type" ? value as string : TOPIC), "bad_token_signature", name);
  }
  const { partitionkey: _, ...without } = claims;
  await assertRefused(verify(altered(event, canonicalJson(without))), "bad_token_signature");
});

/** What is wrong though its publisher signed it: each is refused by what it says. */
const wrong: readonly (readonly [title: string, claims: Claims])[] = [
  ["no specversion", { specversion: undefined }],
  ["another specversion", { specversion: "1.1" }],
  ["a specversion that is a number", { specversion: 1 }],
  ["no type", { type: undefined }],
  ["a type that is a pattern", { type: "orders.v1.*" }],
  ["a type that is no topic", { type: "orders v1" }],
  ["a type that is too long", { type: "a".repeat(129) }],
  ["no id", { id: undefined }],
  ["an empty id", { id: "" }],
  ["an id with a space", { id: "a b" }],
  ["an id with a line's end", { id: "a\n" }],
  ["an id that is not ASCII", { id: "é" }],
  ["an id of 129 characters", { id: "a".repeat(129) }],
  ["an id that is a number", { id: 1 }],
  ["no source", { source: undefined }],
  ["a source that is too long", { source: `spiffe://${DOMAIN}/${"a".repeat(2_100)}` }],
  ["a source that is a list", { source: [WEB] }],
  ["no producer", { producer: undefined }],
  ["a producer that is too short", { producer: "A".repeat(21) }],
  ["a producer that is too long", { producer: "A".repeat(23) }],
  ["a producer of other letters", { producer: `${"A".repeat(21)}+` }],
  ["no sequence", { sequence: undefined }],
  ["the sequence 0", { sequence: "0" }],
  ["the sequence 01", { sequence: "01" }],
  ["the sequence -1", { sequence: "-1" }],
  ["the sequence +1", { sequence: "+1" }],
  ["the sequence 1.5", { sequence: "1.5" }],
  ["the sequence 1e3", { sequence: "1e3" }],
  ["the sequence 0x1", { sequence: "0x1" }],
  ["an empty sequence", { sequence: "" }],
  ["a sequence with a space", { sequence: " 1" }],
  ["a sequence with a line's end", { sequence: "1\n" }],
  ["a sequence of Arabic digits", { sequence: "١" }],
  ["a sequence that is too big", { sequence: "1000000000000000" }],
  ["a sequence that is a number", { sequence: 7 }],
  ["no time", { time: undefined }],
  ["a time that is a number", { time: 1_800_000_000_000 }],
  ["a time without milliseconds", { time: "2027-01-15T08:00:00Z" }],
  ["a time with microseconds", { time: "2027-01-15T08:00:00.000000Z" }],
  ["a time of another zone", { time: "2027-01-15T09:00:00.000+01:00" }],
  ["a time without a zone", { time: "2027-01-15T08:00:00.000" }],
  ["a time in small letters", { time: "2027-01-15t08:00:00.000z" }],
  ["a time with a space", { time: "2027-01-15 08:00:00.000Z" }],
  ["a time of the HTTP kind", { time: "Fri, 15 Jan 2027 08:00:00 GMT" }],
  ["a day that there is not", { time: "2026-02-30T08:00:00.000Z" }],
  ["a month that there is not", { time: "2026-13-01T08:00:00.000Z" }],
  ["the hour 24", { time: "2027-01-14T24:00:00.000Z" }],
  ["a leap second", { time: "2026-12-31T23:59:60.000Z" }],
  ["a time before 1970", { time: "1969-12-31T23:59:59.999Z" }],
  ["no content type", { datacontenttype: undefined }],
  ["another content type", { datacontenttype: "text/plain" }],
  ["a content type with a parameter", { datacontenttype: "application/json; charset=utf-8" }],
  ["a content type in capitals", { datacontenttype: "application/JSON" }],
  ["no digest", { datadigest: undefined }],
  ["a digest that is too short", { datadigest: "A".repeat(42) }],
  ["a digest that is too long", { datadigest: `${"A".repeat(43)}=` }],
  ["an empty ordering key", { partitionkey: "" }],
  ["an ordering key that is null", { partitionkey: null }],
  ["an ordering key with a line's end", { partitionkey: "a\r\n" }],
  ["an ordering key of 129 characters", { partitionkey: "a".repeat(129) }],
  ["a claim that is not known", { subject: "a" }],
  ["data inside", { data: { id: "1" } }],
  ["an expiry", { exp: 1 }],
];
test("verifyEvent() refuses what is not as it must be, though its publisher signed it", async () => {
  const { forged, verify } = await scene();
  assert.equal((await verify(await forged({}))).id, "event-1");
  for (const [title, claims] of wrong) await assertRefused(verify(await forged(claims)), "malformed_event", title);
});

test("verifyEvent() refuses claims that are no object", async () => {
  const { identity, token, verify } = await scene();
  for (const claims of [null, 1, "x", [], [{}], true]) {
    const jws = await signJws("event+jwt", claims, { sign: identity.sign });
    await assertRefused(verify(`${jws}~${token}~${DATA}`), "malformed_event");
  }
});

test("verifyEvent() refuses claims in any spelling but the one", async () => {
  const { event, identity, token, verify } = await scene();
  const { header, payload } = partsOf(event);
  const text = textOf(payload);
  const resigned = async (payload: string) => {
    const input = `${header}.${encoded(payload)}`;
    const signature = toBase64Url(await identity.sign(new TextEncoder().encode(input)));
    return `${input}.${signature}~${token}~${DATA}`;
  };
  assert.ok(await verify(await resigned(text)));
  const spellings = [
    text.replace('"id":"event-1"', '"id":"event-1","id":"event-2"'),
    text.replace('"id":"event-1"', '"id":"event-1","\\u0069d":"event-2"'),
    text.replace('"id":"event-1"', '"id":"\\u0065vent-1"'),
    text.replace("{", "{ "),
    ` ${text}`,
    `${text}\n`,
    `\ufeff${text}`,
    JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text)).reverse())),
    text.replace("{", '{"__proto__":{},'),
    text.slice(0, -1),
    "",
  ];
  for (const each of spellings) await assertRefused(verify(await resigned(each)), "malformed_token", each);
});

test("verifyEvent() refuses tokens of other kinds in the place of the attributes", async () => {
  const { event, forged, verify, token } = await scene();
  const { data } = partsOf(event);
  for (const type of ["wit+jwt", "aat+jwt", "JWT", "event+jws", "EVENT+JWT", "application/event+jwt", ""]) {
    await assertRefused(verify(await forged({}, { type })), "malformed_token", type);
  }
  await assertRefused(verify(`${token}~${token}~${data}`), "malformed_token");
});

test("verifyEvent() refuses what is no identity token in the place of one", async () => {
  const { event, verify } = await scene();
  const { jws, token, data } = partsOf(event);
  for (const each of ["", "x", jws, `${token} `, `${token}.`, token.slice(0, -1), token.toLowerCase()]) {
    await assertRefused(verify(`${jws}~${each}~${data}`), "malformed_token", each);
  }
});

test("verifyEvent() refuses a header that asks for anything more", async () => {
  const { event, identity, verify } = await scene();
  const { payload, token, data } = partsOf(event);
  const headers: readonly Claims[] = [
    { alg: "none", typ: "event+jwt" },
    { alg: "HS256", typ: "event+jwt" },
    { alg: "EdDSA", typ: "event+jwt" },
    { alg: "Ed25519", typ: "event+jwt", crit: ["exp"] },
    { alg: "Ed25519", typ: "event+jwt", jwk: identity.key.jwk },
    { alg: "Ed25519", typ: "event+jwt", b64: false },
    { alg: "Ed25519" },
  ];
  for (const header of headers) {
    const input = `${encoded(canonicalJson(header))}.${payload}`;
    const signature = toBase64Url(await identity.sign(new TextEncoder().encode(input)));
    await assertRefused(verify(`${input}.${signature}~${token}~${data}`), "malformed_token", canonicalJson(header));
  }
});

test("verifyEvent() refuses an event whose parts are missing, or in another order", async () => {
  const { event, verify } = await scene();
  const { jws, token, data } = partsOf(event);
  for (const each of ["", "~", jws, `${jws}~`, `${jws}~${token}`, jws + token + data.replaceAll("~", "")]) {
    await assertRefused(verify(each), "malformed_event", each.slice(-20));
  }
  const { signature } = partsOf(event);
  const disordered = [
    "~~",
    `~${event}`,
    `${token}~${jws}~${data}`,
    `${data}~${jws}~${token}`,
    `${jws}~~${token}~${data}`,
    event.replace(signature, ""),
    event.replace(signature, "A".repeat(85)),
    `${event.slice(0, 20)}~${event.slice(20)}`,
    ` ${event}`,
    `\n${event}`,
  ];
  for (const each of disordered) await assertRefused(verify(each), "malformed_token", each.slice(0, 40));
  await assertRefused(verify(event.replace(signature, "A".repeat(86))), "bad_token_signature");
});

test("verifyEvent() refuses attributes that are longer than a token may be", async () => {
  const { forged, verify } = await scene();
  await assertRefused(verify(await forged({ source: "a".repeat(8_192) })), "malformed_token");
});

test("verifyEvent() refuses an event with any bit of it changed", async () => {
  const { event, verify } = await scene();
  assert.ok(await verify(event));
  const ends = [...event.matchAll(/[.~]/g)].flatMap(({ index }) => [index - 1, index, index + 1]);
  const step = Math.ceil(event.length / 300);
  const sampled = Array.from({ length: Math.ceil(event.length / step) }, (_, at) => at * step);
  for (const at of new Set([...sampled, ...ends, event.length - 1])) {
    const changed = String.fromCharCode(event.charCodeAt(at) ^ (1 << (at % 7)));
    const text = event.slice(0, at) + changed + event.slice(at + 1);
    const error = await verify(text).then(() => undefined, (thrown) => thrown);
    assert.ok(error instanceof BrokerError || error instanceof AuthError, `at ${at}: ${error}`);
  }
});

test("verifyEvent() refuses an event of which any character was left out, doubled or cut behind", async () => {
  const { event, verify } = await scene();
  for (let at = 0; at < event.length; at += 61) {
    const before = event.slice(0, at);
    for (const text of [before, before + event.slice(at + 1), `${before}${event[at]}${event.slice(at)}`]) {
      const error = await verify(text).then(() => undefined, (thrown) => thrown);
      assert.ok(error instanceof BrokerError || error instanceof AuthError, `at ${at}: ${error}`);
    }
  }
});
