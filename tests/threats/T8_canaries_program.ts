// Plants secrets that can be recognized in a protected service and its callers, has calls succeed and fail in every way,
// and prints whatever a program could print. T8_canaries_deno_test.ts looks for the secrets in the output.
import {
  allow,
  type Authority,
  AuthorityService,
  authorityService,
  createAuthority,
  createTrust,
  generateIdentity,
  type Identity,
  importIdentity,
  importKey,
  issueCapability,
  joinTokens,
  memoryReplay,
  policy,
  protect,
  prove,
  type ProveOptions,
  range,
  remoteAuthority,
  secret,
  wildcard,
} from "../../src/auth/mod.ts";
import {
  anonymous,
  type AuditEvent,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  implement,
  type LogEntry,
  logToConsole,
  type Middleware,
  type Prover,
  publicOnly,
  rpc,
  RpcError,
  service,
  uncheckedSchema,
} from "../../src/rpc/mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import * as v from "valibot";
import { testAuthority } from "../_authority.ts";
import { needles, newKey, plant, type Planted, plantTokens, show } from "./T8_planting.ts";

const DOMAIN = "example.org";
const [WEB, SHOP, OTHER] = ["web", "shop", "other"].map((name) => `spiffe://${DOMAIN}/${name}`) as [
  string,
  string,
  string,
];
const REQUEST = "canary-in-the-request";
const RESPONSE = "canary-in-the-response";

const Text = v.strictObject({ text: v.string() });
const Shop = service("shop.v1", {
  buy: rpc(Text, Text),
  fail: rpc(Text, Text),
  refuse: rpc(Text, Text),
  lie: rpc(Text, Text),
  wait: rpc(Text, Text),
  relay: rpc(Text, Text),
  limited: rpc(v.strictObject({ text: v.string(), amount: v.number() }), Text),
  hidden: rpc(Text, Text),
});
const Anything = uncheckedSchema(v.unknown());
/** The same paths with any messages, for a caller that does not keep to the contract. */
const Loose = service("shop.v1", {
  buy: rpc(Anything, Anything),
  none: rpc(Anything, Anything),
});

const events: AuditEvent[] = [];
const entries: LogEntry[] = [];
const audit = {
  isFull: false,
  record(event: AuditEvent) {
    if (audit.isFull) throw new Error("the audit is full");
    events.push(event);
  },
};
const log = (entry: LogEntry) => {
  entries.push(entry);
  show("log", entry);
  logToConsole(entry);
};

/** What stands between client and server, and reads along. */
interface Between {
  readonly request?: (init: Init) => Init;
  readonly response?: (response: Response) => Promise<Response>;
}

interface Init {
  readonly headers: Record<string, string>;
  readonly body: string;
}

const { ca, cert, key } = await testAuthority();
using send = createFetch({ caCerts: [ca] });
const last: { url: string; init: Init } = { url: "", init: { headers: {}, body: "" } };

function overhear(headers: Headers): void {
  const of = (name: string) => headers.get(name) ?? undefined;
  const [wit, right, handed] = [of("workload-identity-token"), of("authorization"), of("postern-delegation")];
  if (wit?.split(".").length === 3) plantTokens("identity token", wit);
  if (right?.startsWith("AAT ") && right.includes("~")) plantTokens("right", right.slice(4));
  if (handed?.includes("~")) plantTokens("delegation", handed);
  const signature = /:(.+):/.exec(of("signature") ?? "")?.[1];
  if (signature) plant("signature", signature);
  for (const [, nonce] of (of("signature-input") ?? "").matchAll(/nonce="([^"]+)"/g)) plant("nonce", nonce!);
  show("traceparent", of("traceparent"));
}

const through = ({ request, response }: Between = {}) => async (url: string, init: RequestInit): Promise<Response> => {
  overhear(new Headers(init.headers));
  const sent = request?.(init as Init) ?? init;
  Object.assign(last, { url, init: sent });
  const answer = await send(url, sent as RequestInit);
  show("url", answer.url);
  overhear(answer.headers);
  return await response?.(answer) ?? answer;
};

