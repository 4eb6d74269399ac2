// What a protected server must refuse, sent to a program of its own on each runtime, over TLS, as bytes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { attenuate, createAuthority, generateKey, issueCapability, range } from "../../src/auth/mod.ts";
import { canonicalJson } from "../../src/codec/mod.ts";
import { contentDigest } from "../../src/auth/content_digest.ts";
import { readJws, signJws } from "../../src/auth/jws.ts";
import { CAPABILITY_SCHEME, CREDENTIAL_HEADERS, SERVES_CLAIM, TOKEN_TYPES } from "../../src/auth/wire.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import { byId, chainOf, child, type Claims, details, sign, witOf } from "../auth/_forge.ts";
import { changed, renamed, resigned } from "../auth/_messages.ts";
import type { Captured } from "../auth/_world.ts";
import { RUNTIMES } from "../runtime/launch.ts";
import { type Answer, type Attacker, createAttacker } from "../runtime/protected_attacker.ts";
import { DOMAIN } from "../runtime/protected_domain.ts";
import { createProtectedLauncher } from "../runtime/protected_launch.ts";

/** What is answered and, where the guard refuses, the reason that the audit has. */
interface Expected {
  readonly answer: readonly [status: number, code: string | undefined, proven: boolean];
  readonly reason?: string;
}
const ACCEPTED: Expected = { answer: [200, undefined, true] };
const unbelieved = (reason: string): Expected => ({ answer: [401, "unauthenticated", false], reason });
const forbidden = (reason: string): Expected => ({ answer: [403, "permission_denied", true], reason });
const MALFORMED: Expected = { answer: [400, "invalid_argument", false] };
const UNREADABLE: Expected = { answer: [415, "unknown", false] };

type Attack = readonly [expected: Expected, request: (at: Attacker) => Promise<Captured>];
type Attacks = Readonly<Record<string, Attack>>;

const HOUR_MS = 3_600_000;
const AN_HOUR_AGO = () => Date.now() - HOUR_MS - 1_000;
const CHARGE = "guarded.v1/charge";
const upTo = (max: number) => ({ [CHARGE]: { cents: range({ min: 1, max }) } });
const rightOf = ({ web, domain: { authority } }: Attacker, holder = web.id, max = 100) =>
  issueCapability(authority, { holder, tools: upTo(max) });
/** A charge of 50 cents, under a chain that may be none. */
const charging = async (at: Attacker, chain: string) =>
  resigned(await at.sign(at.web, { call: "charge", capability: await rightOf(at) }), {
    headers: { authorization: CAPABILITY_SCHEME + chain },
  }, at.web);
/** A call whose identity token is another. */
const bearing = async (at: Attacker, token: string, signer: Parameters<typeof resigned>[2] = at.web) =>
  resigned(await at.sign(at.web), { headers: { "workload-identity-token": token }, terms: renamed }, signer);
/** The payload of a token changed, and its signature kept. */
function rewritten(token: string, type: string, claims: Claims): string {
  const [head, , signature] = token.split(".");
  const whole = canonicalJson({ ...readJws(token, type).claims as Claims, ...claims });
  return `${head}.${toBase64Url(new TextEncoder().encode(whole))}.${signature}`;
}

/** That what the attacks change is accepted where nothing, or nothing that counts, is changed. */
const good: Attacks = {
  "a request as it was captured": [ACCEPTED, (at) => at.sign(at.web)],
  "a request that its own caller signed again": [
    ACCEPTED,
    async (at) => resigned(await at.sign(at.web), { terms: renamed }, at.web),
  ],
  "a right": [ACCEPTED, async (at) => at.sign(at.web, { call: "charge", capability: await rightOf(at) })],
  "a right that its holder made narrower by hand": [ACCEPTED, (at) => handMade(at, 60)],
  "a right that its holder made narrower": [ACCEPTED, async (at) => {
    const narrow = await attenuate(await rightOf(at), at.web, { holder: at.web.id, tools: upTo(60) });
    return at.sign(at.web, { call: "charge", capability: narrow });
  }],
};

