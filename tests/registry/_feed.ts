// What the tests of feeds share: stores that tell what a test says, and readers who follow them.
import { readRecord, type RegistryChanges } from "../../src/registry/mod.ts";
import { type Feed, feedsOf } from "../../src/registry/feed.ts";
import { RECORD_TYPE } from "../../src/registry/record.ts";
import { canonicalJson } from "../../src/codec/mod.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { giving, ORDERS, SERVICE } from "./_rig.ts";

export const NEVER = new AbortController().signal;
export const base64 = (text: string) => toBase64Url(new TextEncoder().encode(text));

/** A record as a backend reads it: nobody verifies anything here. `size` is how long it is, in bytes, about. */
export function recordOf(id: string, sequence = 1, size = 0): string {
  const claims = {
    iss: ORDERS,
    sub: ORDERS,
    aud: "default",
    jti: id,
    seq: sequence,
    iat: 1_800_000_000,
    exp: 1_800_000_300,
    services: { [SERVICE]: "" },
    endpoints: ["https://orders.example.org"],
    version: "0.0.0",
    toolkit: "t",
    weight: 100,
    draining: false,
    own_audience: false,
    more: "x".repeat(size * 3 / 4),
  };
  const header = { alg: "Ed25519", typ: RECORD_TYPE };
  return `${base64(canonicalJson(header))}.${base64(canonicalJson(claims))}.${"A".repeat(86)}`;
}

export const nameOf = (id: string) => `${ORDERS}#${id}`;

/** A store whose content a test replaces, whole snapshots as they were told. */
export function told() {
  const store = giving([]);
  const feeds = feedsOf(store, () => 0);
  return {
    feeds,
    feed: feeds.of(SERVICE),
    async tell(records: readonly string[]) {
      store.records.splice(0, Infinity, ...records);
      store.tell();
      await settled();
    },
  };
}

/** A reader who applies what it is told, page by page. */
export function reader(feed: Feed) {
  let cursor: string | undefined;
  let records = new Map<string, string>();
  const page = async (): Promise<RegistryChanges> => {
    const changes = await feed.since(cursor, 0, NEVER);
    if (changes.reset) records = new Map();
    for (const name of changes.gone) records.delete(name);
    for (const { name, record } of changes.records) records.set(name, record);
    cursor = changes.cursor;
    return changes;
  };
  return {
    page,
    records: () => [...records.values()].sort(),
    names: () => [...records.keys()].sort(),
    /** All pages; fails where they do not end. */
    async follow(most = 64): Promise<number> {
      for (let pages = 1; pages <= most; pages++) {
        if (!(await page()).more) return pages;
      }
      return assert.fail(`it does not end after ${most} pages`);
    },
  };
}

/** Two lists of records; what differs is shown by name, because records are long. */
export function assertSame(actual: readonly string[], expected: readonly string[]): void {
  const nameIn = (record: string) => {
    const { jti, seq } = readRecord(record).claims;
    return `${jti}:${seq}`;
  };
  assert.deepEqual(actual.map(nameIn), expected.map(nameIn));
  assert.ok(actual.every((record, i) => record === expected[i]));
}

/** Lets everything go on that needs no time. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((done) => setTimeout(done, 0));
}