const header = (name: string, change: (value: string) => string): Between => ({
  request: (init) => ({ ...init, headers: { ...init.headers, [name]: change(init.headers[name] ?? "") } }),
});

/** Makes an attempt, and prints how it ended. */
async function step(name: string, attempt: () => Promise<unknown>): Promise<void> {
  let end = "ok";
  try {
    await attempt();
  } catch (error) {
    show(name, error);
    const { code, reason } = error as { code?: string; reason?: string };
    end = String(code ?? reason ?? error);
  }
  console.log(`step ${name}: ${end}`);
}

const tokens = joinTokens();
const authorityKeys = { wit: await newKey(), capability: await newKey() };
const authority: Authority = await createAuthority(DOMAIN, {
  attestors: [tokens],
  keys: [authorityKeys],
  audit,
});
const trust = await createTrust({ [DOMAIN]: authority.bundle() });

await using authorityServer = createServer(authorityService(authority), {
  guard: publicOnly(Object.values(AuthorityService.methods).map(({ path }) => path.slice(1))),
  log,
});
await using authorityServing = await serve(authorityServer, { cert, key, port: 0, drainMs: 0 });
const remote = remoteAuthority(
  DOMAIN,
  fetchTransport(authorityServing.url, { prover: anonymous(), fetch: through() }),
);

function joinToken(id: string, serves: readonly string[] = []): string {
  const token = tokens.create({ id, serves });
  show("join token", token);
  plant("join token", token.reveal());
  return token.reveal();
}

async function join(id: string, serves: readonly string[] = []): Promise<Identity> {
  const evidence = { type: "join_token", token: joinToken(id, serves) };
  const identity = await generateIdentity(remote, { evidence, key: await newKey() });
  plantTokens("identity token", (await identity.credential()).token.reveal());
  return identity;
}

const [web, shop, other] = [await join(WEB), await join(SHOP, ["shop.v1"]), await join(OTHER, ["shop.v1"])];