/** A child of a right to charge up to 100 cents, signed by its holder without asking whether it is narrower. */
async function handMade(at: Attacker, max: number): Promise<Captured> {
  const parent = (await rightOf(at)).chain.reveal();
  const token = await child(parent, at.web.key, byId(at.web.id), { authorization_details: details(upTo(max)) });
  return charging(at, chainOf(parent, await witOf(at.web), token));
}

const tokens: Attacks = {
  "a stolen token with another key": [
    unbelieved("bad_signature"),
    async (at) => bearing(at, await witOf(at.web), await generateKey()),
  ],
  "a stolen token in a request that another caller signed": [unbelieved("bad_signature"), async (at) => {
    const headers = { "workload-identity-token": await witOf(at.web) };
    return changed(await at.sign(at.other), { headers });
  }],
  "an identity token that has expired": [unbelieved("expired_token"), async (at) => {
    const past = await createAuthority(DOMAIN, { keys: [at.domain.keys], now: AN_HOUR_AGO });
    return at.sign(await at.identity(at.web.id, { by: past, now: AN_HOUR_AGO }));
  }],
  "an identity of another trust domain": [unbelieved("unknown_issuer"), async (at) => {
    const by = await createAuthority("other.test");
    return at.sign(await at.identity("spiffe://other.test/client/web", { by }));
  }],
  "an identity of another authority that calls itself the same": [
    unbelieved("unknown_issuer"),
    async (at) => at.sign(await at.identity(at.web.id, { by: await createAuthority(DOMAIN) })),
  ],
  "an identity token whose claims were changed": [
    unbelieved("bad_token_signature"),
    async (at) => bearing(at, rewritten(await witOf(at.web), TOKEN_TYPES.wit, { [SERVES_CLAIM]: ["guarded.v1"] })),
  ],
  "an identity token signed with the authority's key for rights": [unbelieved("unknown_issuer"), async (at) => {
    const { capability: { thumbprint: kid, sign } } = at.domain.keys;
    const { claims } = readJws(await witOf(at.web), TOKEN_TYPES.wit);
    return bearing(at, await signJws(TOKEN_TYPES.wit, claims, { kid, sign }));
  }],
  "a right in the place of the identity token": [
    unbelieved("malformed_token"),
    async (at) => bearing(at, (await rightOf(at)).chain.reveal()),
  ],
  "an identity token in the place of a right": [
    forbidden("malformed_chain"),
    async (at) => charging(at, await witOf(at.web)),
  ],
  "a right signed with the authority's key for identities": [forbidden("unknown_issuer"), async (at) => {
    const { claims } = readJws((await rightOf(at)).chain.reveal(), TOKEN_TYPES.capability);
    return charging(
      at,
      await sign(claims as Claims, at.domain.keys.wit, at.domain.keys.wit.thumbprint),
    );
  }],
  "a right that its holder made wider": [forbidden("wider_right"), (at) => handMade(at, 101)],
  "a right whose claims were changed": [forbidden("bad_token_signature"), async (at) => {
    const token = (await rightOf(at, at.web.id, 10)).chain.reveal();
    return charging(at, rewritten(token, TOKEN_TYPES.capability, { authorization_details: details(upTo(100)) }));
  }],
  "a right for other arguments": [
    forbidden("argument_not_allowed"),
    async (at) => at.sign(at.web, { call: "charge", capability: await rightOf(at, at.web.id, 49) }),
  ],
  "a stolen right": [
    forbidden("wrong_holder"),
    async (at) => at.sign(at.other, { call: "charge", capability: await rightOf(at) }),
  ],
  "a right that has expired": [forbidden("expired_right"), async (at) => {
    const grant = { holder: at.web.id, tools: upTo(100) };
    const capability = await issueCapability(at.domain.authority, grant, { now: AN_HOUR_AGO });
    return at.sign(at.web, { call: "charge", capability });
  }],
  "no right where one is needed": [forbidden("not_allowed"), (at) => at.sign(at.web, { call: "charge" })],
  "an identity that no rule is for": [
    forbidden("not_allowed"),
    async (at) => at.sign(await at.identity(`spiffe://${DOMAIN}/clients`)),
  ],
};

const without = (...names: readonly string[]) => async (at: Attacker) =>
  changed(await at.sign(at.web, { call: "charge", capability: await rightOf(at) }), {
    headers: Object.fromEntries(names.map((name) => [name, undefined])),
  });
