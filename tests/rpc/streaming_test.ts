import {
  createClient,
  createServer,
  implement,
  publicOnly,
  rpc,
  service,
  stream,
  type Transport,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertLogged, collect, post, refusalOf, rejection, Text } from "./_rig.ts";

const Streams = service("streams.v1", {
  up: rpc(stream(Text), Text),
  down: rpc(Text, stream(Text)),
  both: rpc(stream(Text), stream(Text)),
  plain: rpc(Text, Text),
});

async function* some() {
  yield await Promise.resolve({ text: "a" });
}

function streams() {
  const { log, entries } = collect();
  const called: string[] = [];
  const note = (name: string) => {
    called.push(name);
    return some();
  };
  const server = createServer(
    implement(Streams, {
      up: () => (note("up"), { text: "a" }),
      down: () => note("down"),
      both: () => note("both"),
      plain: (message) => message,
    }),
    { guard: publicOnly(Object.keys(Streams.methods).map((name) => `streams.v1/${name}`)), log },
  );
  return { server, entries, called };
}

const unreached: Transport = () => assert.fail("the transport was reached");

test("createClient() answers unimplemented for a method that sends a stream", async () => {
  const error = await rejection(createClient(Streams, unreached).up(some()));
  assert.equal(error.code, "unimplemented");
});

for (const name of ["down", "both"] as const) {
  test(`createClient() answers unimplemented when the stream of ${name} is read`, async () => {
    const answers = createClient(Streams, unreached)[name]((name === "down" ? { text: "a" } : some()) as never);
    const error = await rejection(answers[Symbol.asyncIterator]().next());
    assert.equal(error.code, "unimplemented");
  });
}

for (const name of ["up", "down", "both"] as const) {
  test(`createServer() answers unimplemented for the stream of ${name}, and calls nothing`, async () => {
    const { server, entries, called } = streams();
    const refusal = await refusalOf(await server.fetch(post(`/streams.v1/${name}`, { text: "a" })));
    assert.deepEqual([refusal.status, refusal.code], [501, "unimplemented"]);
    assert.equal(assertLogged(entries, refusal).method, `streams.v1/${name}`);
    const method = Streams.methods[name];
    assert.equal(
      (await rejection(server.call({ method, message: { text: "a" }, timeoutMs: 100 }))).code,
      "unimplemented",
    );
    assert.deepEqual(called, []);
  });
}

test("createServer() serves the plain methods of a service that has streams too", async () => {
  const { server } = streams();
  assert.deepEqual(await createClient(Streams, server.call).plain({ text: "a" }), { text: "a" });
});
