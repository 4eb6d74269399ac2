import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  publicOnly,
  rpc,
  service,
} from "../../src/rpc/mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { gate } from "../rpc/_rig.ts";

const CALLS = 20;
const Text = v.strictObject({ text: v.string() });
const Large = service("large.v1", { get: rpc(v.strictObject({}), Text) });

test("serve() on Deno sends large answers whole that are in flight over HTTP/2 when it is disposed", async () => {
  const text = "a".repeat(100_000);
  const [started, late] = [gate(), gate()];
  let calls = 0;
  const get = async () => {
    if (++calls === CALLS) started.open();
    await late.opened;
    return { text };
  };
  const { ca, cert, key } = await testAuthority();
  const server = createServer(implement(Large, { get }), { guard: publicOnly(["large.v1/get"]) });
  const serving = await serve(server, { cert, key, port: 0, drainMs: 15_000 });
  using fetch = createFetch({ caCerts: [ca] });
  const client = createClient(Large, fetchTransport(serving.url, { prover: anonymous(), fetch }));
  const answers = Promise.allSettled(Array.from({ length: CALLS }, () => client.get({})));
  await mustCome(started.opened, "the last call");
  const disposed = serving[Symbol.asyncDispose]();
  late.open();
  const settled = await mustCome(answers, "the answers");
  await disposed;
  const lost = settled.filter((one) => one.status === "rejected").map((one) => String(one.reason));
  assert.deepEqual(lost, []);
  assert.ok(settled.every((one) => one.status === "fulfilled" && one.value.text === text));
});