const PROOF: Readonly<Record<string, string>> = {
  "workload-identity-token": "malformed_token",
  "signature-input": "unsigned",
  "signature": "unsigned",
  "content-digest": "wrong_coverage",
  "authorization": "wrong_coverage",
  "connect-timeout-ms": "wrong_coverage",
};

const unproven: Attacks = {
  ...Object.fromEntries(
    Object.entries(PROOF).map((
      [name, reason],
    ): [string, Attack] => [`no ${name}`, [unbelieved(reason), without(name)]]),
  ),
  "no content-type": [UNREADABLE, without("content-type")],
  "no proof at all": [unbelieved("unsigned"), without(...CREDENTIAL_HEADERS, "content-digest")],
  "nothing but a right": [
    unbelieved("unsigned"),
    without("workload-identity-token", "signature-input", "signature", "content-digest"),
  ],
};

const other = '{"name":"Eve"}';
const onTheWay = (change: Parameters<typeof changed>[1]) => async (at: Attacker) =>
  changed(await at.sign(at.web), change);
const elsewhere = (path: string) => async (at: Attacker) => {
  const request = await at.sign(at.web);
  return changed(request, { url: new URL(path, request.url).href });
};

const changes: Attacks = {
  "another body": [unbelieved("bad_digest"), onTheWay({ body: other })],
  "another body, and its digest": [unbelieved("bad_signature"), async (at) => {
    const headers = { "content-digest": await contentDigest(new TextEncoder().encode(other)) };
    return changed(await at.sign(at.web), { body: other, headers });
  }],
  "the path of another method": [unbelieved("bad_signature"), elsewhere("/guarded.v1/fail")],
  "the path of no method": [unbelieved("bad_signature"), elsewhere("/guarded.v1/nothing")],
  "a query": [MALFORMED, elsewhere("/guarded.v1/hello?a=b")],
  "another verb": [unbelieved("bad_signature"), onTheWay({ method: "PUT" })],
  "more time": [unbelieved("bad_signature"), onTheWay({ headers: { "connect-timeout-ms": "86400000" } })],
  "another media type": [unbelieved("bad_signature"), onTheWay({ headers: { "content-type": "application/cbor" } })],
  "a right that was overheard": [unbelieved("wrong_coverage"), async (at) => {
    const headers = { authorization: CAPABILITY_SCHEME + (await rightOf(at)).chain.reveal() };
    return changed(await at.sign(at.web, { call: "charge" }), { headers });
  }],
  "services that it did not come through": [
    unbelieved("wrong_coverage"),
    onTheWay({ headers: { "postern-callers": `"spiffe://${DOMAIN}/a"` } }),
  ],
  "another audience": [unbelieved("bad_signature"), async (at) => {
    const request = await at.sign(at.web, { audience: `${at.server}/other` });
    const input = request.headers["signature-input"]!.replace(`${at.server}/other`, at.server);
    return changed(request, { headers: { "signature-input": input } });
  }],
};

const elsewhen: Attacks = {
  "what was proven to another server": [
    unbelieved("wrong_audience"),
    (at) => at.sign(at.web, { peer: `${at.server}/other` }),
  ],
  "what was proven to another instance": [
    unbelieved("wrong_audience"),
    (at) => at.sign(at.web, { audience: "https://two.test" }),
  ],
  "what was proven a minute ago": [unbelieved("stale"), (at) => at.sign(at.web, { now: () => Date.now() - 60_000 })],
  "what is proven for a minute from now": [
    unbelieved("stale"),
    (at) => at.sign(at.web, { now: () => Date.now() + 60_000 }),
  ],
};

