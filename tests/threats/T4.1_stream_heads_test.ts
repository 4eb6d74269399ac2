// Somebody on the way changes the heads of streams over HTTPS, sends them again, or gives them other bodies.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient, fetchTransport, RpcError } from "../../src/rpc/mod.ts";
import { allow, prove } from "../../src/auth/mod.ts";
import {
  concat,
  httpClient,
  readAll,
  slowly,
  streaming,
  STREAMS,
  type StreamsClient,
  URL_OF_STREAMS,
} from "./_streaming.ts";
import { Streams } from "../rpc/_streams.ts";
import { soon } from "../rpc/_rig.ts";
import { WEB } from "../auth/_world.ts";

const codeOf = (error: unknown): string => error instanceof RpcError ? error.code : `no RpcError: ${error}`;

async function opened(options: Parameters<typeof streaming>[0] = {}) {
  const it = await streaming(options);
  const http = httpClient(it);
  assert.deepEqual(await http.client.up(slowly("warm")), { text: "warm" });
  it.handled.length = 0;
  it.audit.events.length = 0;
  return { ...it, ...http };
}

type Answer = { readonly status: number; readonly headers: Headers; readonly body: ReadableStream<Uint8Array> | null };

const responseOf = ({ status, headers, body }: Answer) => new Response(body, { status, headers });
const withHeader = ({ status, headers, body }: Response, name: string, value: string | undefined): Response => {
  const changed = new Headers(headers);
  if (value === undefined) changed.delete(name);
  else changed.set(name, value);
  return responseOf({ status, headers: changed, body });
};
const swapped = (response: Response, name: string, from: RegExp, to: string) =>
  withHeader(response, name, response.headers.get(name)!.replace(from, to));

/** What a client makes of a head that was changed: nothing. */
const HEADS: readonly (readonly [name: string, change: (response: Response) => Response])[] = [
  ["another status that is none of a stream", (response) => responseOf({ ...partsOf(response), status: 403 })],
  ["another status that is one", (response) => responseOf({ ...partsOf(response), status: 206 })],
  ["the status of a refusal", (response) => responseOf({ ...partsOf(response), status: 503 })],
  ["another media type", (response) => withHeader(response, "content-type", "application/connect+cbor")],
  ["the media type of a whole answer", (response) => withHeader(response, "content-type", "application/json")],
  ["no media type", (response) => withHeader(response, "content-type", undefined)],
  ["no proof", (response) => withHeader(withHeader(response, "signature", undefined), "signature-input", undefined)],
  ["no MAC", (response) => withHeader(response, "signature", undefined)],
  ["an empty MAC", (response) => withHeader(response, "signature", "")],
  ["a MAC of zeros", (response) => withHeader(response, "signature", `s=:${"A".repeat(43)}=:`)],
  ["no input", (response) => withHeader(response, "signature-input", undefined)],
  ["another counter", (response) => swapped(response, "signature-input", /nonce="\d+"/, 'nonce="99"')],
  ["an input that covers less", (response) => swapped(response, "signature-input", / ?"content-type"/, "")],
  ["a digest that it did not have", (response) => withHeader(response, "content-digest", DIGEST)],
  [
    "a redirect",
    (response) => withHeader(responseOf({ ...partsOf(response), status: 302 }), "location", "https://evil.test"),
  ],
];

const DIGEST = `sha-256=:${"A".repeat(43)}=:`;
const partsOf = ({ status, headers, body }: Response): Answer => ({ status, headers, body });

describe("T4.1 the head of an answer that is a stream", () => {
  for (const [name, change] of HEADS) {
    for (const shape of ["down", "up", "both"] as const) {
      test(`T4.1 a client takes no stream's answer (${shape}) with ${name}`, async () => {
        const { client, between } = await opened();
        between.answer = change;
        const { texts, error } = await soon(readAll(callOf(client, shape)));
        assert.deepEqual(texts, []);
        assert.equal(codeOf(error), name === "a redirect" ? "unknown" : "unavailable");
      });
    }
  }

  test("T4.1 a client takes no refusal of a stream that somebody made of an answer, nor one that he changed", async () => {
    const { client, between } = await opened();
    const refusals: readonly (() => Response)[] = [
      () => Response.json({ code: "permission_denied" }, { status: 403 }),
      () => Response.json({ code: "unauthenticated" }, { status: 401 }),
      () => new Response(null, { status: 503, headers: { "retry-after": "1000000000" } }),
      () => new Response(ENDED, { headers: { "content-type": "application/connect+json" } }),
      () => new Response(ENDED, { headers: { "content-type": "application/connect+json", "content-digest": DIGEST } }),
    ];
    for (const refusal of refusals) {
      between.answer = refusal;
      const { texts, error } = await soon(readAll(client.down({ text: "abc" })));
      assert.deepEqual([texts, codeOf(error)], [[], "unavailable"]);
    }
  });

  test("T4.1 a client takes a server's own refusal of a stream as it is, and no refusal in another's place", async () => {
    const rules = [allow({ caller: WEB, call: "streams.v1/up" })];
    const { client, between, handled } = await opened({ rules });
    const whole = await soon(readAll(client.both(slowly("a"))));
    assert.equal(codeOf(whole.error), "permission_denied");
    const bodies: string[] = [];
    between.answer = async (response) => {
      const text = await response.text();
      bodies.push(text);
      return new Response(text.replace("permission_denied", "permission-denied"), response);
    };
    assert.equal(codeOf((await soon(readAll(client.both(slowly("a"))))).error), "unavailable");
    assert.match(bodies[0]!, /permission_denied/);
    assert.deepEqual(handled, []);
  });
});

