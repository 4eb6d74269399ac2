// An independent implementation of RFC 9421 beside ours: what ours accepts, it accepts, and over the very same bytes.
import { component, createSignature, type MessageDescriptor, verifySignature } from "http-message-sig";
import { signatureBase, verifyMessageSignature } from "../../src/auth/message_signature.ts";
import { AuthError, generateKey } from "../../src/auth/mod.ts";
import { importPublicKey } from "../../src/auth/public_key.ts";
import { readRequestSignature, type RequestParts, signRequest, valueOf } from "../../src/auth/request_signature.ts";
import {
  readResponseSignature,
  type ResponseParts,
  signResponse,
  valueOf as responseValueOf,
} from "../../src/auth/response_signature.ts";
import { REQUEST_HEADERS, RESPONSE_HEADERS } from "../../src/auth/wire.ts";
import { toBase64 } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import * as fc from "fast-check";
import { NOW_S } from "./_messages.ts";

let signer: Awaited<ReturnType<typeof generateKey>>;
let key: CryptoKey;
before(async () => {
  signer = await generateKey();
  key = await importPublicKey(signer.jwk);
});

interface Message {
  readonly method: string;
  readonly target: string;
  readonly headers: Headers;
  /** Undefined for a request. */
  readonly status?: number;
}

const text = (unit: string, maxLength: number) => fc.string({ unit: fc.constantFrom(...unit.split("")), maxLength });
const value = text("aZ09 ,;:=/+\"'()~{}\\\t", 30);
const targets = text("aZ09/?&=%.~-", 20).map((rest) => "/" + rest);
const headersOf = (names: readonly string[]) =>
  fc.dictionary(fc.constantFrom(...names, "x-other"), value, { noNullPrototype: true }).map((all) => new Headers(all));
const basics = { method: fc.constantFrom("GET", "POST", "M-SEARCH"), target: targets };
const requests: fc.Arbitrary<Message> = fc.record({
  ...basics,
  headers: headersOf([...REQUEST_HEADERS, "traceparent"]),
});
const responses: fc.Arbitrary<Message> = fc.record({
  ...basics,
  headers: headersOf(RESPONSE_HEADERS),
  status: fc.constantFrom(200, 403, 429, 503),
});

/** The library's view of a message. */
function described({ method, target, headers, status }: Message): MessageDescriptor {
  const fields = [...headers].map(([name, value]) => ({ name, value }));
  const request = {
    kind: "request",
    method,
    targetUri: "https://example.org" + target,
    requestTarget: target,
  } as const;
  return status === undefined
    ? { ...request, fields }
    : { kind: "response", status, fields, request: { ...request, fields: [] } };
}

const requestOf = ({ method, target, headers }: Message): RequestParts => ({
  method,
  target,
  header: (name) => headers.get(name),
});
const responseOf = (message: Message): ResponseParts => ({
  ...requestOf(message),
  status: message.status!,
  request: message,
});

interface Verdict {
  readonly accepted: boolean;
  /** The signature base, where it came to that. */
  readonly base?: string;
  /** Why it was refused. */
  readonly why?: unknown;
}

async function theirs(message: Message): Promise<Verdict> {
  let base: string | undefined;
  const verifier = {
    algorithm: "ed25519",
    verify(data: Uint8Array, signature: Uint8Array) {
      base = new TextDecoder().decode(data);
      return crypto.subtle.verify("Ed25519", key, signature.slice(), data.slice());
    },
  };
  const policy = { algorithms: ["ed25519"], requiredComponents: [], requiredParameters: [], now: NOW_S };
  try {
    await verifySignature(described(message), { policy, resolveVerifier: () => verifier });
    return { accepted: true, base: base! };
  } catch (why) {
    return base === undefined ? { accepted: false, why } : { accepted: false, base, why };
  }
}

async function ours(message: Message): Promise<Verdict> {
  try {
    const [read, value] = message.status === undefined
      ? [readRequestSignature(requestOf(message)), valueOf(requestOf(message))]
      : [readResponseSignature(responseOf(message), "requested"), responseValueOf(responseOf(message))];
    await verifyMessageSignature(read, key, value);
    return { accepted: true, base: signatureBase(read.components, read.text, value) };
  } catch (why) {
    return { accepted: false, why };
  }
}