for (const runtime of RUNTIMES) {
  test(`T2.1 T2.5 T4.1 T4.3 T23 a server on ${runtime} stands attacks over TLS, and goes on answering`, async (t) => {
    await using launcher = await createProtectedLauncher(["server"], [runtime]);
    await using at = await createAttacker(runtime, launcher);

    for (const [title, [expected, request]] of Object.entries(good)) {
      assertAnswer(await at.deliver(await request(at)), expected, `the test itself: ${title}`);
    }
    await t.test(`T2.1 a server on ${runtime} refuses tokens that are not its caller's`, () => refuses(at, tokens));
    await t.test(`T23 a server on ${runtime} refuses requests without their proof`, () => refuses(at, unproven));
    await t.test(`T4.1 a server on ${runtime} refuses requests that were changed`, () => refuses(at, changes));
    await t.test(`T4.3 a server on ${runtime} refuses requests for elsewhere and elsewhen`, () =>
      refuses(at, elsewhen));
    await t.test(`T4.3 a server on ${runtime} refuses requests that came before`, () => refusesReplays(at));
    await t.test(`T4.3 a server on ${runtime} lets one of equal requests in that come at once`, () => takesOne(at));
    await t.test(`T2.5 a server on ${runtime} hides which methods there are`, () => hidesMethods(at));
  });
}

function assertAnswer({ status, code, proven }: Answer, expected: Expected, title: string): void {
  assert.deepEqual([status, code, proven], expected.answer, title);
}

/** Each attack between two honest calls, which say that no handler ran in between. */
async function refuses(at: Attacker, attacks: Attacks): Promise<void> {
  let { calls } = await at.honest();
  for (const [title, [expected, request]] of Object.entries(attacks)) {
    assertAnswer(await at.deliver(await request(at)), expected, title);
    const { calls: after, refused } = await at.honest();
    assert.deepEqual(refused, expected.reason === undefined ? [] : [expected.reason], title);
    assert.equal(after, ++calls, `a handler ran: ${title}`);
  }
}

async function refusesReplays(at: Attacker): Promise<void> {
  const request = await at.sign(at.web);
  const { calls } = await at.honest();
  assertAnswer(await at.deliver(request), ACCEPTED, "the first time");
  for (let i = 0; i < 3; i++) assertAnswer(await at.deliver(request), unbelieved("replayed"), "again");
  const relabelled = await resigned(request, { label: "other", components: (all) => [...all].reverse() }, at.web);
  assertAnswer(await at.deliver(relabelled), unbelieved("replayed"), "again, in another order");
  const { calls: after, refused } = await at.honest();
  assert.deepEqual([after, refused], [calls + 2, Array(4).fill("replayed")]);
}

async function takesOne(at: Attacker): Promise<void> {
  for (const copies of [2, 2, 2, 8]) {
    const request = await at.sign(at.web);
    const { calls } = await at.honest();
    const answers = await Promise.all(Array.from({ length: copies }, () => at.deliver(request)));
    const statuses = answers.map(({ status }) => status).sort();
    assert.deepEqual(statuses, [200, ...Array(copies - 1).fill(401)]);
    assert.equal((await at.honest()).calls, calls + 2);
  }
}

/** By who is proven and by who is not: the same answer for a method that is not there and for one that has no rule. */
async function hidesMethods(at: Attacker): Promise<void> {
  const { calls } = await at.honest();
  const bare = Object.fromEntries([...CREDENTIAL_HEADERS, "content-digest"].map((name) => [name, undefined]));
  const ways: readonly (readonly [Expected, (request: Captured) => Promise<Captured>])[] = [
    [forbidden("not_allowed"), (request) => resigned(request, { terms: renamed }, at.web)],
    [unbelieved("unsigned"), (request) => Promise.resolve(changed(request, { headers: bare }))],
  ];
  for (const [expected, way] of ways) {
    const seen = new Set<string>();
    for (const path of ["/guarded.v1/shut", "/guarded.v1/nothing", "/guarded.v2/shut", "/nobody.v1/shut"]) {
      const request = await at.sign(at.web, { call: "shut" });
      const answer = await at.deliver(await way(changed(request, { url: new URL(path, request.url).href })));
      assertAnswer(answer, expected, path);
      seen.add(visible(answer));
    }
    assert.equal(seen.size, 1, [...seen].join("\n"));
  }
  assert.equal((await at.honest()).calls, calls + 1);
}

/** All that a caller can see of a refusal, but for the ids, the time and what the proof makes of them. */
function visible({ status, headers, text }: Answer): string {
  const { details: [info], ...error } = JSON.parse(text);
  const names = ["signature", "signature-input", "content-digest", "date"];
  const plain = [...headers].map(([name, value]) => names.includes(name) ? name : `${name}: ${value}`);
  return JSON.stringify([status, plain, error, info.type, info.value.length]);
}