const handle = ({ text }: { text: string }, context: Context) => {
  show("context", context);
  context.log("A handler notes what it does", { length: text.length });
  return { text: RESPONSE };
};
const protection = {
  identity: shop,
  trust,
  audit,
  policy: policy([
    allow({
      caller: [WEB, OTHER],
      call: ["buy", "fail", "refuse", "lie", "wait", "relay"].map((name) => `shop.v1/${name}`),
    }),
    allow({ capability: true, call: "shop.v1/limited" }),
  ]),
  replay: memoryReplay({ now: () => Date.now() - 10_000 }),
};
const server = createServer(
  implement(Shop, {
    ...{ buy: handle, limited: handle, hidden: handle },
    relay: ({ text }, context) => context.call(client(shop)).limited({ text, amount: 5 }),
    fail: () => Promise.reject(new Error("the database is down", { cause: new TypeError("no route") })),
    refuse: () => Promise.reject(new RpcError("failed_precondition", "There is nothing left")),
    lie: () => ({ text: { inside: RESPONSE }, [RESPONSE]: RESPONSE }) as never,
    wait: (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  }),
  { guard: protect(protection), log },
);
const serving = await serve(server, { cert, key, port: 0, drainMs: 0 });

const proving = (identity: Identity, more: Partial<ProveOptions> = {}): ProveOptions => ({
  ...{ identity, trust, peer: SHOP, audit },
  ...more,
});
const transport = (identity: Identity, between?: Between, more?: Partial<ProveOptions>) =>
  fetchTransport(serving.url, { prover: prove(proving(identity, more)), fetch: through(between) });
const watch: Middleware = (call, next) => {
  show("origin", call.origin);
  return next(call);
};
const client = (...args: Parameters<typeof transport>) =>
  createClient(Shop, transport(...args), { middleware: [watch] });
const message = { text: REQUEST };

const limited = { "shop.v1/limited": { text: wildcard(), amount: range({ max: 5 }) } };
const right = await issueCapability(authority, {
  holder: WEB,
  tools: limited,
  audience: SHOP,
});
plantTokens("right", right.chain.reveal());
const handOn = { capability: right, delegate: () => ({ tools: limited }) };
plant("request", REQUEST);
plant("response", RESPONSE);

await step("call", () => client(web).buy(message));
await step("call with a right", () => client(web, {}, { capability: right }).limited({ ...message, amount: 5 }));
await step("call that hands a right on", () => client(web, {}, handOn).relay(message));

const flip = (text: string) => text.replace(/:(.)/, (_, first) => (first === "A" ? ":B" : ":A"));
await step("signature of another", () => client(web, header("signature", flip)).buy(message));
await step("no signature", () => client(web, header("signature", () => "")).buy(message));
await step("signature that is none", () => client(web, header("signature", (text) => text.slice(0, 60))).buy(message));
await step("terms that are none", () => client(web, header("signature-input", (text) => `${text};x=`)).buy(message));
await step(
  "token that is none",
  () => client(web, header("workload-identity-token", (text) => `${text}${text}`)).buy(message),
);
await step(
  "token with a changed signature",
  () => client(web, header("workload-identity-token", (text) => text.slice(0, -9) + "AAAAAAAAA")).buy(message),
);
await step(
  "digest of another body",
  () => client(web, { request: (init) => ({ ...init, body: init.body + " " }) }).buy(message),
);
await step("proof of long ago", () => client(web, {}, { now: () => Date.now() - 3_600_000 }).buy(message));
await step("peer that is another", () => client(web, {}, { peer: OTHER }).buy(message));
await step("answer of another", () => client(web, {}, { peer: OTHER, audience: SHOP }).buy(message));
await step("audience that is another", () => client(web, {}, { audience: OTHER }).buy(message));
await step("replay", async () => {
  await client(web).buy(message);
  const { url, init } = last;
  const answer = await send(url, init as unknown as RequestInit);
  const { code } = JSON.parse(await answer.text());
  throw new RpcError(code, "replayed");
});
await step("token that has ended", async () => {
  const past = () => Date.now() - 7_200_000;
  const early = await createAuthority(DOMAIN, { now: past, keys: [authorityKeys] });
  const key = await newKey();
  const token = await early.issue(key.jwk, { id: WEB });
  plantTokens("identity token", token);
  await client(importIdentity(key, token, { now: past })).buy(message); // it does not know itself that it has ended
});

await step("method of nobody", () => client(web).hidden(message));
await step("method that is none", () => createClient(Loose, transport(web)).none(message));
await step("method without a right", () => client(web).limited({ ...message, amount: 5 }));
await step(
  "right for other arguments",
  () => client(web, {}, { capability: right }).limited({ ...message, amount: 6 }),
);
await step("right of another", () => client(other, {}, { capability: right }).limited({ ...message, amount: 5 }));
await step("right that is none", () => {
  const chain = { ...right.chain, reveal: () => `${right.chain.reveal()}~x` };
  return client(web, {}, { capability: { ...right, chain } }).limited({ ...message, amount: 5 });
});
await step("authorization of another kind", () => {
  const authorization = "Bearer canary-bearer-token";
  plant("bearer", "canary-bearer-token");
  const prover: Prover = {
    async prove(request) {
      const headers = { ...request.headers, authorization };
      const proof = await prove(proving(web)).prove({ ...request, headers });
      return { ...proof, headers: { ...proof.headers, authorization } };
    },
  };
  return createClient(Shop, fetchTransport(serving.url, { prover, fetch: through() })).buy(message);
});

await step("handler that fails", () => client(web).fail(message));
await step("handler that refuses", () => client(web).refuse(message));
await step("handler that lies", () => client(web).lie(message));
await step("deadline", () => client(web).wait(message, { timeoutMs: 50 }));
await step("caller that gives up", () => client(web).wait(message, { signal: AbortSignal.timeout(50) }));
for (
  const [what, wrong] of [
    ["a member too many", { text: "a", [REQUEST]: REQUEST }],
    ["a member of another type", { text: { inside: REQUEST } }],
    ["a text", REQUEST],
    ["a list", [REQUEST, REQUEST]],
  ] as const
) await step(`message with ${what}`, () => createClient(Loose, transport(web)).buy(wrong));
await step("message that the client refuses", () => client(web).buy({ text: "a", [REQUEST]: REQUEST } as never));
await step(
  "message that cannot be encoded",
  () => createClient(Loose, transport(web)).buy({ [REQUEST]: () => REQUEST }),
);
await step("message that is no JSON", async () => {
  const codec = { ...(await import("../../src/codec/mod.ts")).json(), encode: () => `{"text":"${REQUEST}` };
  const prover = prove(proving(web));
  await createClient(Shop, fetchTransport(serving.url, { prover, codec, fetch: through() })).buy(message);
});

const changed = (change: (text: string) => string): Between => ({
  response: async (response) => new Response(change(await response.text()), response),
});
await step("answer that was changed", () => client(web, changed((text) => `${text} `)).buy(message));
await step(
  "answer that nobody signed",
  () => client(web, { response: async (answer) => Response.json(await answer.json()) }).buy(message),
);
await step(
  "answer that is an error page",
  () =>
    client(web, { response: () => Promise.resolve(new Response(`${RESPONSE} ${RESPONSE}`, { status: 502 })) }).buy(
      message,
    ),
);
await step("answer of an unproven server that lies", () => {
  const between: Between = {
    response: () => Promise.resolve(Response.json({ text: { inside: RESPONSE }, [RESPONSE]: 1 })),
  };
  return createClient(Shop, fetchTransport(serving.url, { prover: anonymous(), fetch: through(between) })).buy(message);
});
await step("answer that is no JSON", () => {
  const init = { headers: { "content-type": "application/json" } };
  const between: Between = { response: () => Promise.resolve(new Response(`{"text":"${RESPONSE}`, init)) };
  return createClient(Shop, fetchTransport(serving.url, { prover: anonymous(), fetch: through(between) })).buy(message);
});

await step("join token that was used", async () => {
  const evidence = { type: "join_token", token: joinToken(WEB) };
  await generateIdentity(remote, { evidence, key: await newKey() });
  await generateIdentity(remote, { evidence, key: await newKey() });
});
await step("evidence of no kind", async () => {
  await generateIdentity(remote, { evidence: { type: "other", token: joinToken(WEB) }, key: await newKey() });
});
await step("token of another as evidence", async () => {
  const token = (await web.credential()).token.reveal();
  await generateIdentity(remote, { evidence: { type: "wit", token }, key: await newKey() });
});
await step("enrollment in this process", async () => {
  await generateIdentity(authority, {
    evidence: { type: "join_token", token: joinToken(WEB).slice(1) },
    key: await newKey(),
  });
});
await step("key that is none", async () => {
  plant("private key", "canary-private-half-of-a-key");
  await importKey(secret(`{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"canary-private-half-of-a-key"}`));
});
await step("revoked caller", async () => {
  authority.revoke({ ids: [OTHER] });
  await trust.update(await authority.signedBundle());
  await client(other).buy(message);
});
await step("audit that is full", async () => {
  audit.isFull = true;
  await client(web).buy(message).finally(() => audit.isFull = false);
});

for (
  const [what, value] of Object.entries({
    ...{ web, key: web.key, credential: await web.credential(), right, trust, authority, tokens, remote, server },
    ...{ protection, guard: protect(protection), proving: proving(web, handOn), prover: prove(proving(web, handOn)) },
    ...{ client: client(web), events, entries, bundle: authority.bundle() },
  })
) show(what, value);

await serving[Symbol.asyncDispose]();
await step("server that is gone", () => client(web).buy(message));

console.log(`audit ${[...new Set(events.map(({ event, reason }) => reason ?? event))].sort().join(" ")}`);
console.log("control-that-is-found");
const planted: Planted = { needles: { ...needles, control: ["control-that-is-found"] } };
await Deno.writeTextFile(Deno.args[0]!, JSON.stringify(planted));
