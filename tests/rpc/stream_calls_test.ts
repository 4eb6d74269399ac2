// Every shape of call, plain, proven and in the same process.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cbor, json } from "../../src/codec/mod.ts";
import { createClient, RpcError } from "../../src/rpc/mod.ts";
import { rejection } from "./_rig.ts";
import { all, channelGuard, channelProver, clientOf, Streams, streamServer, texts } from "./_streams.ts";
import type { StreamHandlers } from "./_streams.ts";

const ways = ["plain", "plain cbor", "proven", "proven cbor", "in process"] as const;

function way(name: typeof ways[number], handlers: StreamHandlers = {}) {
  const proven = name.startsWith("proven");
  const { server, entries } = streamServer(handlers, {
    codecs: [json(), cbor()],
    ...proven && { guard: channelGuard() },
  });
  const codec = name.endsWith("cbor") ? cbor() : json();
  const client = name === "in process"
    ? createClient(Streams, server.call)
    : clientOf(server, proven ? { prover: channelProver(), codec } : { codec });
  return { server, client, entries };
}

for (const name of ways) {
  test(`createClient() reads the stream of a server, ${name}`, async () => {
    assert.deepEqual(await all(way(name).client.down({ text: "añ😀b" })), ["a", "ñ", "😀", "b"]);
  });

  test(`createClient() sends a stream and reads one answer, ${name}`, async () => {
    assert.deepEqual(await way(name).client.up(texts("a", "b", "c")), { text: "abc" });
    assert.deepEqual(await way(name).client.up(texts()), { text: "" });
  });

  test(`createClient() sends a stream and reads one, each message as it comes, ${name}`, async () => {
    const { client } = way(name);
    let said: (text: string) => void = () => {};
    async function* talk() {
      for (let text = "a"; text !== "stop";) {
        const heard = new Promise<string>((resolve) => said = resolve);
        yield { text };
        text = await heard;
      }
    }
    const heard: string[] = [];
    for await (const { text } of client.both(talk())) {
      heard.push(text);
      said(heard.length === 3 ? "stop" : text.toLowerCase() + "b");
    }
    assert.deepEqual(heard, ["A", "AB", "ABB"]);
  });

  test(`createClient() throws the error that ends a stream after its messages, ${name}`, async () => {
    const { client } = way(name, {
      async *down() {
        yield await Promise.resolve({ text: "a" });
        throw new RpcError("not_found", "There is no more", { details: { missing: "b" } });
      },
    });
    const read: string[] = [];
    const error = await rejection((async () => {
      for await (const { text } of client.down({ text: "" })) read.push(text);
    })());
    assert.deepEqual(read, ["a"]);
    assert.deepEqual([error.code, error.message, error.details], ["not_found", "There is no more", { missing: "b" }]);
    assert.equal(error.received, true);
    assert.match(error.correlationId!, /^[\w-]{36}$/);
  });

  test(`createClient() tells nothing of what a handler threw, ${name}`, async () => {
    const { client, entries } = way(name, {
      async *down() {
        yield await Promise.resolve({ text: "a" });
        throw new Error("s3cret");
      },
    });
    const error = await rejection(all(client.down({ text: "" })));
    assert.deepEqual([error.code, error.message], ["internal", "The call failed inside the service"]);
    assert.equal(entries.length, 1);
    assert.equal(entries[0]!.correlationId, error.correlationId);
  });
}
