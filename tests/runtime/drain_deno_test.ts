import { createServer, implement, publicOnly, rpc, service } from "../../src/rpc/mod.ts";
import { serve } from "../../src/runtime/deno.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { gate } from "../rpc/_rig.ts";

const CALLS = 20;
const text = "a".repeat(10_000);
const Large = service("large.v1", { get: rpc(v.strictObject({}), v.strictObject({ text: v.string() })) });
const CLIENT = new URL("programs/http2_client.mjs", import.meta.url).pathname;

// The client is Node's: its windows are small, so answers are still on their way when the last handler has ended.
// 20 answers of 100 KB are still cut now and then, because serve() waits for a time and not for the end of them.
test("serve() on Deno sends 20 answers of 10 KB whole that are in flight over HTTP/2 when it is disposed", async () => {
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
  const input = JSON.stringify({ url: serving.url, path: "/large.v1/get", calls: CALLS, ca });
  const output = new Deno.Command("node", { args: [CLIENT, input], stdout: "piped", stderr: "inherit" }).output();
  await mustCome(started.opened, "the last call");
  const disposed = serving[Symbol.asyncDispose]();
  late.open();
  const sizes = JSON.parse(new TextDecoder().decode((await mustCome(output, "the answers")).stdout));
  await disposed;
  assert.deepEqual(sizes, Array.from({ length: CALLS }, () => JSON.stringify({ text }).length));
});