async function signed(message: Message): Promise<Message> {
  const terms = { created: NOW_S, nonce: "abcdefgh" };
  const proof = message.status === undefined
    ? await signRequest(requestOf(message), { ...terms, audience: "spiffe://example.org/echo" }, signer)
    : await signResponse(responseOf(message), { ...terms, requestNonce: "requested" }, signer);
  return withHeaders(message, proof);
}

function withHeaders(message: Message, more: Readonly<Record<string, string>>): Message {
  const headers = new Headers(message.headers);
  for (const [name, value] of Object.entries(more)) headers.set(name, value);
  return { ...message, headers };
}

/** Signs what the library makes of the message's `Signature-Input`, where it makes something of it. */
async function resigned(message: Message): Promise<Message> {
  const { base } = await theirs(message);
  if (base === undefined) return message;
  const signature = toBase64(await signer.sign(new TextEncoder().encode(base)));
  const label = /^\s*([^=\s]*)/.exec(message.headers.get("signature-input")!)![1]!;
  return withHeaders(message, { signature: `${label}=:${signature}:` });
}

describe("both ways", () => {
  for (const [kind, messages] of [["request", requests], ["response", responses]] as const) {
    test(`a ${kind} that we sign verifies in the library, over the same base`, async () => {
      await fc.assert(
        fc.asyncProperty(messages, async (plain) => {
          const message = await signed(plain);
          const [we, they] = [await ours(message), await theirs(message)];
          assert.ok(we.accepted && they.accepted, String(we.why ?? they.why));
          assert.equal(we.base, they.base);
        }),
        { numRuns: 150 },
      );
    });

    test(`a ${kind} that the library signs in our profile is accepted by us`, async () => {
      const labels = fc.constantFrom("wimse", "sig1", "*a.b_c-d");
      await fc.assert(
        fc.asyncProperty(messages, labels, fc.boolean(), async (plain, label, reversed) => {
          const names = kind === "request" ? [...REQUEST_HEADERS, "traceparent"] : RESPONSE_HEADERS;
          const present = [...names, "x-other"].filter((name) => plain.headers.has(name)).map((name) =>
            component(name)
          );
          const derived = kind === "request"
            ? [component("@method"), component("@request-target")]
            : [component("@status"), component("@method", { req: true }), component("@request-target", { req: true })];
          const components = reversed ? [...present, ...derived].reverse() : [...derived, ...present];
          const { signature, signatureInput } = await createSignature(described(plain), {
            label,
            components,
            parameters: {
              nonce: "abcdefgh",
              tag: "wimse-workload-to-workload",
              created: NOW_S,
              expires: NOW_S + 30,
              ...kind === "request"
                ? { "wimse-aud": "spiffe://example.org/echo", "wimse-sign-response": true }
                : { "wimse-req-nonce": "requested" },
            },
            signer: { algorithm: "ed25519", sign: (data) => signer.sign(data.slice()) },
          });
          const message = withHeaders(plain, { signature, "signature-input": signatureInput });
          const [we, they] = [await ours(message), await theirs(message)];
          assert.ok(we.accepted && they.accepted, String(we.why ?? they.why));
          assert.equal(we.base, they.base);
        }),
        { numRuns: 150 },
      );
    });
  }
});

/** Random damage to a `Signature-Input`: places and pieces are chosen by numbers. */
type Mutation = (input: string, a: number, b: number) => string;

const PIECES = [
  ...[
    " ",
    "  ",
    "\t",
    ",",
    ";",
    ";req",
    ";sf",
    ";req=?1",
    ";created=1",
    ";created=01",
    ";x",
    '"',
    "\\",
    "(",
    ")",
    "=",
    "0",
  ],
  ...["A", "é", ', b=("@method")', "*", ';keyid="k"', ';alg="ed25519"', "-", '"@method"', ' "@method"', ' "date"'],
];
const COMPONENTS = [
  ...[
    '"@method"',
    '"@request-target"',
    '"@path"',
    '"@authority"',
    '"@query"',
    '"@target-uri"',
    '"@status"',
    '"x-other"',
  ],
  ...[
    '"@method";req',
    '"@request-target";req',
    '"x-other";req',
    '"content-type"',
    '"Content-Type"',
    '"a@b"',
    '"@other"',
  ],
];

