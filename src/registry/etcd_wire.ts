import * as v from "valibot";
import { instanceName, type RecordClaims } from "./record.ts";

/** A method of etcd's JSON gateway, and the answer to it. */
export interface EtcdMethod<Answer> {
  /** Its path below `/v3/`. */
  readonly path: string;
  /** What a valid answer is. */
  readonly answer: v.GenericSchema<unknown, Answer>;
  /** What to take for the answer where etcd does not know what it was told to act on. @default {an error} */
  readonly absent?: Answer;
}

/** The keys from one to another. */
export interface EtcdRange {
  /** The first one, in base64. */
  readonly key: string;
  /** The one behind the last, in base64. */
  readonly range_end: string;
}

/** A key and what it holds. */
export interface EtcdEntry {
  /** The key. */
  readonly key: string;
  /** The value; empty where only keys were asked for. */
  readonly value: string;
  /** When it was put last. */
  readonly mod_revision: string;
  /** The lease that it ends with, "0" for none. */
  readonly lease: string;
}

/** The key that keeps the record of an instance, whose id is one of SPIFFE, for one of its services. */
export function keyOf(namespace: string, service: string, { sub, jti }: RecordClaims): string {
  // Neither a namespace nor a service's name holds a slash, and no id a "#": no two instances come to the same key.
  return prefixOf(namespace, service) + instanceName(sub, jti);
}

/** What the keys of a namespace or of one of its services begin with. */
export function prefixOf(namespace: string, service?: string): string {
  return `/postern/${namespace}/${service === undefined ? "" : `${service}/`}`;
}

/** All keys that begin with a prefix; it ends in "/", behind which comes "0". */
export function below(prefix: string): EtcdRange {
  return { key: btoa(prefix), range_end: btoa(`${prefix.slice(0, -1)}0`) };
}

/** Numbers of 64 bits are texts in JSON, and zeros are left out. */
const Int64 = /* @__PURE__ */ v.optional(v.pipe(v.string(), v.regex(/^\d{1,19}$/)), "0");
const Revision = /* @__PURE__ */ v.pipe(Int64, v.transform(Number), v.safeInteger());
const Header = /* @__PURE__ */ v.object({ revision: Revision });

const isBase64 = (text: string) => text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
// workerd wants `atob` to be called as a function, not as a member of a schema.
const Bytes = /* @__PURE__ */ v.optional(v.pipe(v.string(), v.check(isBase64), v.transform((text) => atob(text))), "");

const Entry = /* @__PURE__ */ v.object({ key: Bytes, value: Bytes, mod_revision: Int64, lease: Int64 });
const Entries = /* @__PURE__ */ v.optional(v.array(Entry), []);

/** Gives a token for a name and a password. */
export const AUTHENTICATE: EtcdMethod<{ token: string }> = {
  path: "auth/authenticate",
  answer: /* @__PURE__ */ v.object({ token: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,4096}$/)) }),
};

/** Reads keys. */
export const RANGE: EtcdMethod<{ header: { revision: number }; kvs: EtcdEntry[]; more: boolean }> = {
  path: "kv/range",
  answer: /* @__PURE__ */ v.object({ header: Header, kvs: Entries, more: v.optional(v.boolean(), false) }),
};

/** Reads and writes keys, all at once or not at all. */
export const TRANSACT: EtcdMethod<
  { succeeded: boolean; responses: { response_range?: { kvs: EtcdEntry[] } | undefined }[] }
> = {
  path: "kv/txn",
  answer: /* @__PURE__ */ v.object({
    succeeded: v.optional(v.boolean(), false),
    responses: v.optional(v.array(v.object({ response_range: v.optional(v.object({ kvs: Entries })) })), []),
  }),
};

/** Makes a lease. */
export const GRANT: EtcdMethod<{ ID: string }> = {
  path: "lease/grant",
  answer: /* @__PURE__ */ v.object({ ID: v.pipe(v.string(), v.regex(/^[1-9]\d{0,18}$/)) }),
};

/** Ends a lease, and deletes the keys that were put with it. */
export const REVOKE: EtcdMethod<object> = { path: "lease/revoke", answer: /* @__PURE__ */ v.object({}), absent: {} };

/** One message of a watch. */
export interface EtcdWatchAnswer {
  /** The revision that it reaches. */
  readonly header: { readonly revision: number };
  /** Whether it says that the watch has begun. */
  readonly created: boolean;
  /** Whether it says that the watch has ended. */
  readonly canceled: boolean;
  /** Why it has ended. */
  readonly cancel_reason: string;
  /** The first revision that is still known, where the watch asked for an earlier one; else 0. */
  readonly compact_revision: number;
  /** Whether more of the same revision follows. */
  readonly fragment: boolean;
  /** What happened. */
  readonly events: readonly { readonly type: "PUT" | "DELETE"; readonly kv: EtcdEntry }[];
}

/** Follows keys. */
export const WATCH: EtcdMethod<{ result: EtcdWatchAnswer }> = {
  path: "watch",
  answer: /* @__PURE__ */ v.object({
    result: v.object({
      header: Header,
      created: v.optional(v.boolean(), false),
      canceled: v.optional(v.boolean(), false),
      cancel_reason: v.optional(v.string(), ""),
      compact_revision: Revision,
      fragment: v.optional(v.boolean(), false),
      events: v.optional(v.array(v.object({ type: v.optional(v.picklist(["PUT", "DELETE"]), "PUT"), kv: Entry })), []),
    }),
  }),
};

/** What an answer says that is an error: a code of gRPC, and words. */
export const Failure = /* @__PURE__ */ v.object({
  code: v.optional(v.number(), 0),
  message: v.optional(v.string(), ""),
});