const ENDED = (() => {
  const text = new TextEncoder().encode('{"error":{"code":"permission_denied"}}');
  return concat(Uint8Array.of(2, 0, 0, 0, text.length), text);
})();

/** What a server makes of a request whose head was changed: it does nothing. */
const REQUESTS: readonly (readonly [
  name: string,
  change: (headers: Record<string, string>) => Record<string, string>,
])[] = [
  ["no proof", ({ signature: _, "signature-input": __, ...headers }) => headers],
  ["no MAC", ({ signature: _, ...headers }) => headers],
  ["a MAC of zeros", (headers) => ({ ...headers, signature: `s=:${"A".repeat(43)}=:` })],
  ["another media type", (headers) => ({ ...headers, "content-type": "application/connect+cbor" })],
  ["the media type of a whole message", (headers) => ({ ...headers, "content-type": "application/json" })],
  ["another deadline", (headers) => ({ ...headers, "connect-timeout-ms": "1" })],
  ["a right that it did not have", (headers) => ({ ...headers, authorization: "Capability x" })],
  ["a digest that it did not have", (headers) => ({ ...headers, "content-digest": DIGEST })],
  ["a higher counter", (headers) => ({
    ...headers,
    "signature-input": headers["signature-input"]!.replace(/nonce="\d+"/, 'nonce="99"'),
  })],
];

describe("T4.1 the head of a request that is a stream", () => {
  for (const [name, change] of REQUESTS) {
    test(`T4.1 a server takes no stream with ${name}`, async () => {
      for (const shape of ["down", "up", "both"] as const) {
        const { client, between, handled, sent } = await opened();
        let changed = "";
        between.head = (headers) => {
          const next = change(headers);
          changed ||= `${JSON.stringify(next) !== JSON.stringify(headers)}`;
          return next;
        };
        const before = sent.length;
        const { texts, error } = await soon(readAll(callOf(client, shape)));
        assert.equal(changed, "true", "nothing was changed");
        assert.ok(sent.length > before);
        assert.deepEqual(handled, [], `${shape} was handled`);
        assert.deepEqual([texts, codeOf(error)], [[], "unavailable"]);
      }
    });
  }

  test("T4.1 T4.3 a server takes no stream a second time, nor its blocks after the head of another", async () => {
    const { client, between, handled, server, sent, audit } = await opened();
    const blocks: Uint8Array[] = [];
    between.request = (block) => (block && blocks.push(block), block ? [block] : []);
    assert.deepEqual(await client.up(slowly("a", "b")), { text: "ab" });
    const copy = sent.at(-1)!;
    assert.equal(handled.length, 1);
    audit.events.length = 0;
    const { url, headers } = copy;
    const again = await server.fetch(new Request(url, { method: "POST", headers, body: concat(...blocks) }));
    assert.match(await again.text(), /unauthenticated/);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["replayed"]);
    assert.equal(handled.length, 1);
    // A new head of the caller's, and what he said before.
    between.request = (_, index) => index === 0 ? blocks : [];
    assert.equal(codeOf((await soon(readAll(callOf(client, "up")))).error), "unavailable");
    assert.deepEqual(handled.slice(1).map(({ texts, whole }) => [texts, whole]), [[[], false]]);
  });

  test("T4.1 a server takes the stream of one method for no other", async () => {
    const { client, between, handled } = await opened();
    const it = await opened();
    const renamed = (url: string) => url.replace("/up", "/both");
    const fetch = (url: string, init: RequestInit) => it.server.fetch(new Request(renamed(url), init));
    const prover = prove({ identity: it.web, trust: it.world.trust, peer: STREAMS, now: it.world.now });
    const renaming = createClient(Streams, fetchTransport(URL_OF_STREAMS, { prover, fetch }));
    assert.equal(codeOf((await soon(readAll(callOf(renaming, "up")))).error), "unavailable");
    assert.deepEqual(it.handled, []);
    // And without the attack it is one.
    delete between.head;
    assert.deepEqual(await client.up(slowly("a")), { text: "a" });
    assert.equal(handled.length, 1);
  });
});

async function* callOf(client: StreamsClient, shape: "down" | "up" | "both") {
  if (shape === "up") yield await client.up(slowly("a", "b"));
  else yield* shape === "down" ? client.down({ text: "abc" }) : client.both(slowly("a", "b"));
}
