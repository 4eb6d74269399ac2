// Streams over real connections.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  publicOnly,
  rpc,
  service,
  stream,
} from "../../mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { aborted, gate, Text, type Words } from "./_rig.ts";

const Live = service("live.v1", {
  count: rpc(Text, stream(Text)),
  both: rpc(stream(Text), stream(Text)),
});

const KIBIBYTE = "x".repeat(1_024);

/** A client and a server over HTTPS, and what became of the server's generators. */
async function live(http2: boolean) {
  const { ca, cert, key } = await testAuthority();
  const state = { given: 0 };
  const returned = gate();
  const told = gate<unknown>();
  const server = createServer(
    implement(Live, {
      async *count({ text }, { signal }) {
        void aborted(signal).then(told.open);
        try {
          for (;; state.given++) {
            if (text === "slowly") await new Promise((resolve) => setTimeout(resolve, 1));
            yield { text: text === "slowly" ? String(state.given) : KIBIBYTE };
          }
        } finally {
          returned.open();
        }
      },
      async *both(messages) {
        for await (const { text } of messages) yield { text: text.toUpperCase() };
      },
    }),
    { guard: publicOnly(["live.v1/count", "live.v1/both"]), log: () => {} },
  );
  const serving = await serve(server, { cert, key, port: 0 });
  const http1 = http2 ? undefined : Deno.createHttpClient({ caCerts: [ca], http2: false });
  const fetch2 = createFetch({ caCerts: [ca] });
  const send = http1 ? (url: string, init: RequestInit) => fetch(url, { ...init, client: http1 }) : fetch2;
  return {
    client: createClient(Live, fetchTransport(serving.url, { prover: anonymous(), fetch: send })),
    state,
    returned: () => mustCome(returned.opened, "the return of the generator"),
    told: () => mustCome(told.opened, "the abort"),
    async [Symbol.asyncDispose]() {
      http1?.close();
      fetch2[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}

for (const [version, http2] of [["HTTP/1.1", false], ["HTTP/2", true]] as const) {
  test(`leaving a stream over ${version} ends it on the server`, async () => {
    await using running = await live(http2);
    for await (const { text } of running.client.count({ text: "slowly" })) if (text === "5") break;
    await running.told();
    await running.returned();
  });

  test(`an aborted stream over ${version} ends on the server`, async () => {
    await using running = await live(http2);
    const controller = new AbortController();
    const answers = running.client.count({ text: "slowly" }, { signal: controller.signal });
    await assert.rejects(async () => {
      for await (const { text } of answers) if (text === "5") controller.abort();
    }, { code: "canceled" });
    await running.told();
    await running.returned();
  });

  test(`a reader that stops stops the writer over ${version}`, async () => {
    await using running = await live(http2);
    const answers = running.client.count({ text: "at once" })[Symbol.asyncIterator]();
    await answers.next();
    let [before, still] = [-1, 0];
    // What the connection's windows and buffers take is taken; after that nothing moves.
    while (still < 10) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      still = running.state.given === before ? still + 1 : 0;
      before = running.state.given;
    }
    assert.ok(before < 65_536, `${before} KiB were made`);
    for (let i = 0; i < before; i++) await answers.next();
    assert.ok(running.state.given > before, "it goes on when it is read again");
    await answers.return!();
    await running.returned();
  });
}

test("both sides of a stream talk in turns over HTTP/2", async () => {
  await using running = await live(true);
  let hear: (text: string) => void = () => {};
  async function* talk(): AsyncGenerator<Words> {
    for (let text = "a"; text.length < 20;) {
      const heard = new Promise<string>((resolve) => hear = resolve);
      yield { text };
      text = await heard;
    }
  }
  const heard: string[] = [];
  for await (const { text } of running.client.both(talk())) {
    heard.push(text);
    hear(text.toLowerCase() + "b");
  }
  assert.equal(heard.length, 19);
  assert.equal(heard.at(-1), "A" + "B".repeat(18));
});

test("many streams share a connection", async () => {
  await using running = await live(true);
  const counted = await Promise.all(Array.from({ length: 20 }, async () => {
    let messages = 0;
    for await (const _ of running.client.count({ text: "slowly" })) if (++messages === 20) break;
    return messages;
  }));
  assert.deepEqual(counted, Array(20).fill(20));
});
