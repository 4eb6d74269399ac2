import { isNotSent } from "../../src/rpc/not_sent.ts";
import { anonymous, createClient, fetchTransport, NotSentError, RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Shop } from "../selector/_pool.ts";

const coded = (code: unknown, cause?: unknown) => Object.assign(new TypeError("fetch failed", { cause }), { code });
const caused = (cause: unknown) => new TypeError("fetch failed", { cause });
const URL_TEXT = "https://shop.example.org/shop.v1/buy";
const deno = (kind: string, more: string) =>
  `error sending request for url (${URL_TEXT}): client error (${kind}): ${more}`;
const connecting = (code: string) => Object.assign(new Error(`connect ${code}`), { code, syscall: "connect" });
const deep = (depth: number, error: unknown): unknown => depth === 0 ? error : caused(deep(depth - 1, error));

const NOT_SENT: Readonly<Record<string, unknown>> = {
  "Node, refused": caused(coded("ECONNREFUSED")),
  "Node, refused at each of several addresses": caused(
    Object.assign(new AggregateError([coded("ECONNREFUSED")]), { code: "ECONNREFUSED" }),
  ),
  "Node, no such host": caused(coded("ENOTFOUND")),
  "Node, no name server": caused(coded("EAI_AGAIN")),
  "Node, no route to the host": caused(connecting("EHOSTUNREACH")),
  "Node, no route to the network": caused(connecting("ENETUNREACH")),
  "Node, nobody answered the first packet": caused(connecting("ETIMEDOUT")),
  "Node, no route at any of several addresses": caused(
    new AggregateError([connecting("EHOSTUNREACH")], "", { cause: connecting("EHOSTUNREACH") }),
  ),
  "Node, no connection in time": caused(coded("UND_ERR_CONNECT_TIMEOUT")),
  "Bun, refused": coded("ECONNREFUSED"),
  "Bun, no such host": coded("ENOTFOUND"),
  "Deno, refused": caused(new Error(deno("Connect", "tcp connect error: Connection refused (os error 111)"))),
  "Deno, no such host": caused(new Error(deno("Connect", "dns error: failed to lookup address information"))),
  "Deno, as one error": new TypeError(deno("Connect", "tcp connect error: deadline has elapsed")),
  "four errors deep": deep(3, coded("ECONNREFUSED")),
};

const PERHAPS_SENT: Readonly<Record<string, unknown>> = {
  "Node, reset": caused(coded("ECONNRESET")),
  "Node, broken pipe": caused(coded("EPIPE")),
  // A route that is lost later on is told by a read or a write.
  "Node, no route any more": caused(coded("EHOSTUNREACH")),
  "Node, no network any more": caused(coded("ENETUNREACH")),
  "Node, no route any more while writing": caused(Object.assign(coded("EHOSTUNREACH"), { syscall: "write" })),
  "Node, no network any more while reading": caused(Object.assign(coded("ENETUNREACH"), { syscall: "read" })),
  "Node, timed out": caused(coded("ETIMEDOUT")),
  "Node, closed": caused(coded("UND_ERR_SOCKET")),
  "Node, no headers in time": caused(coded("UND_ERR_HEADERS_TIMEOUT")),
  "Bun, reset": coded("ECONNRESET"),
  "Deno, reset": caused(new Error(deno("SendRequest", "connection error: Connection reset by peer (os error 104)"))),
  "Deno, closed": caused(new Error(deno("SendRequest", "connection closed before message completed"))),
  "workerd": new Error("Network connection lost."),
  "a fetch that was ended": new DOMException("The operation was aborted", "AbortError"),
  "five errors deep": deep(4, coded("ECONNREFUSED")),
  "a code in the message only": new TypeError("connect ECONNREFUSED 127.0.0.1:1"),
  "another code": coded(111),
  "no error": { code: "ECONNREFUSED" },
  "a text": "ECONNREFUSED",
  "nothing": undefined,
  "null": null,
  // What the other side says in an HTTP/2 GOAWAY is in the words of the error.
  "Deno, the peer's own words": caused(
    new Error('connection error received: not a result of an error (b"x: client error (Connect): y")'),
  ),
  "Deno, the peer says all that Deno says of a connection": caused(
    new Error(deno("SendRequest", `http2 error: connection error received: (b"${deno("Connect", "y")}")`)),
  ),
  "Deno, the peer says so in a line of its own": caused(
    new Error(deno("SendRequest", `http2 error: connection error received: (b"\n${deno("Connect", "y")}")`)),
  ),
  "Deno, the words of a connection in the URL": caused(
    new Error(
      `error sending request for url (https://x.test/): client error (Connect): /): client error (SendRequest): z`
        .replace("(Connect): ", "(Connect):"),
    ),
  ),
  "Deno, the peer's own words after a request was sent": caused(
    new Error(deno("SendRequest", 'http2 error: connection error received: (b": client error (Connect): ")')),
  ),
};

for (const [what, error] of Object.entries(NOT_SENT)) {
  test(`isNotSent() knows that nothing was sent: ${what}`, () => assert.equal(isNotSent(error), true));
}

for (const [what, error] of Object.entries(PERHAPS_SENT)) {
  test(`isNotSent() does not know that nothing was sent: ${what}`, () => assert.equal(isNotSent(error), false));
}

test("isNotSent() comes to an end where errors are each other's cause", () => {
  const error = new Error("one");
  error.cause = new Error("other", { cause: error });
  assert.equal(isNotSent(error), false);
});

for (const [errors, expected] of [[NOT_SENT, true], [PERHAPS_SENT, false]] as const) {
  test(`fetchTransport() rejects with ${expected ? "" : "no "}NotSentError, and with unavailable`, async () => {
    for (const [what, error] of Object.entries(errors)) {
      const fetch = () => Promise.reject(error);
      const client = createClient(Shop, fetchTransport("https://shop.example.org", { prover: anonymous(), fetch }));
      const thrown: unknown = await client.buy({ item: "book" }).catch((reason) => reason);
      assert.ok(thrown instanceof RpcError, what);
      assert.equal(thrown instanceof NotSentError, expected, what);
      assert.equal(thrown.code, "unavailable");
      assert.equal(thrown.message, "Cannot reach the server");
      assert.equal(thrown.received, true);
      assert.equal(thrown.correlationId, undefined);
    }
  });
}