function inList(input: string, change: (components: string[]) => string[]): string {
  const [, head, list, tail] = /^([^(]*\()([^)]*)(\).*)$/s.exec(input) ?? [];
  return list === undefined ? input : head + change(list.split(" ")).join(" ") + tail;
}

function inTerms(input: string, change: (terms: string[]) => string[]): string {
  const end = input.indexOf(")") + 1;
  const [first = "", ...terms] = input.slice(end).split(";");
  return input.slice(0, end) + [first, ...change(terms)].join(";");
}

const at = <Item>(items: readonly Item[], n: number): Item => items[n % items.length]!;
const without = <Item>(items: readonly Item[], n: number) => items.filter((_, i) => i !== n % items.length);
const inserted = <Item>(items: readonly Item[], n: number, item: Item) => {
  const place = n % (items.length + 1);
  return [...items.slice(0, place), item, ...items.slice(place)];
};
const moved = <Item>(items: readonly Item[], a: number, b: number) => inserted(without(items, a), b, at(items, a));

const MUTATIONS: readonly Mutation[] = [
  (input) => input,
  (input, a, b) => input.slice(0, a % (input.length + 1)) + at(PIECES, b) + input.slice(a % (input.length + 1)),
  (input, a) => input.slice(0, a % input.length) + input.slice(a % input.length + 1),
  (input, a, b) => input.slice(0, a % input.length) + at(PIECES, b) + input.slice(a % input.length + 1),
  (input, a) => inList(input, (all) => without(all, a)),
  (input, a, b) => inList(input, (all) => moved(all, a, b)),
  (input, a, b) => inList(input, (all) => inserted(all, a, at(COMPONENTS, b))),
  (input, a, b) => inList(input, (all) => inserted(all, a, at(all, b))),
  (input, a) => inTerms(input, (all) => without(all, a)),
  (input, a, b) => inTerms(input, (all) => moved(all, a, b)),
  (input, a, b) => inTerms(input, (all) => inserted(all, b, at(all, a))),
  (input, a) => inTerms(input, (all) => [...all, at(['keyid="k"', "x", "x=1", 'tag="t"', 'alg="ed25519"'], a)]),
  (input, a) => input.replace(/^[^=]*/, at(["sig1", "a", "*", "WIMSE", "1a", ""], a)),
];

describe("whatever is done to a message", () => {
  for (const [kind, messages] of [["request", requests], ["response", responses]] as const) {
    test(`a changed ${kind} that we accept is accepted by the library, over the same base`, async () => {
      const steps = fc.array(fc.tuple(fc.constantFrom(...MUTATIONS), fc.nat(500), fc.nat(500)), { maxLength: 3 });
      const header = fc.constantFrom("none", "x-other", "content-type", "content-digest", "date", "traceparent");
      const seen = { both: 0, library: 0, neither: 0 };
      await fc.assert(
        fc.asyncProperty(messages, steps, header, fc.boolean(), async (plain, steps, header, keep) => {
          const original = await signed(plain);
          const input = steps.reduce(
            (text, [change, a, b]) => change(text, a, b),
            original.headers.get("signature-input")!,
          );
          if (/[^\x20-\x7e\t]/.test(input)) return; // no header can have it
          const mutated = withHeaders(original, {
            "signature-input": input,
            ...header === "none" ? {} : { [header]: "!" },
          });
          const message = keep ? mutated : await resigned(mutated);
          const [we, they] = [await ours(message), await theirs(message)];
          seen[we.accepted ? "both" : they.accepted ? "library" : "neither"]++;
          if (we.accepted) {
            assert.ok(they.accepted, String(they.why));
            assert.equal(we.base, they.base);
          } else if (they.accepted) {
            // What the library takes and we do not is refused by the profile, and never because the bases differ.
            assert.ok(we.why instanceof AuthError, String(we.why));
            assert.notEqual(we.why.reason, "bad_signature");
          }
        }),
        { numRuns: 400 },
      );
      for (const [what, count] of Object.entries(seen)) assert.ok(count >= 20, `${what}: ${count} cases say nothing`);
    });
  }
});

