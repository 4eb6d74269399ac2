/** The protected server of the programs, which learns who it is from texts that its starter gives it. */
import { cbor, createServer, implement, json, rpc, RpcError, type Server, service, stream } from "@postern/rpc";
import {
  allow,
  createTrust,
  type Identity,
  importIdentity,
  importKey,
  memoryReplay,
  policy,
  protect,
  secret,
  type Trust,
  type TrustBundle,
} from "@postern/rpc/auth";
import * as v from "valibot";

const Nothing = v.strictObject({});
const Name = v.pipe(v.string(), v.maxLength(64));
const Data = v.strictObject({ bytes: v.instance(Uint8Array), at: v.date(), big: v.bigint() });
const Cents = v.strictObject({ cents: v.number() });
const Texts = v.array(v.string());
const Items = v.strictObject({ n: v.number(), data: v.optional(v.string()) });
const Caller = v.object({ id: v.string(), roles: Texts, attributes: v.record(v.string(), v.string()) });

/** What `hello` answers: who called, how many calls have reached a handler, and why others were refused since the last. */
const Told = v.object({ text: v.string(), caller: Caller, calls: v.number(), refused: Texts });

/** What the matrix calls; `shut` is in no rule, `charge` needs a right. */
export const Guarded = service("guarded.v1", {
  hello: rpc(v.strictObject({ name: Name }), Told),
  mirror: rpc(Data, Data),
  fail: rpc(Nothing, Nothing, { errors: { out_of_range: v.strictObject({ left: v.number() }) } }),
  crash: rpc(Nothing, Nothing),
  charge: rpc(Cents, v.object({ cents: v.number(), path: Texts })),
  shut: rpc(Nothing, Nothing),
  upTo: rpc(Items, stream(Items), { errors: { out_of_range: v.strictObject({ left: v.number() }) } }),
  sum: rpc(stream(Items), Items),
  double: rpc(stream(Items), stream(Items)),
  left: rpc(Nothing, Items),
  shutStream: rpc(stream(Items), stream(Items)),
});

/** One member of a trust domain, as another process gets it. */
export interface Member {
  /** The trust domain that it believes. */
  readonly trustDomain: string;
  /** What it believes the trust domain by. */
  readonly bundle: TrustBundle;
  /** The private key as a JWK. */
  readonly key: string;
  /** The token that says whose the key is. */
  readonly token: string;
}

/** What a protected server is given beside where it listens. */
export interface ProtectedAppInput {
  /** Who it is. */
  readonly member: Member;
  /** Who may call it, as in a rule. */
  readonly caller: string;
  /**
   * How long ago it pretends to have started, in milliseconds: in its first second a server asks every caller to prove
   * again, which a captured request cannot.
   *
   * @default {0}
   */
  readonly startedMsAgo?: number;
}

/** Makes of its texts what a member works with. */
export async function memberOf(
  { trustDomain, bundle, key, token }: Member,
): Promise<{ readonly identity: Identity; readonly trust: Trust }> {
  const trust = await createTrust({ [trustDomain]: bundle });
  return { identity: importIdentity(await importKey(secret(key)), token), trust };
}

/**
 * Makes a protected server whose `hello` says what happened to the calls before it.
 *
 * @returns The server.
 */
export async function createProtectedApp({ member, caller, startedMsAgo = 0 }: ProtectedAppInput): Promise<Server> {
  const open = ["hello", "mirror", "fail", "crash", "upTo", "sum", "double", "left"].map((name) =>
    `guarded.v1/${name}`
  );
  const refused: string[] = [];
  const record = ({ event, reason }: { readonly event: string; readonly reason?: string | undefined }) =>
    void (event === "call.refuse" && refused.push(`${reason}`));
  const guard = protect({
    audit: { record },
    ...await memberOf(member),
    policy: policy([allow({ caller, call: open }), allow({ caller, call: "guarded.v1/charge", capability: true })]),
    replay: memoryReplay({ now: () => Date.now() - startedMsAgo }),
  });
  return createServer(implementation(refused), { guard, codecs: [json(), cbor()], log: () => {} });
}

function implementation(refused: string[]) {
  let calls = 0;
  let left = 0;
  return implement(Guarded, {
    ...streams(() => left++),
    left: () => ({ n: left }),
    hello: ({ name }, { caller }) => {
      const { id, roles, attributes } = caller!;
      const known = { id, roles: [...roles], attributes: { ...attributes } };
      return { text: `Hello, ${name}!`, caller: known, calls: ++calls, refused: refused.splice(0) };
    },
    mirror: (data) => (calls++, data),
    fail: () => {
      calls++;
      throw new RpcError("out_of_range", "There are not that many", { details: { left: 3 } });
    },
    crash: () => {
      calls++;
      throw new Error("The database is at 10.0.0.7");
    },
    charge: ({ cents }, { capability }) => (calls++, { cents, path: [...capability!.path] }),
    shut: () => (calls++, {}),
  });
}

/** Streams of every shape; `left` is told where a reader went before the end. */
function streams(left: () => void) {
  type Item = v.InferOutput<typeof Items>;
  return {
    async *upTo({ n, data = "" }: Item) {
      let isWhole = false;
      try {
        for (let i = 1; i <= Math.abs(n); i++) yield { n: i, data };
        isWhole = true;
        if (n < 0) throw new RpcError("out_of_range", "There are no more", { details: { left: 3 } });
      } finally {
        if (!isWhole) left();
      }
    },
    async sum(items: AsyncIterable<Item>) {
      let n = 0;
      for await (const each of items) n += each.n;
      return { n };
    },
    async *double(items: AsyncIterable<Item>) {
      for await (const { n } of items) yield { n: 2 * n };
    },
    async *shutStream(items: AsyncIterable<Item>) {
      left();
      yield* items;
    },
  };
}