describe("what the library takes and the profile does not", () => {
  const base: Message = {
    method: "POST",
    target: "/a/b",
    headers: new Headers({ "content-type": "application/json", date: "today", "example-dict": "a=1, b=2" }),
  };
  const input = (components: string, terms: string) => `wimse=(${components})${terms}`;
  const LIST = `"@method" "@request-target" "content-type"`;
  const TERMS = `;created=${NOW_S};expires=${
    NOW_S + 30
  };nonce="abcdefgh";tag="wimse-workload-to-workload";wimse-aud="a"`;
  const rows: readonly [title: string, input: string, reason: string][] = [
    ["nothing special", input(LIST, TERMS), ""],
    ["two spaces between components", input(LIST.replace(" ", "  "), TERMS), "malformed_signature"],
    ["spaces at the list's ends", input(` ${LIST} `, TERMS), "malformed_signature"],
    ["a space after a semicolon", input(LIST, TERMS.replace(";", "; ")), "malformed_signature"],
    ["a flag spelled out", input(LIST, `${TERMS};wimse-sign-response=?1`), "malformed_signature"],
    ["a leading zero", input(LIST, TERMS.replace("created=", "created=0")), "malformed_signature"],
    ["a negative number", input(LIST, TERMS.replace("created=", "created=-")), "malformed_signature"],
    ["an escape in a text", input(LIST, TERMS.replace("abcdefgh", 'abc\\"defgh')), "malformed_signature"],
    ["a key id", input(LIST, `${TERMS};keyid="k"`), "malformed_signature"],
    ["an algorithm", input(LIST, `${TERMS};alg="ed25519"`), "malformed_signature"],
    ["a parameter of someone else's", input(LIST, `${TERMS};x=1`), "malformed_signature"],
    ["no tag", input(LIST, TERMS.replace(/;tag="[^"]*"/, "")), "malformed_signature"],
    ["another tag", input(LIST, TERMS.replace(/tag="[^"]*"/, 'tag="x"')), "malformed_signature"],
    ["no nonce", input(LIST, TERMS.replace(/;nonce="[^"]*"/, "")), "malformed_signature"],
    ["a short nonce", input(LIST, TERMS.replace(/nonce="[^"]*"/, 'nonce="n"')), "malformed_signature"],
    ["no beginning", input(LIST, TERMS.replace(/;created=\d+/, "")), "malformed_signature"],
    ["no end", input(LIST, TERMS.replace(/;expires=\d+/, "")), "malformed_signature"],
    ["no audience", input(LIST, TERMS.replace(/;wimse-aud="a"/, "")), "malformed_signature"],
    ["a member of a dictionary", input(`${LIST} "example-dict";key="a"`, TERMS), "malformed_signature"],
    ["the path in place of the target", input(LIST.replace("@request-target", "@path"), TERMS), "wrong_coverage"],
    ["the path beside the target", input(`${LIST} "@path"`, TERMS), "wrong_coverage"],
    ["the authority", input(`${LIST} "@authority"`, TERMS), "wrong_coverage"],
    ["the target URI", input(`${LIST} "@target-uri"`, TERMS), "wrong_coverage"],
    ["a method that is not covered", input(`"@request-target" "content-type"`, TERMS), "wrong_coverage"],
    ["a header that is not covered", input(`"@method" "@request-target"`, TERMS), "wrong_coverage"],
    ["nothing covered", input("", TERMS), "wrong_coverage"],
  ];
  for (const [title, value, reason] of rows) {
    test(`${title}: ${reason || "we take it too"}`, async () => {
      const message = await resigned(
        withHeaders(base, { "signature-input": value, signature: `wimse=:${toBase64(new Uint8Array(64))}:` }),
      );
      const [we, they] = [await ours(message), await theirs(message)];
      assert.ok(they.accepted, String(they.why));
      assert.equal(we.why instanceof AuthError ? we.why.reason : we.why ?? "", reason);
    });
  }

  test("two signatures: the library asks which, we refuse", async () => {
    const one = await signed(base);
    const twice = (name: string) => `${one.headers.get(name)}, ${one.headers.get(name)!.replace("wimse=", "other=")}`;
    const message = withHeaders(one, { signature: twice("signature"), "signature-input": twice("signature-input") });
    const we = await ours(message);
    assert.ok(we.why instanceof AuthError && we.why.reason === "malformed_signature");
    assert.match(String((await theirs(message)).why), /explicit label/);
  });
});
